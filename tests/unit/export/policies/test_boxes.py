"""Actions of a Box to the bit as SB3 and numpy bring them into their bounds, whatever their type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC

from steersman.bundle.specs import BoxAction
from steersman.export.policies.boxes import ClippedToBox, ScaledToBox
from steersman.export.policies.contract import action_spec
from unit.export.policies.made import OBSERVATIONS
from unit.export.policies.off_policy import off_policy

LOW, HIGH = [-3.3, -100, 0.1], [0.7, 99, 5.9]
TYPES = ("float16", "float32", "float64", "int8", "int16", "int32")


def box_of(dtype: str) -> tuple[spaces.Box, BoxAction]:
    space = spaces.Box(np.array(LOW).astype(dtype), np.array(HIGH).astype(dtype), dtype=np.dtype(dtype).type)
    action = action_spec(space)
    assert isinstance(action, BoxAction)
    return space, action


@pytest.mark.parametrize("dtype", TYPES)
def test_scaled_actions_have_the_bits_of_unscale_action(dtype: str) -> None:
    """The second element of int8 wraps, for SB3 too."""
    space, action = box_of(dtype)
    policy = off_policy(SAC, OBSERVATIONS["flat"](), space, net_arch=[4]).policy
    flat = np.random.default_rng(0).uniform(-1, 1, (10_000, 3)).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = policy.unscale_action(flat).astype(action.dtype)
    found = ScaledToBox(action, space)(torch.from_numpy(flat)).numpy()
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", TYPES)
def test_clipped_actions_have_the_bits_of_numpy_clip(dtype: str) -> None:
    space, action = box_of(dtype)
    flat = (np.random.default_rng(0).normal(size=(10_000, 3)) * 20).astype(np.float32)
    expected = np.clip(flat, space.low, space.high).astype(action.dtype)
    found = ClippedToBox(action)(torch.from_numpy(flat)).numpy()
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", TYPES)
def test_boxes_of_integers_get_floats_as_from_sb3(dtype: str) -> None:
    """`predict` gives them so, and so the environment has had them in training."""
    space, action = box_of(dtype)
    policy = off_policy(SAC, OBSERVATIONS["flat"](), space, net_arch=[4]).policy
    with np.errstate(over="ignore"):
        predicted, _ = policy.predict(np.ones((50, 3), np.float32), deterministic=True)
    assert predicted.dtype.kind == np.dtype(action.dtype).kind == "f"
