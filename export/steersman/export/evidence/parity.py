"""Holding the fp32 graph to SB3's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Parity, Returns
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction, Contract, bounds
from steersman.export.errors import ParityError
from steersman.export.evidence.comparison import answers
from steersman.export.evidence.sequences import SequenceParity, check_sequences
from steersman.export.policies.family import Answers
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.oracle import Oracle

Array = NDArray[Any]
ACTION_TOLERANCE = 1e-5
"""Largest difference of a continuous action, as a share of the largest of 1, the action and half its range:
beyond that float32 does not go."""
NUMBER_TOLERANCE = 1e-4
"""Largest difference of the distribution, value, entropy and log probability, which sum over many terms, as a
share of the largest of 1 and the number."""
NOISE_TIE = 1e-4
"""Sampled choices tie when their perturbed log probabilities are closer than this."""
_ACTIONS = ("action", "sampled_action")
DEFECT = "This is a defect of the exporter or of torch's ONNX export; please report it with the file."


@dataclass(frozen=True, slots=True)
class Findings:
    """What the comparison showed.

    Attributes:
        parity: For the manifest.
        differences: By output, [N] the largest absolute difference in each state.
        allowed: By output, the difference allowed, as a share of 1 or of the number, whichever is larger.
    """

    parity: Parity
    differences: Mapping[str, NDArray[np.float64]]
    allowed: Mapping[str, float]

    def with_returns(self, returns: Returns) -> Findings:
        """The same with what SB3's own policy earned."""
        return replace(self, parity=self.parity.model_copy(update={"returns": returns}))


def check_parity(session: PolicySession, oracle: Oracle, inputs: Inputs, tie_gap: float) -> Findings:
    """Compares every output on every row; with a recurrent state also over sequences of steps.

    Args:
        session: The fp32 graph.
        oracle: SB3.
        inputs: Rows with everything that the graph takes.
        tie_gap: Greedy choices tie when their scores are closer than this.

    Raises:
        ParityError: A choice differs outside ties, or a number by more than its tolerance.
    """
    expected = oracle.answer(inputs)
    names = session.contract.outputs
    found = dict(zip(names, answers(session, names, inputs.feeds()), strict=True))
    comparison = _Comparison(session.contract, found, expected, tie_gap)
    findings = comparison.findings()
    if not session.contract.state:
        return findings
    return _with_sequences(findings, check_sequences(session, oracle, inputs, tie_gap))


def _with_sequences(findings: Findings, sequences: SequenceParity) -> Findings:
    if sequences.disagreements or sequences.max_action_error > ACTION_TOLERANCE:
        raise ParityError(
            f"over sequences {sequences.disagreements} of {sequences.steps} choices differ from SB3's, and "
            f"actions by up to {sequences.max_action_error:.3g}",
            hint=DEFECT,
        )
    worst = max(findings.parity.max_action_error, sequences.max_action_error)
    parity = findings.parity.model_copy(update={"sequence_steps": sequences.steps, "max_action_error": worst})
    return replace(findings, parity=parity)


@dataclass(frozen=True, slots=True)
class _Comparison:
    contract: Contract
    found: Mapping[str, Array]
    expected: Answers
    tie_gap: float

    def findings(self) -> Findings:
        self._check_shapes()
        ties = self._check_choices() if self._chooses else np.zeros(len(self.expected.margin), np.bool_)
        apart = {name: self._check_numbers(name) for name in self.found if self._is_number(name)}
        actions = [apart[name] for name in _ACTIONS if name in apart]
        parity = Parity(
            states=len(self.expected.margin),
            disagreements=0,
            ties=int(ties.sum()),
            max_action_error=max((float(d.max(initial=0.0)) for d in actions), default=0.0),
            max_parameter_error=float(apart.get("distribution", np.zeros(1)).max(initial=0.0)),
        )
        worst = {name: array.reshape(len(array), -1).max(axis=1) for name, array in apart.items()}
        return Findings(parity, worst, {name: _tolerance(name) for name in apart})

    @property
    def _chooses(self) -> bool:
        return not isinstance(self.contract.action, BoxAction)

    def _is_number(self, name: str) -> bool:
        return not (self._chooses and name in _ACTIONS)

    def _check_shapes(self) -> None:
        for name, array in self.found.items():
            expected = self.expected.outputs[name]
            if array.shape != expected.shape:
                raise ParityError(
                    f"{name} has shape {array.shape}", expected=str(expected.shape), hint=DEFECT
                )

    def _check_choices(self) -> NDArray[np.bool_]:
        """Raises where choices differ; gives which greedy ones tie."""
        ties = {
            "action": self.expected.margin < self.tie_gap,
            "sampled_action": self.expected.sampled_margin < NOISE_TIE,
        }
        differ = 0
        for name, tie in ties.items():
            if name in self.found:
                wrong = self.found[name] != self.expected.outputs[name]
                differ += int((wrong.reshape(len(tie), -1).any(axis=1) & ~tie).sum())
        if differ:
            raise ParityError(
                f"{differ} of {len(ties) * len(ties['action'])} choices differ from SB3's", hint=DEFECT
            )
        return ties["action"]

    def _check_numbers(self, name: str) -> NDArray[np.float64]:
        """Raises where numbers differ by more than is allowed; gives the differences."""
        found, expected = self.found[name], self.expected.outputs[name]
        if name == "log_prob" and self._chooses:  # of another choice where the sampled one ties
            same = self.expected.sampled_margin >= NOISE_TIE
            found, expected = found[same], expected[same]
        apart = differences(found, expected)
        tolerance = _tolerance(name)
        allowed = tolerance * self._scale(name, expected)
        if not (apart <= allowed).all():
            raise ParityError(
                f"{name} differs from SB3's by up to {float(apart.max()):.3g}",
                expected=f"at most {tolerance:g}",
                hint=DEFECT,
            )
        return apart

    def _scale(self, name: str, expected: Array) -> NDArray[np.float64]:
        """What differences are measured by: 1, the number itself, or what it was computed from."""
        scale = np.maximum(1.0, np.abs(np.where(np.isfinite(expected), expected, 0.0)))
        if name in _ACTIONS and isinstance(self.contract.action, BoxAction):
            low, high = bounds(self.contract.action)
            half = np.where(np.isfinite(high - low), (high - low) / 2, 0.0)
            return np.asarray(np.maximum(scale, half))
        if name == "log_prob" and self.contract.distribution == "squashed_gaussian":
            return scale + self._steepness()
        return np.asarray(scale)

    def _steepness(self) -> NDArray[np.float64]:
        """[N] by how much log(1 - a^2 + 1e-6), the correction of tanh, grows with the last bits of a."""
        assert isinstance(self.contract.action, BoxAction)  # noqa: S101  nothing else is squashed
        low, high = bounds(self.contract.action)
        scaled = 2 * (self.expected.outputs["sampled_action"].astype(np.float64) - low) / (high - low) - 1
        slope = 2 * np.abs(scaled) / np.maximum(1 - scaled**2, 1e-6)
        last_bits = 1e-6 / NUMBER_TOLERANCE
        return np.asarray(last_bits * slope.reshape(len(scaled), -1).sum(axis=1))


def _tolerance(name: str) -> float:
    return ACTION_TOLERANCE if name in _ACTIONS else NUMBER_TOLERANCE


def differences(found: Array, expected: Array) -> NDArray[np.float64]:
    """Absolute differences; equal infinities do not differ, and NaN differs from everything."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf))
