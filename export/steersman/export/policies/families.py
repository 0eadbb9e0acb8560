"""Which family a policy is of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from steersman.export.errors import UnsupportedError
from steersman.export.policies.family import Family
from steersman.export.reading.load import SavedPolicy

_HOMES = {
    "RecurrentPPO": ("recurrent", "RecurrentActorCritic"),
    "PPO": ("actor_critic", "ActorCritic"),
    "A2C": ("actor_critic", "ActorCritic"),
    "TRPO": ("actor_critic", "ActorCritic"),
    "MaskablePPO": ("actor_critic", "ActorCritic"),
    "DQN": ("q_values", "QValues"),
    "QR-DQN": ("q_values", "QValues"),
    "TD3": ("deterministic", "Deterministic"),
    "DDPG": ("deterministic", "Deterministic"),
    "ARS": ("deterministic", "Deterministic"),
    "SAC": ("squashed", "SquashedGaussian"),
    "TQC": ("squashed", "SquashedGaussian"),
    "CrossQ": ("squashed", "SquashedGaussian"),
}


def family_of(saved: SavedPolicy) -> Family:
    """The family of a policy.

    Raises:
        UnsupportedError: There is none for its algorithm.
    """
    if saved.algorithm not in _HOMES:
        raise UnsupportedError(f"{saved.algorithm} is not covered", expected=" or ".join(_HOMES))
    module, name = _HOMES[saved.algorithm]
    made: Any = getattr(import_module(f"steersman.export.policies.{module}"), name)
    family: Family = made(saved)
    return family
