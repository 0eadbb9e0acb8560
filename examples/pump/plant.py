"""A pump that keeps the level of a tank: a small environment with one continuous action.

Observation: how far the level is from where it should be (m), and what is drawn from the tank now, as a share
of the most that the pump gives. Action: the speed of the pump, 0 to 1. What is drawn changes in jumps.

The environment knows nothing of what the pump must not do: neither that its speed may change by only so much
per second, nor that around half speed its frame resonates. That is said in `pump.yaml`, not trained.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

STEP_S = 0.5
STEPS = 120
FEATURES = ("level_error", "demand")
JUMP_CHANCE = 0.06
"""Of the demand, per step."""

Observation = NDArray[np.float32]


class Pump(gymnasium.Env[Observation, NDArray[np.float32]]):
    """The tank and its pump."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(
            np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32)
        )
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        self._error, self._demand, self._step = 0.0, 0.5, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins with some level and some demand."""
        super().reset(seed=seed, options=options)
        self._error = float(self.np_random.uniform(-0.5, 0.5))
        self._demand = float(self.np_random.uniform(0.2, 0.8))
        self._step = 0
        return self._observed(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Lets the pump run at a speed for half a second."""
        flow = float(np.clip(action[0], 0.0, 1.0)) - self._demand
        self._error = float(np.clip(self._error + STEP_S * flow, -2.0, 2.0))
        if self.np_random.random() < JUMP_CHANCE:
            self._demand = float(self.np_random.uniform(0.2, 0.8))
        self._step += 1
        return self._observed(), -(self._error**2), False, self._step >= STEPS, {}

    def _observed(self) -> Observation:
        return np.array([self._error, self._demand], np.float32)


gymnasium.register("Pump-v0", Pump)
