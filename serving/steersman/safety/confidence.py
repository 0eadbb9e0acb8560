"""Confidence: is the policy sure enough of its action that it may be taken?

Judged after the model, by what it says of itself. Hesitation is a warning; certainty is no proof of safety,
for networks are often sure of what they never saw (M. Hein and others, Why ReLU networks yield
high-confidence predictions far away from the training data, 2019). `guard.distance` looks at that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract
from steersman.safety.columns import Array, Rows
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import ConfidenceFloors

Outputs = Mapping[str, Array]
"""Name of a graph output -> [N, ...]."""

_WHERE = "guard.confidence"


@dataclass(frozen=True, slots=True)
class _Floor:
    """One number per row that has to be large enough.

    Attributes:
        output: Graph output that it is made from.
        measure: That output [N, ...] -> [N], larger where the policy is surer.
        least: Smallest that is sure enough.
        told: The number of one row and the limit, in words.
    """

    output: str
    measure: Callable[[Array], Array]
    least: float
    told: Callable[[float], str]


class Confidence:
    """The floors of one deployment on one policy, compiled. Use `Confidence.compile`."""

    def __init__(self, floors: Sequence[_Floor]) -> None:
        self._floors = tuple(floors)
        self.outputs: frozenset[str] = frozenset(floor.output for floor in floors)
        """Graph outputs that are needed beside the action."""

    @classmethod
    def compile(cls, settings: ConfidenceFloors | None, contract: Contract) -> Confidence:
        """The floors that these settings describe for this policy; none for None.

        Raises:
            SafetyError: The policy does not say what a floor asks for, or a floor would be missed never or
                always.
        """
        return cls([] if settings is None else list(_floors(settings, contract)))

    def low(self, outputs: Outputs) -> Rows | None:
        """Rows on which the policy is less sure than some floor, [N]; None where there are none.

        Args:
            outputs: Those named by `outputs`, at least. A row in which one is NaN is not sure.
        """
        low: Rows | None = None
        for floor in self._floors:
            sure = floor.measure(outputs[floor.output]) >= floor.least
            if np.count_nonzero(sure) < len(sure):
                low = ~sure if low is None else low | ~sure
        return low

    def explain(self, row: int, outputs: Outputs) -> str:
        """What the policy is not sure enough of; empty where it is.

        Args:
            row: Counted from 0.
            outputs: As for `low`.

        Returns:
            Such as "the likeliest choice has probability 0.31; expected at least 0.4".
        """
        for floor in self._floors:
            found = floor.measure(outputs[floor.output][row : row + 1])[0]
            if not found >= floor.least:
                return floor.told(float(found))
        return ""


def _floors(settings: ConfidenceFloors, contract: Contract) -> Iterator[_Floor]:
    if settings.top_probability is not None:
        yield _top_probability(settings.top_probability, contract)
    if settings.max_entropy is not None:
        yield _entropy(settings.max_entropy, contract)
    if settings.q_margin is not None:
        yield _q_margin(settings.q_margin, contract)


def _top_probability(least: float, contract: Contract) -> _Floor:
    where = f"{_WHERE}.top_probability"
    if contract.distribution != "categorical":
        raise _not_told(contract, where, "how probable its choices are", "a policy with a categorical one")
    widest = max(contract.action.mask_segments)
    if least <= 1 / widest:
        raise SafetyError(
            f"no row can miss {least:g}: the likeliest of {widest} choices has at least {1 / widest:.4g}",
            where=where,
            expected=f"more than {1 / widest:.4g}",
        )
    return _Floor(
        "distribution",
        _best_of_each(contract.action.mask_segments),
        float(np.log(least)),
        lambda found: (
            f"the likeliest choice has probability {np.exp(found):.3g}; expected at least {least:g}"
        ),
    )


def _best_of_each(segments: tuple[int, ...]) -> Callable[[Array], Array]:
    """[N, W] -> the highest number of each segment, and of those the lowest: [N]."""
    if len(segments) == 1:
        return lambda scores: np.maximum.reduce(scores, axis=1)
    starts: NDArray[np.intp] = np.cumsum((0, *segments[:-1]), dtype=np.intp)
    return lambda scores: np.minimum.reduce(np.maximum.reduceat(scores, starts, axis=1), axis=1)


def _entropy(most: float, contract: Contract) -> _Floor:
    where = f"{_WHERE}.max_entropy"
    if "entropy" not in contract.outputs:
        raise _not_told(contract, where, "its entropy", "a policy whose graph has the output entropy")
    if contract.distribution == "categorical":
        largest = float(np.sum(np.log(contract.action.mask_segments)))
        if not 0 <= most < largest:
            raise SafetyError(
                f"{'no' if most > 0 else 'every'} row has an entropy above {most:g}",
                where=where,
                expected=f"at least 0 and less than {largest:.4g}, that of equal probabilities",
            )
    return _Floor(
        "entropy",
        np.negative,
        -most,
        lambda found: f"the entropy of the action is {-found:.4g} nats; expected at most {most:g}",
    )


def _q_margin(least: float, contract: Contract) -> _Floor:
    where = f"{_WHERE}.q_margin"
    if contract.distribution != "q_values":
        raise _not_told(contract, where, "Q-values", "a policy with Q-values, such as one of DQN")
    return _Floor(
        "distribution",
        _lead_of_best(contract.action.mask_segments),
        least,
        lambda found: f"the best Q-value leads by {found:.4g}; expected at least {least:g}",
    )


def _lead_of_best(segments: tuple[int, ...]) -> Callable[[Array], Array]:
    """[N, W] -> lead of the highest number over the second of its segment, the smallest of all: [N].

    Infinite where there is no second one that the mask allows.
    """
    ends = np.cumsum(segments)
    slices = [slice(int(end) - width, int(end)) for end, width in zip(ends, segments, strict=True)]
    if len(slices) == 1:
        return _lead

    def smallest(scores: Array) -> Array:
        return np.asarray(np.minimum.reduce([_lead(scores[:, part]) for part in slices]))

    return smallest


def _lead(scores: Array) -> Array:
    if scores.shape[1] == 1:
        return np.where(np.isnan(scores[:, 0]), np.nan, np.inf)
    best = np.partition(scores, -2, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0])


def _not_told(contract: Contract, where: str, what: str, expected: str) -> SafetyError:
    offered = {"categorical": "top_probability", "q_values": "q_margin"}.get(contract.distribution)
    return SafetyError(
        f"this policy, whose distribution is {contract.distribution}, does not tell {what}",
        where=where,
        expected=expected,
        hint=f"It can be held to {offered}." if offered else None,
    )
