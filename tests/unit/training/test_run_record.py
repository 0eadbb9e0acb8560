"""Reading run.json: old and damaged ones are told apart from none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from steersman.training import Run, load_run
from steersman.training.errors import RunNotFoundError, RunUnreadableError

if TYPE_CHECKING:
    from pathlib import Path

RECORD: dict[str, Any] = {
    "schema_version": 1,
    "name": "ppo-0-1",
    "status": "running",
    "algo": "ppo",
    "env_id": "CartPole-v1",
    "seed": 0,
    "n_envs": 8,
    "normalize": True,
    "hyperparameters": {"learning_rate": "lin_0.001"},
    "timesteps_asked": 100,
    "started_at": "2026-01-02T03:04:05Z",
    "versions": {
        "python": "3.11.7",
        "torch": "2.13.0",
        "stable_baselines3": "2.9.2",
        "gymnasium": "1.4.0",
        "numpy": "2.4.6",
        "steersman": "0.1.0",
    },
}
"""What version 1 writes; every later version must read it."""


def write(folder: Path, **changes: object) -> Path:
    (folder / "run.json").write_text(json.dumps({**RECORD, **changes}))
    return folder


def test_a_run_is_read_from_its_folder_or_its_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert load_run(tmp_path) == load_run(tmp_path / "run.json")
    assert load_run(str(tmp_path)).env_id == "CartPole-v1"


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    run = load_run(write(tmp_path))
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_a_missing_run_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"there is no run\.json") as caught:
        load_run(tmp_path / "nowhere")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"stauts": "failed"}, "stauts"),
        ({"status": "lost"}, "status"),
        ({"started_at": "2026-01-02T03:04:05"}, "started_at"),
        ({"files": {"model": "../../etc/passwd"}}, "files.model"),
        ({"files": {"model": ".."}}, "files.model"),
    ],
)
def test_a_damaged_or_foreign_record_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RunUnreadableError, match=said) as caught:
        load_run(write(tmp_path, **changes))
    assert str(tmp_path / "run.json") in str(caught.value)


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD)[:100])
    with pytest.raises(RunUnreadableError):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("files", "policy", "statistics"),
    [
        ({"model": "m.zip", "vecnormalize": "v.pkl"}, "m.zip", "v.pkl"),
        (
            {
                "model": "m.zip",
                "vecnormalize": "v.pkl",
                "best_model": "b.zip",
                "best_vecnormalize": "bv.pkl",
            },
            "b.zip",
            "bv.pkl",
        ),
        ({"model": "m.zip"}, "m.zip", None),
    ],
)
def test_export_takes_the_best_model_with_its_own_statistics(
    tmp_path: Path, files: dict[str, str], policy: str, statistics: str | None
) -> None:
    run = load_run(write(tmp_path, files=files))
    assert run.policy_file(tmp_path) == tmp_path / policy
    assert run.statistics_file(tmp_path) == (tmp_path / statistics if statistics else None)
