"""What lies between the environment's raw observations and SB3's own preprocessing.

The graph does the same in torch; see `reader.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.export.observations import Observations, as_sb3
from steersman.export.reading.normalizer import Normalizer


@dataclass(frozen=True, slots=True)
class Preparation:
    """Three steps, each left out where it is not needed, in this order.

    Attributes:
        keep: [*shape] of a plain observation, 1 or 0: elements that a velocity mask sets to zero are 0.
        normalizer: VecNormalize.
        channels_last: Graph inputs whose raw images have their channels last where the policy has them first.
    """

    keep: NDArray[np.float32] | None = None
    normalizer: Normalizer | None = None
    channels_last: frozenset[str] = frozenset()

    def __call__(self, observations: Observations) -> Any:
        """Raw observations as SB3's policy takes them: an array, or a dictionary by key."""
        prepared = dict(observations)
        if self.keep is not None:
            prepared = {name: array * self.keep for name, array in prepared.items()}
        if self.normalizer is not None:
            prepared = dict(self.normalizer(prepared))
        for name in self.channels_last:
            prepared[name] = np.moveaxis(prepared[name], -1, 1)
        return as_sb3(prepared)
