"""What lies before the policy: VecNormalize, velocity masks and images of either channel order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from steersman.export.policies.inputs import Inputs, draw_inputs
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.reader import ObservationReader
from steersman.export.reading.normalizer import Normalizer, Statistics
from unit.export.policies.made import (
    ACTIONS,
    OBSERVATIONS,
    Made,
    assert_alone,
    assert_computed,
    assert_same,
    make,
    sample,
    untrained,
)


def statistics(shape: tuple[int, ...], offset: float = 1e4) -> Statistics:
    """Small differences on top of a large mean: float32 would lose them."""
    rng = np.random.default_rng(1)
    return Statistics(offset + rng.normal(size=shape), rng.uniform(0.01, 0.1, shape), 1e-8)


def inputs_of(made: Made, raw: spaces.Space[Any], rows: int) -> Inputs:
    return draw_inputs(Inputs(sample(raw, rows)), made.contract, np.random.default_rng(0))


def test_normalization_is_in_float64() -> None:
    raw = spaces.Box(9_999.0, 10_001.0, (3,), np.float64)
    preparation = Preparation(normalizer=Normalizer({"obs": statistics((3,))}, 5.0))
    made = make(untrained(PPO, raw, ACTIONS["arm"]()), preparation)
    assert_computed(made, inputs_of(made, raw, 500))
    assert_same(made, inputs_of(made, raw, 500))
    assert_alone(made, inputs_of(made, raw, 31))


def test_only_some_keys_are_normalized() -> None:
    raw = OBSERVATIONS["camera and speed"]()
    preparation = Preparation(normalizer=Normalizer({"obs/speed": statistics((3,), 1.0)}, 10.0))
    made = make(untrained(PPO, raw, ACTIONS["five"]()), preparation)
    assert_computed(made, inputs_of(made, raw, 100))


def test_a_velocity_mask_comes_before_normalization() -> None:
    raw = OBSERVATIONS["flat"]()
    keep = np.array([1, 0, 1], np.float32)
    preparation = Preparation(keep=keep, normalizer=Normalizer({"obs": statistics((3,), 0.5)}, 10.0))
    made = make(untrained(PPO, raw, ACTIONS["arm"]()), preparation)
    inputs = inputs_of(made, raw, 100)
    assert_computed(made, inputs)
    assert_same(made, inputs)
    moved = dict(inputs.observations)
    moved["obs"] = moved["obs"] * np.array([1, -3, 1], np.float32)
    other = Inputs(moved, inputs.action_mask, inputs.noise)
    assert made.run(inputs)["action"].tobytes() == made.run(other)["action"].tobytes()


def test_numbers_outside_their_range_have_no_hot_element() -> None:
    """SB3 itself stops there; in a batch that would stop everybody."""
    reader = ObservationReader(Preparation(), spaces.MultiDiscrete([3, 2]), normalize_images=True)
    hot = reader(torch.tensor([[2, 1], [3, 0], [-1, 2]]))
    assert hot.tolist() == [[0, 0, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_images_with_channels_last() -> None:
    raw = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    policy = untrained(PPO, raw, ACTIONS["five"](), "CnnPolicy")
    assert policy.observation_space.shape == (3, 36, 40)
    made = make(policy, Preparation(channels_last=frozenset({"obs"})), raw)
    assert_computed(made, inputs_of(made, raw, 50))
    assert_same(made, inputs_of(made, raw, 50))
    assert_alone(made, inputs_of(made, raw, 11))


@pytest.mark.parametrize(
    "raw", [spaces.Box(0, 1, (3, 36, 36), np.float32), OBSERVATIONS["image"]()], ids=["floats", "bytes"]
)
def test_images_that_are_not_divided(raw: spaces.Box) -> None:
    made = make(untrained(PPO, raw, ACTIONS["five"](), "CnnPolicy", normalize_images=False))
    assert_computed(made, inputs_of(made, raw, 50))
