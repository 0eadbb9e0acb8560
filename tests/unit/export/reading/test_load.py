"""SB3 zips that are not what they should be: each ends in one clear line, and nothing of it is run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from steersman.bundle.errors import SteersmanError
from steersman.export.errors import DamagedFileError
from steersman.export.reading.load import load_policy
from unit.export.reading.conftest import Build
from unit.export.reading.files import Change, Fields, Kind, Weights, bomb, by_value, pickled, rewritten


def test_what_the_file_tells_is_kept(build: Build, plain_zip: Path) -> None:
    saved = load_policy(plain_zip)
    assert saved.train_steps == 0
    assert saved.libraries["torch"] == torch.__version__
    assert len(saved.zip_sha256) == 64
    assert load_policy(build(Kind("DQN"))[1]).zip_sha256 != saved.zip_sha256


def test_fields_that_export_does_not_need_are_not_even_read(plain_zip: Path, tmp_path: Path) -> None:
    names = (
        "lr_schedule",
        "clip_range",
        "learning_rate",
        "_last_obs",
        "ep_info_buffer",
        "env",
        "replay_buffer",
    )

    def plant(fields: Fields) -> None:
        fields.update({name: pickled(bomb(tmp_path / name)) for name in names})

    assert load_policy(rewritten(plain_zip, tmp_path / "planted.zip", plant)).algorithm == "PPO"
    assert {entry.name for entry in tmp_path.iterdir()} == {"planted.zip"}


@pytest.mark.parametrize("field", ["observation_space", "action_space", "policy_class", "policy_kwargs"])
def test_a_bomb_in_a_field_that_is_read_does_not_go_off(plain_zip: Path, tmp_path: Path, field: str) -> None:
    planted = {field: pickled(bomb(tmp_path / "ran"))}
    path = rewritten(plain_zip, tmp_path / "planted.zip", lambda fields: fields.update(planted))
    with pytest.raises(SteersmanError, match=rf"{field}: it names 'posix.system'") as caught:
        load_policy(path)
    assert ("--trust-code" in str(caught.value)) is field.startswith("policy")
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_a_bomb_do_not_go_off(plain_zip: Path, tmp_path: Path) -> None:
    path = rewritten(plain_zip, tmp_path / "planted.zip", members={"policy.pth": bomb(tmp_path / "ran")})
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


def cyclic() -> list[Any]:
    """A list that holds itself."""
    items: list[Any] = []
    items.append(items)
    return items


def nested(levels: int) -> Fields:
    """Dictionaries in dictionaries."""
    fields: Fields = {}
    for _ in range(levels):
        fields = {"net_arch": fields}
    return fields


DEEP: dict[str, Any] = {"net_arch": [8, 8, 8]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda f: f.update(policy_kwargs=DEEP),
            r"do not fit .* mlp_extractor.\w+.0.weight is 64x3 where 8x3",
        ),
        (lambda f: f.update(policy_kwargs={"own": 3}), "ActorCriticPolicy has no argument 'own'"),
        (lambda f: f.update(policy_kwargs={"net_arch": ["wide"]}), "cannot be built"),
        (lambda f: f.update(policy_kwargs=3), "not a dictionary"),
        (
            lambda f: f.update(policy_kwargs=by_value(Extractor)),
            "it names .*Extractor.*on the list.*--trust-code",
        ),
        (lambda f: f.update(policy_kwargs=by_value({"activation_fn": lambda: None})), "function by value"),
        (
            lambda f: f.update(policy_kwargs=by_value({"activation_fn": torch.optim.Adam})),
            "nothing that a policy",
        ),
        (
            lambda f: f.update(policy_class=by_value(torch.nn.Tanh)),
            "policy_class: it is Tanh; expected a policy",
        ),
        (lambda f: f.update(policy_class="MlpPolicy"), "policy_class: it is MlpPolicy; expected a policy"),
        (lambda f: f.update(observation_space=by_value(spaces.Tuple([]))), "no policies for Tuple"),
        (lambda f: f.update(observation_space=3), "observation_space: this is not a space"),
        (lambda f: f.update(action_space=pickled(b"\x80\x04")), "action_space: the pickle cannot be read"),
        (lambda f: f.update(action_space=pickled(b"hello")), "action_space: this is not a pickle"),
        (lambda f: f.update(policy_kwargs={"net_arch": [8, {"pi": 3}]}), "cannot be built"),
        (lambda f: f.update(policy_kwargs=by_value({"net_arch": cyclic()})), "it holds itself"),
        (lambda f: f.update(policy_kwargs=nested(500)), "policy_kwargs: .* is nested too deeply"),
        (lambda f: f.update(action_space={":serialized:": "?"}), "not base64"),
        (lambda f: f.pop("action_space"), "the field is missing"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    plain_zip: Path, tmp_path: Path, change: Change, expected: str
) -> None:
    path = rewritten(plain_zip, tmp_path / "model.zip", change)
    with pytest.raises(SteersmanError, match=expected) as caught:
        load_policy(path)
    assert caught.value.exit_code in {1, 2}
    assert "\n" not in str(caught.value)


FAR_LARGER: list[tuple[Kind, Fields]] = [
    (Kind(), {"net_arch": [100_000, 100_000]}),
    (Kind(), {"net_arch": [1] * 100_000}),
    (Kind(), {"net_arch": {"pi": [8], "vf": [1] * 100_000}}),
    (Kind("PPO", "image"), {"features_extractor_kwargs": {"features_dim": 10**7}}),
    (Kind("QRDQN"), {"n_quantiles": 10**6}),
    (Kind("SAC", action="arm"), {"n_critics": 10**6}),
    (Kind("RecurrentPPO"), {"n_lstm_layers": 10**6}),
]


@pytest.mark.parametrize(("kind", "arguments"), FAR_LARGER, ids=lambda value: str(value)[:60])
def test_networks_that_outgrow_the_weights_are_not_built(
    build: Build, tmp_path: Path, kind: Kind, arguments: Fields
) -> None:
    planted = {"policy_kwargs": by_value(arguments)}
    path = rewritten(build(kind)[1], tmp_path / "model.zip", lambda fields: fields.update(planted))
    with pytest.raises(DamagedFileError, match=r"far larger|can't allocate memory"):
        load_policy(path)


def test_weights_that_repeat_one_number_do_not_count_as_many(plain_zip: Path, tmp_path: Path) -> None:
    def weigh(weights: Weights) -> Weights:
        return {**weights, "value_net.bias": torch.zeros(1).expand(2**40)}

    path = rewritten(plain_zip, tmp_path / "model.zip", weigh=weigh)
    with pytest.raises(DamagedFileError, match="larger than the numbers that it holds"):
        load_policy(path)


NEEDED = [
    (Kind(), "mlp_extractor.policy_net.2.bias"),
    (Kind(), "value_net.weight"),
    (Kind("PPO", "image"), "features_extractor.cnn.0.weight"),
    (Kind("RecurrentPPO", policy={"enable_critic_lstm": False}), "critic.weight"),
    (Kind("SAC", action="arm"), "actor.log_std.weight"),
    (Kind("DQN"), "q_net.q_net.4.bias"),
    (Kind("CrossQ", action="arm"), "actor.latent_pi.0.ra_mean"),
]


@pytest.mark.parametrize(("kind", "name"), NEEDED, ids=str)
def test_weights_that_answers_need_must_be_there_and_fit(
    build: Build, tmp_path: Path, kind: Kind, name: str
) -> None:
    def drop(weights: Weights) -> Weights:
        also = {f"pi_{name}", f"vf_{name}"}  # other names of the same tensor
        return {key: tensor for key, tensor in weights.items() if key != name and key not in also}

    path = build(kind)[1]
    with pytest.raises(DamagedFileError, match=rf"{name} is missing"):
        load_policy(rewritten(path, tmp_path / "missing.zip", weigh=drop))
    with pytest.raises(DamagedFileError, match=rf"{name} is 2 where"):
        load_policy(rewritten(path, tmp_path / "shape.zip", weigh=lambda w: w | {name: torch.zeros(2)}))
    with pytest.raises(DamagedFileError, match=r"extra\.bias has no place"):
        load_policy(
            rewritten(path, tmp_path / "extra.zip", weigh=lambda w: w | {"extra.bias": torch.zeros(2)})
        )


def test_weights_of_a_training_that_diverged_are_refused(plain_zip: Path, tmp_path: Path) -> None:
    def spoil(weights: Weights) -> Weights:
        return weights | {"action_net.bias": torch.tensor([0.0, torch.nan, 0.0])}

    path = rewritten(plain_zip, tmp_path / "model.zip", weigh=spoil)
    with pytest.raises(DamagedFileError, match=r"action_net\.bias holds numbers that are not finite"):
        load_policy(path)


def test_names_of_one_layer_must_agree(build: Build, tmp_path: Path) -> None:
    """A file that is of two extractors, but does not say so."""
    kind = Kind("PPO", "image", policy={"share_features_extractor": False})
    path = rewritten(build(kind)[1], tmp_path / "model.zip", lambda fields: fields.update(policy_kwargs={}))
    with pytest.raises(DamagedFileError, match=r"vf_features_extractor\.\S+ differs from features_extractor"):
        load_policy(path)


def test_weights_must_be_tensors_by_name(plain_zip: Path, tmp_path: Path) -> None:
    for number, content in enumerate(([torch.zeros(1)], {"a": 3})):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path = rewritten(plain_zip, tmp_path / f"{number}.zip", members={"policy.pth": buffer.getvalue()})
        with pytest.raises(DamagedFileError, match="does not hold tensors by name"):
            load_policy(path)


def test_models_of_somebody_s_own_modules_are_refused_by_name(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"features_extractor_class": Extractor}).save(
        tmp_path / "own.zip"
    )
    with pytest.raises(SteersmanError, match=r"Extractor.*--import-path"):
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
        (b"version https://git-lfs.github.com/spec/v1", "pointer of Git LFS", 2),
        (a_zip(readme=b"hi"), "not an SB3 model: it holds readme", 2),
        (a_zip(data=b"{}", parameters=b"", parameter_list=b""), "Stable-Baselines 2", 2),
        (a_zip(data=b"{}"), "not an SB3 model: it holds data", 2),
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
def test_a_truncated_zip_is_called_damaged(plain_zip: Path, tmp_path: Path, share: float) -> None:
    whole = plain_zip.read_bytes()
    path = tmp_path / "model.zip"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SteersmanError, match="truncated or damaged") as caught:
        load_policy(path)
    assert caught.value.exit_code == 1


def test_one_changed_byte_of_the_weights_is_noticed(plain_zip: Path, tmp_path: Path) -> None:
    whole = bytearray(plain_zip.read_bytes())
    whole[whole.index(b"policy.pth") + 2_000] ^= 1
    path = tmp_path / "model.zip"
    path.write_bytes(bytes(whole))
    with pytest.raises(SteersmanError, match="damaged"):
        load_policy(path)
