"""The states that a policy is examined on: on-policy ones, split by episode, and the edges of its space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, ObservationSpec, bounds
from steersman.export.errors import ExportError
from steersman.export.observations import Array, Observations
from steersman.export.policies.inputs import Inputs, draw_inputs, join_inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.sources.episodes import Rollout, examined_episodes

CALIBRATION_SHARE = 4
"""One episode in so many calibrates quantization; the others, which it never saw, judge it."""
BLOCKS = 20
"""Where there are fewer episodes than this, blocks of so many take their place."""
CALIBRATION_ROWS = (1_024, 4_096)
EVALUATION_ROWS = (10_500, 40_000)
"""Fewest and most rows that are kept; how many in between is a matter of memory."""
MOST_BYTES = 256 * 1024**2
"""Observations of either kind take no more than this, unless the fewest rows do."""
FAR = 10.0
"""How many times further than anything seen the edge of an unbounded element is tried."""
LARGEST_TRIED = 1e6
"""Bounds beyond this are as good as none: no sensor gives such values."""
MOST_ALONE, CORNERS, LOOKED_AT = 128, 64, 512
"""Elements tried at their bounds alone, random corners, and rows that typical values are taken from."""


@dataclass(frozen=True, slots=True)
class States:
    """Rows of each kind, without noise.

    Attributes:
        calibration: On-policy, to choose scales and roundings with.
        evaluation: On-policy, from other episodes.
        episodes: [rows of `evaluation`] which episode each is of.
        boundary: Corners and edges of the space, mostly never seen on-policy.
    """

    calibration: Inputs
    evaluation: Inputs
    episodes: NDArray[np.int64]
    boundary: Inputs


def gather_states(
    rollouts: Sequence[Rollout], oracle: Oracle, contract: Contract, rng: np.random.Generator
) -> States:
    """Splits the rollouts by episode and adds the edges, as far as SB3 has an answer there.

    Raises:
        ExportError: It has none in on-policy states.
    """
    played = _many([e.inputs for e in examined_episodes(rollouts) if len(e.inputs)])
    judging = [(i, e) for i, e in enumerate(played) if i % CALIBRATION_SHARE]
    calibration, _ = _sampled(played[::CALIBRATION_SHARE], CALIBRATION_ROWS, rng)
    evaluation, owners = _sampled([inputs for _, inputs in judging], EVALUATION_ROWS, rng)
    edges = Inputs(boundary_states(contract.observations, evaluation.observations, rng))
    _check_answers(evaluation, oracle, contract, rng)
    return States(
        calibration=calibration,
        evaluation=evaluation,
        episodes=np.array([i for i, _ in judging])[owners],
        boundary=edges.take(answered(edges, oracle, contract, rng)),
    )


def _many(episodes: list[Inputs]) -> list[Inputs]:
    """The episodes, or where they are too few to calibrate and to judge, blocks of their rows in order."""
    if len(episodes) >= BLOCKS:
        return episodes
    rows = join_inputs(episodes)
    return [rows.take(part) for part in np.array_split(np.arange(len(rows)), BLOCKS) if len(part)]


def _sampled(
    episodes: Sequence[Inputs], rows: tuple[int, int], rng: np.random.Generator
) -> tuple[Inputs, NDArray[np.int64]]:
    """As many rows as memory allows, drawn over all episodes before they are joined, and whose they are."""
    owners = np.repeat(np.arange(len(episodes)), [len(inputs) for inputs in episodes])
    kept = _some(len(owners), row_limit(episodes[0], rows), rng)
    edges = np.cumsum([0, *(len(inputs) for inputs in episodes)])
    parts = [
        inputs.take(kept[(kept >= first) & (kept < last)] - first)
        for inputs, first, last in zip(episodes, edges[:-1], edges[1:], strict=True)
    ]
    return join_inputs(parts), owners[kept]


def _check_answers(inputs: Inputs, oracle: Oracle, contract: Contract, rng: np.random.Generator) -> None:
    some = pick(inputs, LOOKED_AT, rng)
    if silent := int((~answered(some, oracle, contract, rng)).sum()):
        raise ExportError(
            f"SB3's own policy answers NaN or infinity in {silent} of {len(some)} states",
            expected="numbers",
            hint="Its weights have likely diverged, or the observations are not those that it knows.",
        )


def answered(
    inputs: Inputs, oracle: Oracle, contract: Contract, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """[N] whether SB3 answers with numbers; on states far from all that it knows a network may overflow."""
    answers = oracle.answer(draw_inputs(inputs, contract, rng)).outputs
    sound = np.ones(len(inputs), np.bool_)
    for array in answers.values():
        if array.dtype.kind == "f":
            sound &= ~(np.isnan(array) | np.isposinf(array)).reshape(len(inputs), -1).any(axis=1)
    return sound


def pick(inputs: Inputs, most: int, rng: np.random.Generator) -> Inputs:
    """At most so many rows, drawn without replacement, in their order."""
    return inputs if len(inputs) <= most else inputs.take(_some(len(inputs), most, rng))


def _some(rows: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if rows <= most:
        return np.arange(rows)
    return np.asarray(np.sort(rng.choice(rows, most, replace=False)))


def row_limit(inputs: Inputs, rows: tuple[int, int], most_bytes: int = MOST_BYTES) -> int:
    """How many rows to keep: from the fewest to the most that are given, as many as fit."""
    row = sum(array[0].nbytes for array in inputs.observations.values())
    return int(np.clip(most_bytes // max(1, row), *rows))


def boundary_states(
    specs: Sequence[ObservationSpec], seen: Observations, rng: np.random.Generator
) -> dict[str, Array]:
    """Zero, the lowest and highest values, each element alone at its bounds, and random corners.

    With several tensors each takes its own in another order, so that edges meet each other.
    """
    edges = {spec.input_name: _edges(spec, seen[spec.input_name], rng) for spec in specs}
    rows = max(len(array) for array in edges.values())
    if len(edges) == 1:
        return edges
    return {
        name: array[np.concatenate([np.arange(len(array)), rng.integers(len(array), size=rows - len(array))])]
        for name, array in edges.items()
    }


def _edges(spec: ObservationSpec, seen: Array, rng: np.random.Generator) -> Array:
    typical = seen[:: -(-len(seen) // LOOKED_AT)].reshape(-1, spec.size).astype(np.float64)
    low, high = _finite_bounds(spec, typical)
    middle = np.median(typical, axis=0)
    alone = rng.permutation(spec.size)[:MOST_ALONE] if spec.size > MOST_ALONE else np.arange(spec.size)
    one_by_one = [np.where(np.arange(spec.size) == i, bound, middle) for i in alone for bound in (low, high)]
    corners = np.where(rng.random((CORNERS, spec.size)) < 0.5, low, high)
    zero = np.clip(np.zeros(spec.size), low, high)
    rows = np.concatenate([np.stack([zero, low, high, middle, *one_by_one]), corners])
    return np.asarray(_cast(rows, spec).reshape(-1, *spec.shape))


def _cast(rows: NDArray[np.float64], spec: ObservationSpec) -> Array:
    """Of the spec's type; a bound of 64-bit integers may round to beyond them in float64."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "iu":
        return rows.astype(dtype)
    limits = np.iinfo(dtype)
    largest = float(np.nextafter(float(limits.max), 0)) if dtype.itemsize == 8 else limits.max
    return np.clip(np.round(rows), limits.min, largest).astype(dtype)


def _finite_bounds(
    spec: ObservationSpec, typical: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Declared bounds; where an element has none, `FAR` times what was seen."""
    reach = FAR * np.maximum(np.abs(typical).max(axis=0), 0.1)
    low, high = (bound.ravel() for bound in bounds(spec))
    return (
        np.where(low < -LARGEST_TRIED, np.minimum(-reach, high), low),
        np.where(high > LARGEST_TRIED, np.maximum(reach, low), high),
    )
