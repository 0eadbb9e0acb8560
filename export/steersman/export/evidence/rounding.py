"""How far float32 itself leaves SB3's answers open.

Two programs that add the same numbers in another order differ in their last bits, and networks with large
weights amplify that, most of all on extreme states. How much is asked of SB3 itself: what it answers when
each of its weights is moved by its last bit, up or down at random. For a sum that is computed in another
order is the exact sum of terms that differ in their last bits (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd edition 2002, sections 3.1 and 4.2).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.export.observations import Array
from steersman.export.policies.family import Answers
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.oracle import Oracle

DRAWS = 8
"""Times that the weights are moved; the largest change counts."""
HEAD_ROOM = 10.0
"""A graph may differ from SB3 by so many times what the last bits of its weights do."""


@dataclass(frozen=True, slots=True)
class Openness:
    """What rounding leaves open, for N rows.

    Attributes:
        numbers: By output, [N, ...] the difference that rounding explains.
        choices: By output that is a choice, [N] whether rounding changes it.
    """

    numbers: Mapping[str, NDArray[np.float64]]
    choices: Mapping[str, NDArray[np.bool_]]


def measure_openness(oracle: Oracle, inputs: Inputs, answers: Answers, *, seed: int = 0) -> Openness:
    """Asks SB3 again with moved weights.

    Args:
        oracle: SB3.
        inputs: The rows in question.
        answers: What it answers as it is.
        seed: Of the moves.
    """
    numbers: dict[str, NDArray[np.float64]] = {
        name: np.zeros(array.shape) for name, array in answers.outputs.items()
    }
    margins: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {
        "action": (answers.margin, np.zeros(len(inputs))),
        "sampled_action": (answers.sampled_margin, np.zeros(len(inputs))),
    }
    for moved in _moved(oracle, seed):
        other = moved.answer(inputs)
        for name, largest in numbers.items():
            np.maximum(largest, _apart(other.outputs[name], answers.outputs[name]), out=largest)
        for name, found in (("action", other.margin), ("sampled_action", other.sampled_margin)):
            known, largest = margins[name]
            np.maximum(largest, _apart(found, known), out=largest)
    return Openness(
        {name: HEAD_ROOM * largest for name, largest in numbers.items()},
        {name: known <= HEAD_ROOM * largest for name, (known, largest) in margins.items()},
    )


def _moved(oracle: Oracle, seed: int) -> Iterator[Oracle]:
    generator = torch.Generator().manual_seed(seed)
    step = torch.finfo(torch.float32).eps
    for _ in range(DRAWS):
        family = copy.deepcopy(oracle.family)
        with torch.no_grad():
            for weights in family.policy.parameters():
                up = torch.randint(0, 2, weights.shape, generator=generator) * 2 - 1
                weights.mul_(1 + step * up)
        yield replace(oracle, family=family)


def _apart(found: Array, known: Array) -> NDArray[np.float64]:
    """Absolute differences; equal infinities do not differ, and unequal ones explain nothing."""
    a, b = found.astype(np.float64), known.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((a == b) | ~np.isfinite(a) | ~np.isfinite(b), 0.0, np.abs(a - b))
