"""Equality with SB3: what is excused by rounding and ties, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from steersman.bundle.session import PolicySession
from steersman.export.errors import ParityError
from steersman.export.evidence.parity import check_parity
from steersman.export.evidence.sequences import check_sequences
from steersman.export.policies.families import family_of
from steersman.export.policies.oracle import Oracle
from steersman.export.policies.preparation import Preparation
from steersman.export.reading.load import SavedPolicy
from unit.export.policies.made import make, untrained

VECTOR = spaces.Box(-5, 5, (3,), np.float32)
TORQUE = spaces.Box(-2, 2, (2,), np.float32)
PAIR = spaces.MultiDiscrete([3, 4])


def steep() -> SavedPolicy:
    """A policy whose actions hang on the last bits of its weights: large numbers that nearly cancel."""
    policy = untrained(PPO, VECTOR, TORQUE)
    network: Any = policy.policy
    with torch.no_grad():
        network.mlp_extractor.policy_net[0].weight.mul_(40)
        network.action_net.weight.mul_(40_000)
        network.action_net.weight.sub_(network.action_net.weight.mean(dim=1, keepdim=True))
    return policy


def oracle_of(policy: SavedPolicy) -> Oracle:
    return Oracle(family_of(policy), Preparation())


class Spoiled:
    """A session that answers a little wrong."""

    def __init__(self, session: PolicySession, spoil: Any) -> None:
        self.contract = session.contract
        self._session, self._spoil = session, spoil

    def run(self, outputs: Any, feeds: Any) -> list[Any]:
        found = dict(zip(outputs, self._session.run(outputs, feeds), strict=True))
        self._spoil(found)
        return [found[name] for name in outputs]


def test_what_float32_leaves_open_is_counted_and_not_refused() -> None:
    policy = steep()
    made = make(policy)
    parity = check_parity(made.session, oracle_of(policy), made.inputs(2_000), tie_gap=1e-6).parity
    assert parity.rounding > 0
    assert parity.disagreements == 0


def test_more_than_rounding_explains_is_refused() -> None:
    policy = steep()
    made = make(policy)

    def spoil(found: dict[str, Any]) -> None:
        found["distribution"] = found["distribution"] * np.float32(1.01)

    with pytest.raises(ParityError, match="distribution differs from SB3's"):
        check_parity(Spoiled(made.session, spoil), oracle_of(policy), made.inputs(500), tie_gap=1e-6)  # type: ignore[arg-type]


def test_a_tie_in_one_segment_excuses_no_other() -> None:
    policy = untrained(PPO, VECTOR, PAIR)
    network: Any = policy.policy
    with torch.no_grad():
        network.action_net.weight[:3] = 0
        network.action_net.bias[:3] = 0
    made = make(policy)

    def spoil(found: dict[str, Any]) -> None:
        found["action"] = (found["action"] + np.array([0, 1])) % np.array([3, 4])

    with pytest.raises(ParityError, match="choices differ"):
        check_parity(Spoiled(made.session, spoil), oracle_of(policy), made.inputs(500), tie_gap=1e-4)  # type: ignore[arg-type]
    parity = check_parity(made.session, oracle_of(policy), made.inputs(500), tie_gap=1e-4).parity
    assert parity.ties == 0


def test_actions_that_are_not_numbers_never_agree() -> None:
    policy = untrained(RecurrentPPO, VECTOR, TORQUE, "MlpLstmPolicy", lstm_hidden_size=8)
    made = make(policy)

    def spoil(found: dict[str, Any]) -> None:
        found["action"] = np.full_like(found["action"], np.nan)

    spoiled: Any = Spoiled(made.session, spoil)
    found = check_sequences(spoiled, oracle_of(policy), made.inputs(50), tie_gap=0.0)
    assert found.max_action_error == np.inf
