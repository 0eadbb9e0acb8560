"""Flips and ties for every kind of distribution, on figures that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from steersman.bundle.specs import BoxAction, Contract, MultiBinaryAction, MultiDiscreteAction
from steersman.export.evidence.comparison import changed_decisions, compare, measure_baseline
from steersman.export.evidence.latency import measure_latency
from steersman.export.policies.inputs import Inputs
from support.toy_bundle import box_contract, discrete_contract
from unit.export.evidence.answering import Answering, log_softmax, numbered

Array = NDArray[Any]


def rows(count: int) -> Inputs:
    return Inputs(numbered(count))


def choices(logits: Array) -> Any:
    log_probs = log_softmax(logits)
    return Answering(discrete_contract(), {"action": log_probs.argmax(axis=1), "distribution": log_probs})


def test_flips_are_counted_and_ties_left_out() -> None:
    exact = np.array([[3.0, 0, 0], [1.0, 1.0001, 0], [0, 2, 0], [0, 0, 4]])
    changed = np.array([[3.0, 0, 0], [1.0001, 1.0, 0], [2.5, 2, 0], [0, 0, 4]])
    baseline = measure_baseline(choices(exact), rows(4))
    assert baseline.ties[:, 0].tolist() == [False, True, False, False]
    found = compare(choices(changed), baseline)
    assert (found.flips.states, found.flips.flips, found.flips.ties) == (3, 1, 1)
    p, q = np.exp(log_softmax(exact)), np.exp(log_softmax(changed))
    assert found.mean_total_variation == pytest.approx(0.5 * np.abs(p - q).sum(axis=1).mean(), rel=1e-4)
    assert found.max_error == pytest.approx(np.abs(log_softmax(exact) - log_softmax(changed)).max())


def test_masked_choices_neither_tie_nor_widen_the_range() -> None:
    scores = np.array([[1.0, 0.9999, -np.inf], [2.0, -np.inf, -np.inf], [0.0, -np.inf, 0.5]])
    contract = discrete_contract().model_copy(update={"distribution": "q_values"})
    session: Any = Answering(contract, {"action": scores.argmax(axis=1), "distribution": scores})
    baseline = measure_baseline(session, rows(3))
    assert baseline.tie_gap == pytest.approx(1e-4 * 2.0)
    assert baseline.ties[:, 0].tolist() == [True, False, False]
    found = compare(session, baseline)
    assert (found.flips.states, found.flips.flips, found.max_error) == (2, 0, 0.0)
    assert found.mean_total_variation is None


def several(action: MultiDiscreteAction | MultiBinaryAction) -> Contract:
    return discrete_contract().model_copy(update={"action": action})


def test_a_choice_of_any_segment_flips_the_decision_and_ties_by_itself() -> None:
    widths = (2, 3)
    exact = np.array([[1.0, 0, 5, 0, 0], [1.0, 1, 5, 0, 0], [0, 1.0, 0, 3, 3], [1.0, 0, 0, 0, 2]])
    moved = np.array([[1.0, 0, 5, 0, 0], [0.0, 1, 5, 0, 0], [1, 0.0, 0, 3, 3], [1.0, 0, 0, 3, 2]])

    def session(logits: Array) -> Any:
        scores = log_softmax(logits, widths)
        action = np.stack([scores[:, :2].argmax(axis=1), scores[:, 2:].argmax(axis=1)], axis=1)
        return Answering(
            several(MultiDiscreteAction(nvec=widths)), {"action": action, "distribution": scores}
        )

    baseline = measure_baseline(session(exact), rows(4))
    assert baseline.ties.tolist() == [[False, False], [True, False], [False, True], [False, False]]
    found = compare(session(moved), baseline)
    assert (found.flips.states, found.flips.flips, found.flips.ties) == (4, 2, 0)


def test_one_switch_flips_a_decision() -> None:
    contract = several(MultiBinaryAction(n=3))
    action = np.array([[0, 1, 1], [0, 0, 0]], np.int8)
    expected = np.array([[0, 1, 1], [0, 1, 0]], np.int8)
    changed = changed_decisions(action, expected, contract)
    assert changed.tolist() == [[False, False, False], [False, True, False]]


def moves(mean: Array, contract: Contract | None = None) -> Any:
    parameters = np.concatenate([mean, np.full_like(mean, np.log(0.5))], axis=1).astype(np.float32)
    action = mean.clip(-1, 1).astype(np.float32)
    return Answering(contract or box_contract(), {"action": action, "distribution": parameters})


def test_continuous_actions_flip_when_they_move_by_a_hundredth_of_their_range() -> None:
    exact = np.array([[0.0, 0.5], [0.0, 0.5], [3.0, 0.0]])
    changed = np.array([[0.019, 0.5], [0.021, 0.5], [4.0, 0.0]])  # the range is 2, and 3 and 4 are clipped
    baseline = measure_baseline(moves(exact), rows(3))
    assert baseline.tie_gap == 0
    assert not baseline.ties.any()
    found = compare(moves(changed), baseline)
    assert (found.flips.states, found.flips.flips, found.flips.ties) == (3, 1, 0)
    assert found.max_error == pytest.approx(1.0)
    # Two unit-spread normals d apart overlap such that TV = erf(d / sqrt(8)); d = 2 gives 0.6827.
    assert found.mean_total_variation == pytest.approx((0.0152 + 0.0168 + 0.6827) / 3, abs=2e-4)


def test_unbounded_actions_are_measured_against_what_was_seen() -> None:
    free = BoxAction(shape=(2,), low=(-np.inf, -1.0), high=(np.inf, 1.0))
    contract = box_contract().model_copy(update={"action": free})
    baseline = measure_baseline(moves(np.array([[0.0, 0.0], [0.9, 0.0]]), contract), rows(2))
    assert compare(moves(np.array([[0.008, 0.0], [0.88, 0.0]]), contract), baseline).flips.flips == 1


def test_a_policy_without_a_distribution_is_compared_by_its_actions() -> None:
    contract = box_contract().model_copy(update={"distribution": "deterministic", "outputs": ("action",)})

    def session(action: Array) -> Any:
        return Answering(contract, {"action": action.astype(np.float32)})

    baseline = measure_baseline(session(np.array([[0.0, 0.5], [0.2, 0.5]])), rows(2))
    found = compare(session(np.array([[0.0, 0.5], [0.2, 0.4]])), baseline)
    assert (found.flips.states, found.flips.flips, found.flips.ties) == (2, 1, 0)
    assert found.max_error == pytest.approx(0.1)
    assert found.mean_total_variation is None


def test_answers_that_are_not_numbers_are_flips() -> None:
    found = compare(moves(np.full((2, 2), np.nan)), measure_baseline(moves(np.zeros((2, 2))), rows(2)))
    assert found.flips.flips == 2
    assert found.max_error == np.inf


def test_flips_of_one_episode_prove_less_than_flips_here_and_there() -> None:
    exact, changed = np.tile([[1.0, 0, 0]], (1_000, 1)), np.tile([[1.0, 0, 0]], (1_000, 1))
    changed[:20] = [0.0, 1, 0]
    together, apart = np.repeat(np.arange(50), 20), np.tile(np.arange(50), 20)
    bounds = [
        compare(choices(changed), measure_baseline(choices(exact), rows(1_000), episodes)).flips.upper_95
        for episodes in (together, apart, None)
    ]
    assert bounds[0] > 1.5 * bounds[1]
    assert bounds[1] == pytest.approx(bounds[2], rel=0.01)


def test_latency_alternates_between_variants() -> None:
    sessions: Any = {"a": choices(np.eye(3)), "b": choices(np.eye(3))}
    found = measure_latency(sessions, numbered(3))
    assert {name: list(by_batch) for name, by_batch in found.items()} == {"a": [1, 32], "b": [1, 32]}
    assert set(sessions["a"].runs) == {1, 32}
