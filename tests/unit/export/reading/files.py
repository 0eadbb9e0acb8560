"""Small SB3 files of every kind and age, made of freshly built models."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

Fields = dict[str, Any]
Change = Callable[[Fields], object]
Weights = dict[str, torch.Tensor]

OBSERVATIONS: dict[str, Callable[[], spaces.Space[Any]]] = {
    "vector": lambda: spaces.Box(-2, 2, (3,), np.float32),
    "image": lambda: spaces.Box(0, 255, (3, 36, 36), np.uint8),
    "choice": lambda: spaces.Discrete(4),
    "choices": lambda: spaces.MultiDiscrete([3, 2]),
    "switches": lambda: spaces.MultiBinary(4),
    "keyed": lambda: spaces.Dict(  # not in the order of the alphabet
        [
            ("speed", spaces.Box(-1, 1, (2,), np.float64)),
            ("camera", spaces.Box(0, 255, (1, 36, 36), np.uint8)),
            ("gear", spaces.Discrete(3)),
            ("board", spaces.MultiBinary([2, 2])),
        ]
    ),
}
ACTIONS: dict[str, Callable[[], spaces.Space[Any]]] = {
    "choice": lambda: spaces.Discrete(3, start=-1),
    "choices": lambda: spaces.MultiDiscrete([2, 3]),
    "switches": lambda: spaces.MultiBinary(3),
    "arm": lambda: spaces.Box(np.array([-2, 0], np.float32), np.array([3, 0.5], np.float32)),
}
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    kind.__name__: kind
    for kind in (PPO, A2C, DQN, DDPG, TD3, SAC, QRDQN, TQC, TRPO, ARS, CrossQ, MaskablePPO, RecurrentPPO)
}
_ROLLOUT = {"n_steps": 8, "batch_size": 8}
_BUFFER = {"buffer_size": 4}
_SMALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("PPO", "TRPO", "MaskablePPO", "RecurrentPPO"), _ROLLOUT),
    **dict.fromkeys(("DQN", "QRDQN", "DDPG", "TD3", "SAC", "TQC", "CrossQ"), _BUFFER),
}


class Still(gymnasium.Env[Any, Any]):
    """Has spaces, and nothing happens in it."""

    def __init__(self, observation: str, action: str) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observation](), ACTIONS[action]()


@dataclass(frozen=True)
class Kind:
    """A model to build: algorithm, spaces, and arguments for the policy and the algorithm."""

    algorithm: str = "PPO"
    observation: str = "vector"
    action: str = "choice"
    policy: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    policy_class: Any = None

    def __str__(self) -> str:
        parts = (self.algorithm, self.observation, self.action, *self.policy, *self.settings)
        return " ".join(parts) + (f" {self.policy_class}" if self.policy_class else "")

    def build(self) -> BaseAlgorithm:
        torch.set_num_threads(1)
        name = {"image": "CnnPolicy", "keyed": "MultiInputPolicy"}.get(self.observation, "MlpPolicy")
        if self.algorithm == "RecurrentPPO":
            name = name.replace("Policy", "LstmPolicy")
        settings = {**_SMALL.get(self.algorithm, {}), **self.settings}
        return ALGORITHMS[self.algorithm](
            self.policy_class or name,
            Still(self.observation, self.action),
            seed=1,
            device="cpu",
            policy_kwargs=dict(self.policy),
            **settings,
        )


def observations(model: BaseAlgorithm, count: int = 20) -> Any:
    """Samples of the space, as `predict` takes them."""
    model.observation_space.seed(3)
    drawn = [model.observation_space.sample() for _ in range(count)]
    if isinstance(model.observation_space, spaces.Dict):
        return {key: np.stack([sample[key] for sample in drawn]) for key in drawn[0]}
    return np.stack(drawn)


def fields_of(path: Path) -> Fields:
    """The JSON of a file."""
    with zipfile.ZipFile(path) as archive:
        fields: Fields = json.loads(archive.read("data"))
    return fields


def rewritten(
    source: Path,
    target: Path,
    change: Change = lambda _: None,
    weigh: Callable[[Weights], Weights] | None = None,
    members: Mapping[str, bytes | None] | None = None,
) -> Path:
    """The zip with other fields in its JSON, other weights, or other members; None leaves a member out."""
    with zipfile.ZipFile(source) as old:
        found: dict[str, bytes | None] = {name: old.read(name) for name in old.namelist()}
    fields = fields_of(source)
    change(fields)
    found |= {"data": json.dumps(fields).encode(), **(members or {})}
    if weigh is not None:
        weights = torch.load(io.BytesIO(found["policy.pth"] or b""), weights_only=True)
        buffer = io.BytesIO()
        torch.save(weigh(weights), buffer)
        found["policy.pth"] = buffer.getvalue()
    with zipfile.ZipFile(target, "w") as new:
        for name, data in found.items():
            if data is not None:
                new.writestr(name, data)
    return target


def pickled(data: bytes) -> dict[str, str]:
    """A field that JSON cannot hold, as SB3 writes it."""
    return {":type:": "<class 'object'>", ":serialized:": base64.b64encode(data).decode()}


def by_value(value: object) -> dict[str, str]:
    """A field as SB3 writes it today."""
    return pickled(cloudpickle.dumps(value))


_FORMER_NAMES = (
    (b"gymnasium.spaces", b"gym.spaces"),
    (b"numpy._core.", b"numpy.core."),
)


def former_pickle(value: object) -> bytes:
    """A pickle with the module names of 2021.

    Protocol 2 spells names out, each to the end of its line, so that they can be exchanged.
    """
    data = pickle.dumps(value, 2)
    for new, old in _FORMER_NAMES:
        data = data.replace(new, old)
    return data


def bomb(path: Path) -> bytes:
    """A pickle that calls `os.system`, written by hand."""
    return b"cposix\nsystem\n(S'touch " + str(path).encode() + b"'\ntR."


def of_2021(model: BaseAlgorithm, target: Path, weigh: Callable[[Weights], Weights] | None = None) -> Path:
    """The model as SB3 1.0 with gym 0.17 and numpy 1.19 saved it, but for the weights' names."""
    model.save(target)
    gone = ("rollout_buffer_class", "rollout_buffer_kwargs", "_stats_window_size", "normalize_advantage")

    def age(fields: Fields) -> None:
        for name in gone:
            fields.pop(name, None)
        for name in ("observation_space", "action_space", "policy_class"):
            fields[name] = pickled(former_pickle(getattr(model, name)))
        fields["policy_kwargs"] = pickled(former_pickle(model.policy_kwargs))
        fields["_last_dones"] = pickled(former_pickle(np.array([True])))
        fields["eval_env"] = fields["_vec_normalize_env"] = None
        fields["learning_rate"] = pickled(b"\x80\x04cold_module\nlinear_schedule\n.")

    members = {"_stable_baselines3_version": b"1.0", "system_info.txt": None}
    return rewritten(target, target, age, weigh, members)
