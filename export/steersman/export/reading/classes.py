"""The real classes behind names on the list. Only here is anything imported because a file names it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from gymnasium import spaces

from steersman.export.errors import UnsupportedError
from steersman.export.reading.allowed import ACTIVATIONS, EXTRACTORS, POLICIES
from steersman.export.reading.builtin import BuiltinType
from steersman.export.reading.plain import PlainArray, PlainDType
from steersman.export.reading.record import Record, named
from steersman.export.reading.spaces import AnySpace

_ON_POLICY = "stable_baselines3.common.policies"
_FORMER = {
    f"stable_baselines3.{algorithm}.policies.{old}": f"{_ON_POLICY}.{new}"
    for algorithm in ("a2c", "ppo")
    for old, new in (
        ("CnnPolicy", "ActorCriticCnnPolicy"),
        ("MlpPolicy", "ActorCriticPolicy"),
        ("PPOPolicy", "ActorCriticPolicy"),
        ("A2CPolicy", "ActorCriticPolicy"),
    )
}
"""Names of SB3 before 1.0."""

_TORCH_LAYERS = "stable_baselines3.common.torch_layers"
IMPORTED: Final = frozenset(
    {
        *(f"torch.nn.modules.activation.{name}" for name in ACTIVATIONS),
        "torch.nn.modules.linear.Identity",
        *(f"{_TORCH_LAYERS}.{name}" for name in EXTRACTORS),
        *(f"{module}.{name}" for module, names in POLICIES.items() for name in names),
    }
)
"""The described classes that a policy is built of."""

_BY_INPUT: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "PPO": (_ON_POLICY, "ActorCriticPolicy", "ActorCriticCnnPolicy", "MultiInputActorCriticPolicy"),
    "A2C": (_ON_POLICY, "ActorCriticPolicy", "ActorCriticCnnPolicy", "MultiInputActorCriticPolicy"),
    "TRPO": (_ON_POLICY, "ActorCriticPolicy", "ActorCriticCnnPolicy", "MultiInputActorCriticPolicy"),
    "DQN": ("stable_baselines3.dqn.policies", "DQNPolicy", "CnnPolicy", "MultiInputPolicy"),
    "SAC": ("stable_baselines3.sac.policies", "SACPolicy", "CnnPolicy", "MultiInputPolicy"),
    "TD3": ("stable_baselines3.td3.policies", "TD3Policy", "CnnPolicy", "MultiInputPolicy"),
    "DDPG": ("stable_baselines3.td3.policies", "TD3Policy", "CnnPolicy", "MultiInputPolicy"),
    "QR-DQN": ("sb3_contrib.qrdqn.policies", "QRDQNPolicy", "CnnPolicy", "MultiInputPolicy"),
    "TQC": ("sb3_contrib.tqc.policies", "TQCPolicy", "CnnPolicy", "MultiInputPolicy"),
}
"""Module, and names of the policies for vectors, images and dictionaries, of algorithms of SB3 0.x."""


def real_value(value: object, where: str) -> Any:
    """What a pickle holds, with real classes where it mentions them.

    Raises:
        UnsupportedError: It holds what no policy of SB3 can be built of.
    """
    if isinstance(value, Mapping):
        return {key: real_value(part, where) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(real_value(part, where) for part in value)
    if isinstance(value, PlainArray | PlainDType):
        return value.array if isinstance(value, PlainArray) else value.dtype
    if isinstance(value, BuiltinType):
        return value.kind
    if isinstance(value, Record) or (named(value) is not None and named(value) not in IMPORTED):
        raise UnsupportedError(f"{named(value)} is nothing that a policy is built of", where=where)
    return real_class(named(value) or "") if named(value) is not None else value


def real_class(name: str) -> type[Any]:
    """The class of a name in `IMPORTED`."""
    module, _, attribute = _FORMER.get(name, name).rpartition(".")
    found: type[Any] = getattr(import_module(module), attribute)
    return found


def class_without_name(algorithm: str, space: AnySpace, weights: Mapping[str, object]) -> type[Any] | None:
    """The policy's class where the file does not name it, as SB3 0.x did not; None if there is no telling."""
    if algorithm not in _BY_INPUT:
        return None
    module, vector, image, by_key = _BY_INPUT[algorithm]
    if isinstance(space, spaces.Dict):
        return real_class(f"{module}.{by_key}")
    seen = any("features_extractor.cnn." in name for name in weights)
    return real_class(f"{module}.{image if seen else vector}")
