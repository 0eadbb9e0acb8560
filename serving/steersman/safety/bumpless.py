"""Bumpless return: after a fallback or override, a continuous action goes over to the policy's gradually.

The term is that of process control, where the controller that takes over starts from what the actuator does
already (K. J. Åström and T. Hägglund, Advanced PID Control, 2006, section 3.6). Either the action is blended,
from the last one that the fallback gave to the policy's, in a given time; or it approaches the policy's at no
more than a given rate, until it has reached it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from steersman.bundle.specs import BoxAction, Contract
from steersman.bundle.validation import Settings
from steersman.safety.columns import Array, Rows
from steersman.safety.errors import SafetyError
from steersman.safety.memory import Fields, Memory

Floats = NDArray[np.float64]

_ACTIVE, _SECONDS, _FROM = "return.active", "return.for_s", "return.from"


class ReturnSettings(Settings):
    """How an action goes over to the policy's; one of the two.

    Attributes:
        blend_s: Seconds in which the share of the policy's action grows from none to all.
        max_rate_per_s: How fast each element may approach the policy's, in its unit per second.
    """

    blend_s: Annotated[float, Field(gt=0)] | None = None
    max_rate_per_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ReturnSettings:
        if (self.blend_s is None) == (self.max_rate_per_s is None):
            raise ValueError("return needs blend_s or max_rate_per_s, one of the two")
        return self


@dataclass(frozen=True, slots=True)
class Return:
    """The return of one deployment on one policy. Use `compile`.

    Episodes of which nothing is remembered are not returning. While no time passes, the action stays.

    Attributes:
        settings: From the deployment.
        action: What actions look like.
    """

    settings: ReturnSettings
    action: BoxAction

    @classmethod
    def compile(cls, settings: ReturnSettings, contract: Contract) -> Return:
        """The return that these settings describe for this policy.

        Raises:
            SafetyError: There is nothing between two of its actions.
        """
        action = contract.action
        if not isinstance(action, BoxAction) or not action.dtype.startswith("float"):
            raise SafetyError(
                f"there is nothing between two {action.kind} actions of {action.dtype}",
                where="return",
                expected="a policy with continuous actions",
            )
        return cls(settings, action)

    def fields(self) -> Fields:
        """Whether it goes on; for a blend also for how long, and from which action."""
        if self.settings.blend_s is None:
            return {_ACTIVE: ("?", ())}
        return {_ACTIVE: ("?", ()), _SECONDS: ("<f8", ()), _FROM: ("<f8", self.action.shape)}

    def limit(self, memory: Memory, actions: Array) -> tuple[Array, Rows]:
        """The actions to take instead of the policy's.

        They are between the policy's and the fallback's last one, element by element, and so within the
        bounds; constraints other than bounds have to be checked again.

        Args:
            memory: Of the N rows.
            actions: [N, *shape], the policy's.

        Returns:
            Actions [N, *shape], those given where no row returns; and [N] which rows changed.
        """
        returning = np.flatnonzero(memory.cells[_ACTIVE])
        changed = np.zeros(len(actions), np.bool_)
        if not returning.size:
            return actions, changed
        wanted = actions[returning]
        given = self._between(memory.take(returning), wanted)
        differs = (given != wanted).reshape(len(wanted), -1).any(axis=1)
        changed[returning] = differs
        limited = actions.copy()
        limited[returning] = given
        return limited, changed

    def update(self, memory: Memory, fell: Rows, changed: Rows) -> None:
        """Remembers this step; once, when it is known who answered.

        Args:
            memory: Of the N rows; its cells are written to.
            fell: [N], rows answered by anyone but the policy.
            changed: [N], as `limit` gave it.
        """
        if not (np.count_nonzero(fell) or np.count_nonzero(memory.cells[_ACTIVE])):
            return
        active = memory.cells[_ACTIVE] & ~fell
        if self.settings.blend_s is None:
            memory.cells[_ACTIVE] = fell | (active & changed)
            return
        origin, seconds = self._origin(memory), self._seconds(memory)
        active &= seconds < self.settings.blend_s
        memory.cells[_FROM] = np.where(self._wide(active), origin, 0.0)
        memory.cells[_SECONDS] = np.where(active, seconds, 0.0)
        memory.cells[_ACTIVE] = fell | active

    def _between(self, memory: Memory, wanted: Array) -> Array:
        """Actions between the fallback's last ones and those wanted, of rows that return."""
        target: Floats = wanted.astype(np.float64)
        if self.settings.max_rate_per_s is not None:
            step = self._wide(self.settings.max_rate_per_s * np.nan_to_num(memory.elapsed_s))
            origin = memory.previous.astype(np.float64)
            return np.clip(target, origin - step, origin + step).astype(wanted.dtype)
        origin = self._origin(memory)
        share = self._wide(np.minimum(self._seconds(memory) / (self.settings.blend_s or 1.0), 1.0))
        with np.errstate(invalid="ignore"):  # the model may have failed; such an action is refused anyway
            mixed = (1 - share) * origin + share * target
        ends = np.minimum(origin, target), np.maximum(origin, target)
        return np.where(share < 1, np.clip(mixed, *ends), target).astype(wanted.dtype)

    def _origin(self, memory: Memory) -> Floats:
        """What is blended from: on the first step the action before, which was the fallback's."""
        begun = self._wide(memory.cells[_SECONDS] > 0)
        return np.where(begun, memory.cells[_FROM], memory.previous)

    def _seconds(self, memory: Memory) -> Floats:
        """Since the fallback's last action."""
        return np.asarray(memory.cells[_SECONDS] + np.nan_to_num(memory.elapsed_s))

    def _wide(self, column: NDArray[np.generic]) -> Array:
        """[N] -> [N, 1, ...], to go with actions."""
        return column.reshape(-1, *(1,) * len(self.action.shape))
