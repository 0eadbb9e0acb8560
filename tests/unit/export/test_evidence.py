"""Flips, ties, distances and gates, on figures that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from steersman.bundle.manifest import Flips
from steersman.bundle.specs import BoxAction, Contract
from steersman.export.evidence.comparison import (
    Baseline,
    Evidence,
    compare,
    measure_baseline,
    measure_latency,
)
from steersman.export.quantization.variants import Candidate, fastest, gate
from steersman.export.vocabulary import Scheme
from support.toy_bundle import box_contract, discrete_contract

Array = NDArray[Any]


@dataclass
class Answering:
    """Stands where a session would, with given answers by row number; the row number is the observation."""

    contract: Contract
    by_name: Mapping[str, Array]
    runs: list[int] = field(default_factory=list)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        rows = feeds["obs"][:, 0].astype(int)
        self.runs.append(len(rows))
        return [self.by_name[name][rows] for name in outputs]

    def feeds(self, observations: Mapping[str, Array]) -> dict[str, Array]:
        return dict(observations)


def rows(count: int) -> Array:
    return np.tile(np.arange(count, dtype=np.float32)[:, None], (1, 4))


def log_softmax(logits: Array) -> Array:
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def choices(logits: Array) -> Any:
    log_probs = log_softmax(logits)
    return Answering(discrete_contract(), {"action": log_probs.argmax(axis=1), "distribution": log_probs})


def test_flips_are_counted_and_ties_left_out() -> None:
    exact = np.array([[3.0, 0, 0], [1.0, 1.0001, 0], [0, 2, 0], [0, 0, 4]])
    changed = np.array([[3.0, 0, 0], [1.0001, 1.0, 0], [2.5, 2, 0], [0, 0, 4]])
    baseline = measure_baseline(choices(exact), rows(4))
    assert baseline.ties.tolist() == [False, True, False, False]
    found = compare(choices(changed), baseline)
    assert (found.flips.states, found.flips.flips, found.flips.ties) == (3, 1, 1)
    p, q = np.exp(log_softmax(exact)), np.exp(log_softmax(changed))
    assert found.mean_total_variation == pytest.approx(0.5 * np.abs(p - q).sum(axis=1).mean(), rel=1e-4)
    assert found.max_error == pytest.approx(np.abs(log_softmax(exact) - log_softmax(changed)).max())


def moves(mean: Array) -> Any:
    parameters = np.concatenate([mean, np.full_like(mean, np.log(0.5))], axis=1).astype(np.float32)
    return Answering(
        box_contract(), {"action": mean.clip(-1, 1).astype(np.float32), "distribution": parameters}
    )


def test_continuous_actions_flip_when_they_move_by_a_hundredth_of_their_range() -> None:
    exact = np.array([[0.0, 0.5], [0.0, 0.5], [3.0, 0.0]])
    changed = np.array([[0.019, 0.5], [0.021, 0.5], [4.0, 0.0]])  # the range is 2, and 3 and 4 are clipped
    baseline = measure_baseline(moves(exact), rows(3))
    found = compare(moves(changed), baseline)
    assert (found.flips.states, found.flips.flips, found.flips.ties) == (3, 1, 0)
    assert found.max_error == pytest.approx(1.0)
    # Two unit-spread normals d apart overlap such that TV = erf(d / sqrt(8)); d = 2 gives 0.6827.
    assert found.mean_total_variation == pytest.approx((0.0152 + 0.0168 + 0.6827) / 3, abs=2e-4)


def test_unbounded_actions_are_measured_against_what_was_seen() -> None:
    free = BoxAction(shape=(2,), low=(-np.inf, -1.0), high=(np.inf, 1.0))
    session = moves(np.array([[0.0, 0.0], [0.9, 0.0]]))
    session.contract = session.contract.model_copy(update={"action": free})
    baseline = measure_baseline(session, rows(2))
    assert compare(moves(np.array([[0.008, 0.0], [0.88, 0.0]])), baseline).flips.flips == 1


def evidence(states: int, flips: int, upper: float) -> Evidence:
    return Evidence(Flips(states=states, flips=flips, ties=0, upper_95=upper), 0.0, 0.0)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (evidence(10_000, 20, 0.0049), None),
        (evidence(10_000, 0, 0.005), None),
        (evidence(10_000, 45, 0.00501), "45 of 10000 decisions flip, at most 0.50% with 95 %"),
        (evidence(9_999, 0, 0.0003), "only 9999 states"),
    ],
)
def test_the_gate(found: Evidence, reason: str | None) -> None:
    verdict = gate(found)
    assert (verdict or "").startswith(reason or "")
    assert (verdict is None) == (reason is None)


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    def make(scheme: Scheme, microseconds: float, upper: float, size: int = 10) -> Candidate:
        session: Any = None
        plain = Candidate(scheme, b"x" * size, session, evidence(10_000, 0, upper))
        return replace(plain, latency_us={1: microseconds, 32: 1.0})

    return make


def test_the_fastest_wins(candidate: Callable[..., Candidate]) -> None:
    slow = candidate(Scheme.WEIGHT_ONLY, 12.0, 0.0)
    fast = candidate(Scheme.STATIC_QDQ, 10.0, 0.004)
    assert fastest([slow, fast]) is fast
    assert fastest([]) is None


def test_among_equally_fast_ones_fewer_flips_win_and_then_size(candidate: Callable[..., Candidate]) -> None:
    steady = candidate(Scheme.WEIGHT_ONLY, 10.9, 0.001)
    fast = candidate(Scheme.STATIC_QDQ, 10.0, 0.004)
    small = candidate(Scheme.STATIC_QDQ_HIDDEN, 10.5, 0.001, size=5)
    assert fastest([fast, steady]) is steady
    assert fastest([fast, steady, small]) is small


def test_latency_alternates_between_variants() -> None:
    sessions: Any = {"a": choices(np.eye(3)), "b": choices(np.eye(3))}
    found = measure_latency(sessions, {"obs": rows(3)})
    assert {name: list(by_batch) for name, by_batch in found.items()} == {"a": [1, 32], "b": [1, 32]}
    assert set(sessions["a"].runs) == {1, 32}
    assert len(sessions["a"].runs) == len(sessions["b"].runs)


def test_a_baseline_without_choices_has_no_ties() -> None:
    baseline: Baseline = measure_baseline(moves(np.zeros((2, 2))), rows(2))
    assert baseline.tie_gap == 0
    assert not baseline.ties.any()
