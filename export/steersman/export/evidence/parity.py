"""Holding the fp32 graph to SB3's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Parity, Returns
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction, Contract
from steersman.export.errors import ParityError
from steersman.export.evidence.comparison import answers
from steersman.export.evidence.rounding import Openness, measure_openness
from steersman.export.evidence.scale import action_scale
from steersman.export.evidence.sequences import SequenceParity, check_sequences
from steersman.export.observations import Array, take
from steersman.export.policies.family import Answers
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.policies.segments import segment_margins

ACTION_TOLERANCE = 1e-5
"""Largest difference of a continuous action, as a share of the largest of 1, the action and half its range:
beyond that float32 does not go."""
NUMBER_TOLERANCE = 1e-4
"""Largest difference of the distribution, value, entropy and log probability, which sum over many terms, as a
share of the largest of 1 and the number."""
NOISE_TIE = 1e-4
"""Sampled choices tie when their perturbed log probabilities are closer than this."""
DEFECT = (
    "If the policy is a class of your own, the exporter may not see what it overrides. Otherwise this is a "
    "defect of the exporter or of torch's ONNX export; please report it with the file."
)
_ACTIONS = ("action", "sampled_action")


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

    Rows beyond the tolerances are held to what rounding leaves open in SB3's own answer; see `rounding.py`.

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
    comparison = _Comparison(session.contract, found, expected, inputs.noise, tie_gap)
    comparison.check_shapes()
    beyond = comparison.beyond()
    if beyond.any():
        doubtful = comparison.take(beyond)
        doubtful.check(measure_openness(oracle, inputs.take(beyond), doubtful.expected))
    findings = comparison.findings(int(beyond.sum()))
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
    update = {"sequence_steps": sequences.steps, "max_action_error": worst}
    return replace(findings, parity=findings.parity.model_copy(update=update))


@dataclass(frozen=True, slots=True)
class _Comparison:
    contract: Contract
    found: Mapping[str, Array]
    expected: Answers
    noise: Array | None
    tie_gap: float

    def take(self, index: NDArray[np.bool_]) -> _Comparison:
        expected = Answers(
            take(self.expected.outputs, index),
            self.expected.margin[index],
            self.expected.sampled_margin[index],
        )
        noise = None if self.noise is None else self.noise[index]
        return replace(self, found=take(self.found, index), expected=expected, noise=noise)

    def check_shapes(self) -> None:
        for name, array in self.found.items():
            expected = self.expected.outputs[name]
            if array.shape != expected.shape:
                raise ParityError(
                    f"{name} has shape {array.shape}", expected=str(expected.shape), hint=DEFECT
                )

    def beyond(self) -> NDArray[np.bool_]:
        """[N] rows with a choice or a number that the tolerances alone do not allow."""
        rows = [_any(self._differs(name) & ~tie) for name, tie in self._ties().items()]
        rows += [_any(self._apart(name) > self._allowed(name)) for name in self._numbers()]
        return np.asarray(np.any(rows, axis=0))

    def check(self, openness: Openness) -> None:
        """Raises where rounding does not explain a difference either."""
        ties = self._ties()
        wrong = [_any(self._differs(name) & ~tie) & ~openness.choices[name] for name, tie in ties.items()]
        if count := int(np.sum(wrong)):
            raise ParityError(f"{count} choices differ from SB3's", hint=DEFECT)
        for name in self._numbers():
            apart = self._apart(name)
            if not (apart <= self._allowed(name) + openness.numbers[name]).all():
                raise ParityError(
                    f"{name} differs from SB3's by up to {float(apart.max()):.3g}",
                    expected=f"at most {_tolerance(name):g}, or what rounding explains",
                    hint=DEFECT,
                )

    def findings(self, beyond: int) -> Findings:
        apart = {name: self._apart(name) for name in self._numbers()}
        greedy = self._ties().get("action", np.zeros((1, 1), np.bool_))
        parity = Parity(
            states=len(self.expected.margin),
            disagreements=0,
            ties=int(greedy.all(axis=1).sum()),
            rounding=beyond,
            max_action_error=max(
                (float(apart[n].max(initial=0.0)) for n in _ACTIONS if n in apart), default=0.0
            ),
            max_parameter_error=float(apart.get("distribution", np.zeros(1)).max(initial=0.0)),
        )
        worst = {name: array.reshape(len(array), -1).max(axis=1) for name, array in apart.items()}
        return Findings(parity, worst, {name: _tolerance(name) for name in apart})

    def _numbers(self) -> list[str]:
        return [name for name in self.found if name not in self._ties()]

    def _ties(self) -> dict[str, NDArray[np.bool_]]:
        """[N, D] segments that tie, for each output that is a choice."""
        if isinstance(self.contract.action, BoxAction):
            return {}
        ties = {"action": self._margins(self.expected.margin, None) < self.tie_gap}
        if "sampled_action" in self.found:
            ties["sampled_action"] = self._margins(self.expected.sampled_margin, self.noise) < NOISE_TIE
        return ties

    def _margins(self, known: NDArray[np.float64], noise: Array | None) -> NDArray[np.float64]:
        """[N, D] by how much each choice is the best; where no scores are known, the least of a row."""
        if "distribution" not in self.expected.outputs:
            return known[:, None]
        scores = self.expected.outputs["distribution"].astype(np.float64)
        if noise is not None:
            scores = scores - np.log(-np.log(noise.astype(np.float64)))
        return segment_margins(scores, self.contract.action.mask_segments)

    def _differs(self, name: str) -> NDArray[np.bool_]:
        """[N, D] choices that are not the expected ones."""
        found, expected = self.found[name], self.expected.outputs[name]
        return np.asarray((found != expected).reshape(len(found), -1))

    def _apart(self, name: str) -> NDArray[np.float64]:
        apart = differences(self.found[name], self.expected.outputs[name])
        if name == "log_prob" and "sampled_action" in self._ties():  # of another choice where choices differ
            return np.where(_any(self._differs("sampled_action")), 0.0, apart)
        return apart

    def _allowed(self, name: str) -> NDArray[np.float64]:
        """By measure of 1, the number itself, or what it was computed from."""
        expected = self.expected.outputs[name]
        if name in _ACTIONS and isinstance(self.contract.action, BoxAction):
            spec = self.contract.action
            last_bit = float(np.finfo(spec.dtype).eps)  # float16 has no more than three digits
            return max(_tolerance(name), last_bit) * action_scale(expected, spec)
        scale = np.maximum(1.0, np.abs(np.where(np.isfinite(expected), expected, 0.0)))
        return np.asarray(_tolerance(name) * scale)


def _any(elements: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(elements.reshape(len(elements), -1).any(axis=1))


def _tolerance(name: str) -> float:
    return ACTION_TOLERANCE if name in _ACTIONS else NUMBER_TOLERANCE


def differences(found: Array, expected: Array) -> NDArray[np.float64]:
    """Absolute differences; equal infinities do not differ, and NaN differs from everything."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf))
