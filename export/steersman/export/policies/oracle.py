"""What SB3 itself answers: the oracle that the graph is held to.

Actions come from `policy.predict` with the preparation's arithmetic before it. Where `predict` takes no mask,
masked rows come from the policy's own torch distribution or Q-values, masked and then arg-maxed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steersman.bundle.errors import brief
from steersman.export.errors import ExportError
from steersman.export.observations import join
from steersman.export.policies.family import Acted, Answers, Family
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.preparation import Preparation

MOST_BYTES = 64 * 1024**2
"""Observations asked about at once, counted as float32: networks hold several times that."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """A policy with what was before it in training."""

    family: Family
    preparation: Preparation

    def act(self, inputs: Inputs, *, sampled: bool = False) -> Acted:
        """The environment's actions for raw observations, and the state that follows.

        Choices of a Discrete space are counted from its `start`; SB3 itself counts them from 0.

        Raises:
            ExportError: SB3 itself cannot.
        """
        try:
            parts = [
                self.family.act(self.preparation(part.observations), part, sampled=sampled)
                for part in _parts(inputs)
            ]
        except (RuntimeError, ValueError) as error:  # such as a distribution of NaN, which cannot be sampled
            raise ExportError(
                f"SB3's own policy cannot act: {brief(error)}",
                hint="Its weights have likely diverged, or the observations are not those that it knows.",
            ) from error
        return Acted(np.concatenate([part.actions for part in parts]), join([part.state for part in parts]))

    def answer(self, inputs: Inputs) -> Answers:
        """Every output of the graph for the same inputs."""
        parts = [self.family.answer(self.preparation(part.observations), part) for part in _parts(inputs)]
        return Answers(
            join([part.outputs for part in parts]),
            np.concatenate([part.margin for part in parts]),
            np.concatenate([part.sampled_margin for part in parts]),
        )


def _parts(inputs: Inputs) -> Iterator[Inputs]:
    row = 4 * sum(array[0].size for array in inputs.observations.values())
    step = max(1, min(8192, MOST_BYTES // max(1, row)))
    for first in range(0, len(inputs), step):
        yield inputs.take(slice(first, first + step))
