"""Remarks on states that were not played but judge an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steersman.export.sources.remarks import remarks
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import Prepared, world


def recording(folder: Path, rows: int, *, masked: bool) -> Path:
    masks = {"action_mask": np.ones((rows, 3), np.bool_)} if masked else {}
    np.savez(folder / "seen.npz", obs=np.zeros((rows, 3), np.float32), **masks)  # type: ignore[arg-type]
    return folder / "seen.npz"


def test_masks_that_were_given_need_no_remark(zipped: Zip, tmp_path: Path) -> None:
    file = zipped("MaskablePPO")
    assert not remarks("MaskablePPO", Prepared(file, **world()).rollouts())
    assert not remarks("MaskablePPO", Prepared(file).rollouts(recording(tmp_path, 200, masked=True)))


@pytest.mark.parametrize(("rows", "expected"), [(200, "recorded observations have no masks"), (0, "samples")])
def test_states_without_masks_are_mentioned(zipped: Zip, tmp_path: Path, rows: int, expected: str) -> None:
    prepared = Prepared(zipped("MaskablePPO"))
    rollouts = prepared.rollouts(recording(tmp_path, rows, masked=False) if rows else None)
    (note,) = remarks("MaskablePPO", rollouts)
    assert expected in note
    assert not remarks("PPO", rollouts)


def test_few_recorded_states_are_mentioned(zipped: Zip, tmp_path: Path) -> None:
    prepared = Prepared(zipped())
    (note,) = remarks("PPO", prepared.rollouts(recording(tmp_path, 99, masked=False)))
    assert note.startswith("only 99 recorded states")
    assert not remarks("PPO", prepared.rollouts(recording(tmp_path, 100, masked=False)))
