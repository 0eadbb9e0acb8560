"""Actor-critic policies of every space against SB3's own answers, and rows against their company."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from steersman.export.policies.inputs import Inputs
from unit.export.policies.made import ACTIONS, OBSERVATIONS, Made, assert_alone, assert_same, make, untrained

CHOICES = ("five", "shifted", "only", "ragged", "even", "switches")
BOXES = ("torque", "arm", "precise")


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("action", ["ragged", "arm"])
def test_every_kind_of_observation(observation: str, action: str) -> None:
    policy = "CnnPolicy" if observation == "image" else ""
    made = make(untrained(PPO, OBSERVATIONS[observation](), ACTIONS[action](), policy))
    assert_same(made, made.inputs(200))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize("algorithm", [A2C, MaskablePPO], ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("action", CHOICES)
def test_every_kind_of_choice(algorithm: Any, action: str) -> None:
    made = make(untrained(algorithm, OBSERVATIONS["flat"](), ACTIONS[action]()))
    assert_same(made, made.inputs(1_000))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize("action", BOXES)
def test_every_kind_of_box(action: str) -> None:
    made = make(untrained(TRPO, OBSERVATIONS["flat"](), ACTIONS[action]()))
    assert_same(made, made.inputs(1_000))
    assert_alone(made, made.inputs())
