"""The latch: after a fault an episode stays with its fallback until the policy has been healthy for a while.

Without it, control would change hands at every step of a sensor at the edge of its range. It is what run-time
assurance calls a latch time (K. L. Hobbs and others, Runtime assurance for safety-critical systems, 2023),
with a number of healthy steps beside the time, for slow and fast loops alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from steersman.bundle.validation import Settings
from steersman.safety.columns import Rows
from steersman.safety.memory import Fields, Memory

_HELD, _HEALTHY, _SECONDS = "latch.held", "latch.healthy", "latch.for_s"


class LatchSettings(Settings):
    """How long an episode stays with its fallback.

    Attributes:
        healthy: Steps in a row on which nothing was wrong.
        min_s: Seconds since the last one on which something was.
    """

    healthy: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    min_s: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, slots=True)
class Latch:
    """The latch of one deployment. An episode of which nothing is remembered is not latched.

    Attributes:
        settings: From the deployment.
    """

    settings: LatchSettings

    def fields(self) -> Fields:
        """Whether it holds, and for how many healthy steps and seconds nothing has been wrong."""
        return {_HELD: ("?", ()), _HEALTHY: ("<u4", ()), _SECONDS: ("<f8", ())}

    def holds(self, memory: Memory, healthy: Rows) -> Rows:
        """Healthy rows that stay with the fallback all the same: [N].

        Args:
            memory: Of the N rows.
            healthy: [N], rows that would go to the model: nothing is wrong so far.
        """
        held: NDArray[np.bool_] = memory.cells[_HELD] & healthy
        if not np.count_nonzero(held):
            return held
        enough = memory.cells[_HEALTHY] >= self.settings.healthy
        return held & ~(enough & (self._seconds(memory) >= self.settings.min_s))

    def update(self, memory: Memory, fell: Rows, healthy: Rows) -> None:
        """Remembers this step; once, when all of it is known.

        Args:
            memory: Of the N rows; its cells are written to.
            fell: [N], rows that a fallback answered.
            healthy: [N], rows on which nothing was wrong before, in or after the model. Rows that the latch
                held are among them; so should be those that fell for reasons that are not the policy's, such
                as overload: a fallback on a healthy row does not begin a latch.
        """
        if not (np.count_nonzero(fell) or np.count_nonzero(memory.cells[_HELD])):
            return
        stays = self.holds(memory, healthy)
        seconds = np.where(stays, self._seconds(memory), 0.0)
        steps = np.minimum(memory.cells[_HEALTHY] + np.uint32(1), np.uint32(self.settings.healthy))
        memory.cells[_HELD] = stays | (~healthy & (fell | memory.cells[_HELD]))
        memory.cells[_HEALTHY] = np.where(stays, steps, 0)
        memory.cells[_SECONDS] = seconds

    def _seconds(self, memory: Memory) -> NDArray[np.float64]:
        """Since the last fault. Added up step by step, so that a clock set back cannot hold it for ever."""
        return np.asarray(memory.cells[_SECONDS] + np.nan_to_num(memory.elapsed_s))
