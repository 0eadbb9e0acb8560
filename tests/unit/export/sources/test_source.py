"""What is exported: a zip alone, or a run folder with all that it knows."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.bundle.errors import SteersmanError
from steersman.export.sources.source import Source, find_source
from steersman.training import TrainingSettings, train_policy
from unit.export.sources.worlds import WORLD, asked


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `steersman train` wrote, with normalized observations."""
    return train_policy(
        TrainingSettings(
            env_id=WORLD,
            env_kwargs={"observation": "vector", "action": "three"},
            n_envs=2,
            timesteps=128,
            eval_every=64,
            eval_episodes=2,
            normalize=True,
            hyperparameters={"n_steps": 32, "batch_size": 32, "n_epochs": 1},
            feature_names=("a", "b", "c"),
            out=tmp_path_factory.mktemp("runs"),
        )
    ).folder


def test_a_run_tells_everything(run: Path) -> None:
    source = find_source(asked(run))
    record = json.loads((run / "run.json").read_text())
    assert source.zip == run / "best_model.zip"
    assert source.vecnormalize == run / "best_vecnormalize.pkl"
    assert (source.env_id, source.env_kwargs) == (WORLD, {"observation": "vector", "action": "three"})
    assert source.feature_names == ("a", "b", "c")
    assert source.run == record["name"]
    assert source.mean_return == record["best"]["mean_return"]
    assert source.train_steps == record["best"]["timesteps"]
    assert source.policy_name == "world"
    assert find_source(asked(run / "run.json")) == source


def test_what_is_asked_goes_before_what_the_run_says(run: Path) -> None:
    wanted = asked(run, env_id="Other-v1", feature_names=("x", "y", "z"), algo="a2c")
    source = find_source(wanted)
    assert (source.env_id, source.env_kwargs) == ("Other-v1", {})
    assert (source.feature_names, source.algo) == (("x", "y", "z"), "a2c")
    assert find_source(asked(run, env_kwargs={"action": "push"})).env_kwargs == {
        "observation": "vector",
        "action": "push",
    }


def test_without_a_best_model_the_last_one_is_taken(run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["files"] = {"model": "model.zip", "vecnormalize": "vecnormalize.pkl"}
    for name in record["files"].values():
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "run.json").write_text(json.dumps(record))
    source = find_source(asked(tmp_path))
    assert (source.zip.name, source.vecnormalize) == ("model.zip", tmp_path / "vecnormalize.pkl")
    assert (source.mean_return, source.train_steps) == (None, record["timesteps_done"])


@pytest.mark.parametrize(
    ("record", "expected", "exit_code"),
    [
        (None, "holds no run.json, and no args.yml", 2),
        ("{", "run.json: the file: Invalid JSON", 1),
        ({"env_id": 3}, "run.json: env_id", 1),
        ({"env_id": "X-v0"}, "saved no model", 2),
        ({"env_id": "X-v0", "files": {"model": "model.zip"}}, "not in its folder: model.zip", 1),
        ({"env_id": "X-v0", "files": {"model": "../model.zip"}}, r"not in its folder: \.\./model.zip", 1),
        ({"env_id": "X-v0", "normalize": True, "files": {"model": "m.zip"}}, "kept no statistics", 1),
        ({"env_id": "X-v0", "algo": "dqm"}, "run.json: algo", 1),
    ],
)
def test_folders_that_are_no_runs_are_refused(
    tmp_path: Path, record: Any, expected: str, exit_code: int
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "model.zip").touch()
    if record is not None:
        (folder / "run.json").write_text(record if isinstance(record, str) else json.dumps(record))
    with pytest.raises(SteersmanError, match=expected) as caught:
        find_source(asked(folder))
    assert caught.value.exit_code == exit_code
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SteersmanError, match="no such file or folder") as caught:
        find_source(asked(tmp_path / "gone.zip"))
    assert caught.value.exit_code == 2


def test_statistics_beside_a_zip_are_mentioned(tmp_path: Path) -> None:
    for name in ("model.zip", "vecnormalize.pkl"):
        (tmp_path / name).touch()
    (note,) = find_source(asked(tmp_path / "model")).notes
    assert str(tmp_path / "vecnormalize.pkl") in note
    assert not find_source(asked(tmp_path / "model", vecnormalize=tmp_path / "vecnormalize.pkl")).notes


def test_statistics_that_a_run_does_not_use_are_mentioned(run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record |= {"normalize": False, "files": {"model": "model.zip"}}
    for name in ("model.zip", "vecnormalize.pkl"):
        (tmp_path / name).touch()
    (tmp_path / "run.json").write_text(json.dumps(record))
    (note,) = find_source(asked(tmp_path)).notes
    assert "vecnormalize.pkl was not used" in note


def closed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes files and folders of these names unreadable, for a superuser too."""
    stat, iterdir, opened = Path.stat, Path.iterdir, Path.open

    def refuse(path: Path, folders: Iterable[Path]) -> None:
        if any(folder.name in names for folder in folders):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def look(path: Path, **kwargs: Any) -> os.stat_result:
        refuse(path, path.parents)
        return stat(path, **kwargs)

    def entries(path: Path) -> Iterator[Path]:
        refuse(path, [path, *path.parents])
        return iterdir(path)

    def read(path: Path, *args: Any, **kwargs: Any) -> Any:
        refuse(path, [path, *path.parents])
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "stat", look)
    monkeypatch.setattr(Path, "iterdir", entries)
    monkeypatch.setattr(Path, "open", read)


def test_what_lies_beside_a_zip_and_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "model.zip").touch()
    closed(monkeypatch, "secret")
    assert find_source(asked(tmp_path / "model.zip")) == Source(tmp_path / "model.zip")


def test_a_folder_that_cannot_be_listed_may_hold_a_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "model.zip").touch()
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert find_source(asked(tmp_path / "model.zip")) == Source(tmp_path / "model.zip")


@pytest.mark.parametrize("source", ["secret", "secret/model.zip", "model.zip", "x" * 300])
def test_a_source_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "secret").mkdir()
    for name in ("model.zip", "secret/model.zip"):
        (tmp_path / name).touch()
    closed(monkeypatch, "secret", "model.zip")
    with pytest.raises(
        SteersmanError, match=r"it cannot be read: (Permission denied|File name too long)"
    ) as caught:
        find_source(asked(tmp_path / source))
    assert caught.value.exit_code == 2
    assert caught.value.where == str(tmp_path / source)


@pytest.mark.parametrize(
    ("env_id", "file", "name"),
    [
        ("CartPole-v1", "x.zip", "cartpole"),
        ("ALE/Breakout-v5", "x.zip", "breakout"),
        ("my_module:Some Thing!-v12", "x.zip", "my_module-some-thing"),
        (None, "Best Model (2).zip", "best-model-2"),
        (None, "__.zip", "policy"),
        (None, f"{'a' * 90}.zip", "a" * 63),
    ],
)
def test_policies_are_named_after_their_environment_or_file(env_id: str | None, file: str, name: str) -> None:
    assert Source(Path(file), env_id=env_id).policy_name == name
