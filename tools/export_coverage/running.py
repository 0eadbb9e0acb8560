"""One cell from training to its outcome, and many of them side by side."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tools.export_coverage.comparing import Agreement, compare
from tools.export_coverage.environments import ENV_ID
from tools.export_coverage.factors import Cell
from tools.export_coverage.graph import Graph
from tools.export_coverage.law import LIMIT, distance_in_law
from tools.export_coverage.models import THEIR_CODE, Trained, train
from tools.export_coverage.outcomes import MOST_ERROR, Outcome
from tools.export_coverage.states import COPIES, corners, joined, observation_space_of, played

from steersman.bundle.manifest import Manifest
from steersman.export import ExportSettings, export_policy
from steersman.export.errors import UnsupportedError

_CELLS_PER_PROCESS = 25
"""torch's exporter keeps memory: a process is replaced after so many."""

_RECORDED_STEPS = 40


def run_all(cells: Sequence[Cell], *, jobs: int, int8: bool) -> Iterator[tuple[Cell, Outcome]]:
    """Outcomes as they come, from so many processes."""
    # Not concurrent.futures: in Python 3.11 it can wait forever for the process that replaces another
    # (https://github.com/python/cpython/issues/115634).
    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(jobs, torch.set_num_threads, (1,), maxtasksperchild=_CELLS_PER_PROCESS) as pool:
        yield from pool.imap_unordered(partial(_with_cell, int8=int8), cells)


def _with_cell(cell: Cell, *, int8: bool) -> tuple[Cell, Outcome]:
    return cell, run(cell, int8=int8)


def run(cell: Cell, *, int8: bool) -> Outcome:
    """Trains, exports and compares; whatever is raised becomes the outcome."""
    with tempfile.TemporaryDirectory(prefix="export-coverage-") as folder:
        try:
            return _run(cell, Path(folder), int8=int8)
        except UnsupportedError as error:
            return Outcome("refused", str(error))
        except Exception as error:  # noqa: BLE001  the other cells go on
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            return Outcome("failed", f"{type(error).__name__}: {' '.join(str(error).split())} ({where})")


def _run(cell: Cell, folder: Path, *, int8: bool) -> Outcome:
    trained = train(cell, folder)
    exported = export_policy(ExportSettings(**settings(cell, trained, folder, int8=int8)))
    graph = Graph(exported.bundle, raw=cell.states != "space")
    agreement = compare(trained, graph, cell)
    law = None if has_images(cell) else distance_in_law(trained, graph, corners(observation_space_of(cell)))
    return Outcome(
        verdict="passed" if passes(agreement, law) else "differs",
        states=agreement.states,
        masked=agreement.masked,
        disagreements=agreement.disagreements,
        ties=agreement.ties,
        error=agreement.error if cell.is_continuous else None,
        law=law,
        int8=_int8(exported.bundle.manifest) if int8 else "",
        seconds=exported.seconds,
    )


def passes(agreement: Agreement, law: float | None) -> bool:
    """Whether the graph is the model."""
    return agreement.disagreements == 0 and agreement.error <= MOST_ERROR and (law is None or law <= LIMIT)


def has_images(cell: Cell) -> bool:
    """Whether observations are so large that sampling in law is left to the others."""
    return cell.observation_kind == "image" or cell.observation == "Dict with image"


def settings(cell: Cell, trained: Trained, folder: Path, *, int8: bool) -> dict[str, Any]:
    """What export is told."""
    told: dict[str, Any] = {
        "source": trained.zip,
        "repository": folder / "bundles",
        "policy": "cell",
        "vecnormalize": trained.statistics,
        "reference_episodes": 0,
        "int8": int8,
    }
    if cell.extractor == "own module":
        told |= {"trust_code": True, "import_path": (THEIR_CODE,)}
    if cell.states == "environment":
        kwargs = {"observation": cell.observation, "action": cell.action}
        told |= {"env_id": ENV_ID, "env_kwargs": kwargs, "env_import": "tools.export_coverage.environments"}
    if cell.states == "recorded":
        told["observations"] = _record(trained, cell, folder)
        told["image_layout"] = "channels-last" if _is_turned(trained, told["observations"]) else None
    return told


def _is_turned(trained: Trained, recorded: Path) -> bool:
    """Whether SB3 puts the channels of images first that the environment has last."""
    space = trained.model.observation_space
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    with np.load(recorded) as columns:
        return any(columns[f"obs/{key}" if key else "obs"].shape[1:] != part.shape for key, part in parts)


def _record(trained: Trained, cell: Cell, folder: Path) -> Path:
    """Observations of played steps with the episode of each row, as a user would record them."""
    moments = list(played(trained, cell, _RECORDED_STEPS))
    seen = joined([moment.observations for moment in moments])
    columns = {f"obs/{key}": part for key, part in seen.items()} if isinstance(seen, dict) else {"obs": seen}
    begun = np.cumsum([moment.start for moment in moments], axis=0)
    file = folder / "observations.npz"
    np.savez(file, **columns, episode=(begun * COPIES + np.arange(COPIES)).ravel())
    return file


def _int8(manifest: Manifest) -> str:
    variant = manifest.variants.get("int8")
    return variant.scheme if variant else "none passed"
