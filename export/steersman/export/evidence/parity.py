"""Holding the fp32 graph to SB3's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Parity
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction, Contract
from steersman.export.errors import ParityError
from steersman.export.evidence.comparison import answers
from steersman.export.policies.oracle import Answers, Oracle

Array = NDArray[Any]
ACTION_TOLERANCE = 1e-5
"""Largest difference of a continuous action, absolute or relative, whichever is larger."""
NUMBER_TOLERANCE = 1e-4
"""The same for the distribution, value, entropy and log probability, which sum over many terms."""
NOISE_TIE = 1e-4
"""Sampled choices tie when their perturbed log probabilities are closer than this."""
DEFECT = "This is a defect of the exporter or of torch's ONNX export; please report it with the file."


@dataclass(frozen=True, slots=True)
class Inputs:
    """Graph inputs that the oracle can be asked about too.

    Attributes:
        observations: [N, *shape].
        noise: [N, noise width] float32.
        action_mask: [N, n]; None where masks do not apply.
    """

    observations: Array
    noise: NDArray[np.float32]
    action_mask: NDArray[np.bool_] | None

    def feeds(self, contract: Contract) -> dict[str, Array]:
        """By graph input name."""
        feeds: dict[str, Array] = {
            contract.observations[0].input_name: self.observations,
            "noise": self.noise,
        }
        if self.action_mask is not None:
            feeds["action_mask"] = self.action_mask
        return feeds


def draw_inputs(observations: Array, contract: Contract, rng: np.random.Generator) -> Inputs:
    """Noise for every row; of every four rows, one gets a random mask and one a mask with a single choice."""
    rows, width = len(observations), contract.mask_width
    mask = None
    if width:
        mask = np.ones((rows, width), np.bool_)
        mask[1::4] = rng.random((len(mask[1::4]), width)) < 0.5
        mask[3::4] = False
        some = rng.integers(width, size=rows)
        mask[np.arange(rows), some] = True
    return Inputs(observations, draw_noise(rows, contract, rng), mask)


def draw_noise(rows: int, contract: Contract, rng: np.random.Generator) -> NDArray[np.float32]:
    """[N, noise width] as the contract wants it."""
    assert contract.noise is not None  # noqa: S101  every policy that loads has a distribution
    shape = (rows, contract.noise.width)
    if contract.noise.law == "normal":
        return rng.standard_normal(shape, np.float32)
    cells = rng.integers(2**23, size=shape, dtype=np.int64)  # the middles of 2^23 cells: never 0 or 1
    return ((cells + 0.5) * 2.0**-23).astype(np.float32)


def check_parity(session: PolicySession, oracle: Oracle, inputs: Inputs, tie_gap: float) -> Parity:
    """Compares every output on every row.

    Raises:
        ParityError: A choice differs outside ties, or a number by more than its tolerance.
    """
    expected = oracle.answer(inputs.observations, inputs.noise, inputs.action_mask)
    names = session.contract.outputs
    found = dict(zip(names, answers(session, names, inputs.feeds(session.contract)), strict=True))
    if isinstance(session.contract.action, BoxAction):
        return _compare_box(found, expected)
    return _compare_choices(found, expected, tie_gap)


def _compare_choices(found: Mapping[str, Array], expected: Answers, tie_gap: float) -> Parity:
    greedy_tie, sampled_tie = expected.margin < tie_gap, expected.sampled_margin < NOISE_TIE
    wrong = (found["action"] != expected.outputs["action"]) & ~greedy_tie
    wrong_sampled = (found["sampled_action"] != expected.outputs["sampled_action"]) & ~sampled_tie
    disagreements = int(wrong.sum() + wrong_sampled.sum())
    if disagreements:
        raise ParityError(
            f"{disagreements} of {2 * len(wrong)} choices differ from SB3's",
            hint=DEFECT,
        )
    for name in ("distribution", "value", "entropy"):
        _check_numbers(name, found[name], expected.outputs[name], NUMBER_TOLERANCE)
    same = ~sampled_tie
    _check_numbers("log_prob", found["log_prob"][same], expected.outputs["log_prob"][same], NUMBER_TOLERANCE)
    return Parity(
        states=len(wrong),
        disagreements=0,
        ties=int(greedy_tie.sum()),
        max_action_error=0.0,
        max_parameter_error=_largest(found["distribution"], expected.outputs["distribution"]),
    )


def _compare_box(found: Mapping[str, Array], expected: Answers) -> Parity:
    for name in ("action", "sampled_action"):
        _check_numbers(name, found[name], expected.outputs[name], ACTION_TOLERANCE)
    for name in ("distribution", "value", "entropy", "log_prob"):
        _check_numbers(name, found[name], expected.outputs[name], NUMBER_TOLERANCE)
    return Parity(
        states=len(found["action"]),
        disagreements=0,
        ties=0,
        max_action_error=_largest(found["action"], expected.outputs["action"]),
        max_parameter_error=_largest(found["distribution"], expected.outputs["distribution"]),
    )


def _check_numbers(name: str, found: Array, expected: Array, tolerance: float) -> None:
    allowed = tolerance * np.maximum(1.0, np.abs(np.where(np.isfinite(expected), expected, 0.0)))
    if found.shape != expected.shape:
        raise ParityError(f"{name} has shape {found.shape}", expected=str(expected.shape))
    if not (_differences(found, expected) <= allowed).all():
        raise ParityError(
            f"{name} differs from SB3's by up to {_largest(found, expected):.3g}",
            expected=f"at most {tolerance:g}",
            hint=DEFECT,
        )


def _largest(found: Array, expected: Array) -> float:
    return float(_differences(found, expected).max(initial=0.0))


def _differences(found: Array, expected: Array) -> NDArray[np.float64]:
    """Absolute differences; equal infinities do not differ, and NaN differs from everything."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf))
