"""Copies of an environment, each with all that it carries from one step to the next.

SB3's VecEnv does not know recurrent states and masks, and steps every copy whether or not its episode counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import StateSpec
from steersman.export.errors import ExportError
from steersman.export.observations import from_sb3, take
from steersman.export.policies.family import Acted
from steersman.export.policies.inputs import Inputs
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.layout import tensors

Environment = gymnasium.Env[Any, Any]
Act = Callable[[Inputs], Acted]
"""Anything that plays: SB3's policy, or a session of a variant."""
MASKS = "action_masks"
"""Name of the method that gives masks, as sb3-contrib has it."""


class Copies:
    """Environments in this process that are asked for rows and take actions, any of them at a time.

    Args:
        environments: The copies; they are closed by whoever made them.
        space: Their raw observation space.
        state: Recurrent state of the policy that plays.
        masked: Whether the policy takes the masks that the environment gives.
    """

    def __init__(
        self,
        environments: Sequence[Environment],
        space: AnySpace,
        state: Sequence[StateSpec] = (),
        *,
        masked: bool = False,
    ) -> None:
        copies = len(environments)
        self._environments = environments
        self._observations = {
            name: np.zeros((copies, *(part.shape or ())), part.dtype) for name, part in tensors(space).items()
        }
        self._state = {spec.name: np.zeros((copies, *spec.shape), spec.dtype) for spec in state}
        self._starting = np.ones(copies, np.bool_)
        self._ended = np.ones(copies, np.bool_)
        self._seeds: list[int | None] = [None] * copies
        self._masked = masked and environments[0].has_wrapper_attr(MASKS)

    def __len__(self) -> int:
        return len(self._environments)

    def restart(self, seed: int | None = None) -> None:
        """Every copy begins another episode when it is looked at next, copy i with `seed + i`, if given."""
        self._ended[:] = True
        if seed is not None:
            self._seeds = [seed + i for i in range(len(self))]

    def look(self, index: NDArray[np.int64]) -> Inputs:
        """What these copies show now; those whose episodes ended begin new ones."""
        for i in index[self._ended[index]]:
            self._begin(int(i))
        return Inputs(
            take(self._observations, index),
            action_mask=self._masks(index) if self._masked else None,
            state=take(self._state, index),
            episode_start=self._starting[index] if self._state else None,
        )

    def step(self, index: NDArray[np.int64], acted: Acted) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Takes one action in each of these copies.

        Returns:
            Rewards, and whether an episode ended, one of each per copy.
        """
        for name, following in acted.state.items():
            self._state[name][index] = following
        rewards = [self._step(int(i), action) for i, action in zip(index, acted.actions, strict=True)]
        return np.array(rewards, np.float64), self._ended[index]

    def _begin(self, i: int) -> None:
        observation, _ = _told(self._environments[i].reset, seed=self._seeds[i])
        self._seeds[i] = None
        self._ended[i], self._starting[i] = False, True
        _told(self._show, i, observation)

    def _step(self, i: int, action: Any) -> float:
        observation, reward, terminated, truncated, _ = _told(self._environments[i].step, action)
        self._ended[i], self._starting[i] = terminated or truncated, False
        _told(self._show, i, observation)
        return float(reward)

    def _show(self, i: int, observation: Any) -> None:
        shown = from_sb3(observation)
        for name, column in self._observations.items():
            column[i] = shown[name]

    def _masks(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        masks = [_told(self._environments[i].get_wrapper_attr(MASKS)) for i in index]
        return np.asarray(masks, np.bool_).reshape(len(index), -1)


def _told(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except Exception as error:  # a user's environment may raise anything
        raise ExportError(
            f"the environment failed while the policy played: {one_line(error)}",
            hint="Mend it, or export without episodes.",
        ) from error


def one_line(error: Exception) -> str:
    """An exception's kind and text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
