"""Reading SB3 zips: good ones of several ages, and bad ones of every kind."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from steersman.bundle.errors import SteersmanError
from steersman.export.reading.load import load_policy
from steersman.export.vocabulary import Algorithm
from unit.export.conftest import PLAIN, Train
from unit.export.models import CASES, Case
from unit.export.test_unpickle import bomb

Fields = dict[str, Any]
Change = Callable[[Fields], object]


def rewritten(source: Path, target: Path, change: Change) -> Path:
    """The zip with other fields in its JSON."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "data":
                fields = json.loads(data)
                change(fields)
                data = json.dumps(fields).encode()
            new.writestr(name, data)
    return target


def pickled(data: bytes) -> dict[str, str]:
    """A field that JSON cannot hold, as SB3 writes it."""
    return {":type:": "<class 'object'>", ":serialized:": base64.b64encode(data).decode()}


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.name)
def test_a_policy_answers_as_the_one_that_was_saved(trained: Train, case: Case) -> None:
    model = trained(case)
    saved = load_policy(model.zip)
    assert saved.algorithm == case.algorithm.__name__
    assert saved.train_steps == model.model.num_timesteps
    assert saved.libraries["torch"] == torch.__version__
    observations = np.stack([saved.observation_space.sample() for _ in range(100)])
    if model.normalizer is None:
        assert (
            saved.policy.predict(observations, deterministic=True)[0] == model.predict(observations)
        ).all()


def test_fields_that_export_does_not_need_are_not_even_read(trained: Train, tmp_path: Path) -> None:
    def plant(fields: Fields) -> None:
        for name in ("lr_schedule", "clip_range", "learning_rate", "_last_obs", "ep_info_buffer"):
            fields[name] = pickled(bomb(tmp_path / name))

    path = rewritten(trained(PLAIN).zip, tmp_path / "planted.zip", plant)
    assert load_policy(path).algorithm == "PPO"
    assert {entry.name for entry in tmp_path.iterdir()} == {"planted.zip"}


@pytest.mark.parametrize("field", ["observation_space", "action_space", "policy_class", "policy_kwargs"])
def test_a_bomb_in_a_field_that_is_read_does_not_go_off(trained: Train, tmp_path: Path, field: str) -> None:
    path = rewritten(
        trained(PLAIN).zip,
        tmp_path / "planted.zip",
        lambda f: f.update({field: pickled(bomb(tmp_path / "ran"))}),
    )
    with pytest.raises(SteersmanError, match=rf"{field}: it names 'posix.system'"):
        load_policy(path)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_a_bomb_do_not_go_off(trained: Train, tmp_path: Path) -> None:
    path = tmp_path / "planted.zip"
    with zipfile.ZipFile(trained(PLAIN).zip) as old, zipfile.ZipFile(path, "w") as new:
        new.writestr("data", old.read("data"))
        new.writestr("policy.pth", bomb(tmp_path / "ran"))
    with pytest.raises(SteersmanError, match="plain tensors") as caught:
        load_policy(path)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "ran").exists()


class Extractor(BaseFeaturesExtractor):
    """Somebody's own."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 3)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return observations


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.update(use_sde=True), "gSDE"),
        (
            lambda f: f.update(policy_kwargs={"features_extractor_class": "Own"}),
            "features_extractor_class=Own",
        ),
        (lambda f: f.update(policy_kwargs={"net_arch": [8, {"pi": [8], "vf": [8]}]}), "shared"),
        (lambda f: f.update(policy_kwargs={"net_arch": [32]}), "do not fit the policy"),
        (lambda f: f.update(policy_kwargs=pickled(cloudpickle.dumps(Extractor))), "not on the list"),
        (lambda f: f.update(observation_space=pickled(cloudpickle.dumps(spaces.Dict()))), "Dict spaces"),
        (lambda f: f.update(action_space=pickled(cloudpickle.dumps(spaces.MultiBinary(3)))), "MultiBinary"),
        (lambda f: f.update(action_space=pickled(b"\x80")), "action_space: the pickle cannot be read"),
        (lambda f: f.update(action_space={":serialized:": "?"}), "not base64"),
        (lambda f: f.pop("action_space"), "the field is missing"),
        (lambda f: f.update(n_delta=1), "ARS is not covered"),
        (lambda f: f.update(cg_max_steps=1), "TRPO is not covered"),
        (lambda f: f.pop("clip_range") and f.pop("gae_lambda"), "algorithm cannot be told"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(
    trained: Train, tmp_path: Path, change: Change, expected: str
) -> None:
    path = rewritten(trained(PLAIN).zip, tmp_path / "model.zip", change)
    with pytest.raises(SteersmanError, match=expected) as caught:
        load_policy(path)
    assert caught.value.exit_code in {1, 2}
    assert "\n" not in str(caught.value)


def test_the_algorithm_may_be_named(trained: Train, tmp_path: Path) -> None:
    path = rewritten(
        trained(PLAIN).zip, tmp_path / "model.zip", lambda f: f.pop("clip_range") and f.pop("gae_lambda")
    )
    assert load_policy(path, Algorithm.PPO).algorithm == "PPO"


def test_other_algorithms_and_policies_are_refused_by_name(tmp_path: Path) -> None:
    DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=10).save(tmp_path / "dqn.zip")
    with pytest.raises(SteersmanError, match="DQN is not covered yet"):
        load_policy(tmp_path / "dqn.zip")
    PPO("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"features_extractor_class": Extractor}).save(
        tmp_path / "own.zip"
    )
    with pytest.raises(SteersmanError, match="Extractor"):
        load_policy(tmp_path / "own.zip")


def a_zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected", "exit_code"),
    [
        (b"", "not a zip", 2),
        (b"hello", "not a zip", 2),
        (a_zip(readme=b"hi"), "not an SB3 model: it holds readme", 2),
        (a_zip(data=b"{}", parameters=b"", parameter_list=b""), "Stable-Baselines 2", 2),
        (a_zip(data=b"no json", **{"policy.pth": b""}), "not JSON", 1),
        (a_zip(data=b"[]", **{"policy.pth": b""}), "not a JSON object", 1),
    ],
)
def test_files_of_something_else_are_told_apart(
    tmp_path: Path, content: bytes, expected: str, exit_code: int
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(SteersmanError, match=expected) as caught:
        load_policy(path)
    assert caught.value.exit_code == exit_code
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_truncated_zip_is_called_damaged(trained: Train, tmp_path: Path, share: float) -> None:
    whole = trained(PLAIN).zip.read_bytes()
    path = tmp_path / "model.zip"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SteersmanError, match="truncated or damaged") as caught:
        load_policy(path)
    assert caught.value.exit_code == 1


def test_one_changed_byte_of_the_weights_is_noticed(trained: Train, tmp_path: Path) -> None:
    whole = bytearray(trained(PLAIN).zip.read_bytes())
    whole[whole.index(b"policy.pth") + 2_000] ^= 1
    path = tmp_path / "model.zip"
    path.write_bytes(bytes(whole))
    with pytest.raises(SteersmanError, match="damaged"):
        load_policy(path)
