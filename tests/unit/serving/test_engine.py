"""The decision core, through `Engine.decide`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.serving.deciding.call import RawTensor
from steersman.serving.decision import REASONS, SOURCES, Decisions, Reason, Source
from steersman.serving.errors import CallError, Code
from unit.serving.conftest import KitMaker, make_call

NAN = float("nan")
FALLBACK = {"fallback": [{"rules": [{"when": "left > 1.0", "then": 2}]}, {"preference": [0, 1]}]}


def _decide(engine, *calls):
    return engine.decide(list(calls))


def _sources(decisions: Decisions) -> list[Source]:
    return [SOURCES[code] for code in decisions.sources]


def _reasons(decisions: Decisions) -> list[Reason]:
    return [REASONS[code] for code in decisions.reasons]


def test_greedy_is_the_best_choice(kit: KitMaker) -> None:
    (decisions,) = _decide(kit().engine, make_call([[1, 3, 2, 0], [3, 1, 2, 0]]))
    assert decisions.actions.tolist() == [1, 0]
    assert _sources(decisions) == [Source.POLICY] * 2
    assert decisions.lanes == ["stable"] * 2
    assert np.isnan(decisions.propensities).all()


def test_a_mask_takes_the_best_choice_away(kit: KitMaker) -> None:
    (decisions,) = _decide(kit().engine, make_call([[1, 3, 2, 0]], [[True, False, True]]))
    assert decisions.actions.tolist() == [2]
    assert _sources(decisions) == [Source.POLICY]


def test_nan_goes_to_the_fallback_and_only_its_own_row(kit: KitMaker) -> None:
    observations = [[1, 3, 2, 0], [2, NAN, 0, 0], [0, NAN, 0, 0], [NAN, 0, 0, 0]]
    (decisions,) = _decide(kit(toy=FALLBACK).engine, make_call(observations))
    assert decisions.actions.tolist() == [1, 2, 0, 0]
    assert _sources(decisions) == [Source.POLICY, *[Source.FALLBACK] * 3]
    assert _reasons(decisions) == [Reason.NONE, *[Reason.OBSERVATION_NON_FINITE] * 3]
    assert [item.name for item in decisions.interventions] == ["rules", "preference", "preference"]
    assert not decisions.errors


def test_without_a_fallback_the_row_fails_and_says_why(kit: KitMaker) -> None:
    (decisions,) = _decide(kit().engine, make_call([[1, 3, 2, 0], [0, 0, NAN, 0]]))
    (error,) = decisions.errors
    assert (error.row, error.reason) == (1, Reason.OBSERVATION_NON_FINITE)
    assert "'up' is nan" in error.message
    assert _sources(decisions) == [Source.POLICY, Source.NONE]


def test_a_fallback_never_breaks_the_mask(kit: KitMaker) -> None:
    (decisions,) = _decide(
        kit(toy=FALLBACK).engine, make_call([[NAN] * 4] * 2, [[False, True, True], [False, False, True]])
    )
    assert decisions.actions.tolist()[0] == 1
    (error,) = decisions.errors
    assert (error.row, error.reason) == (1, Reason.NO_FEASIBLE_ACTION)


def test_a_mask_that_forbids_everything_fails_its_row_only(kit: KitMaker) -> None:
    (decisions,) = _decide(
        kit(toy=FALLBACK).engine, make_call([[1, 3, 2, 0]] * 2, [[False] * 3, [True, False, False]])
    )
    assert decisions.actions.tolist()[1] == 0
    assert [(e.row, e.reason) for e in decisions.errors] == [(0, Reason.MASK_ALL_FALSE)]


def test_sampling_has_propensities_and_replays_from_idempotency_keys(kit: KitMaker) -> None:
    engine = kit().engine
    keys = [b"a", b"b", b""]
    calls = [make_call([[0.1, 0.2, 0.1, 0]] * 3, mode="sampled", idempotency_keys=keys) for _ in range(2)]
    first, second = (_decide(engine, call)[0] for call in calls)
    assert _sources(first) == [Source.EXPLORATION] * 3
    assert np.array_equal(first.actions[:2], second.actions[:2])
    assert first.decision_ids[:2].tobytes() == second.decision_ids[:2].tobytes()
    assert first.decision_ids[2].tobytes() != second.decision_ids[2].tobytes()
    assert np.allclose(first.propensities, np.exp(first.log_probs))


def test_clipped_samples_have_no_propensity(kit: KitMaker) -> None:
    (decisions,) = _decide(kit().engine, make_call([[0.0] * 4] * 400, policy="cont", mode="sampled"))
    clipped = (np.abs(decisions.actions) >= 1).any(axis=1)
    assert clipped.any()
    assert not clipped.all()
    assert np.array_equal(np.isnan(decisions.propensities), clipped)


def test_evidence_comes_when_asked_for(kit: KitMaker) -> None:
    plain = make_call([[1, 3, 2, 0]])
    asked = make_call([[1, 3, 2, 0]], evidence=frozenset({"value", "entropy", "distribution"}))
    without, with_evidence = _decide(kit().engine, plain, asked)
    assert without.values is None
    assert with_evidence.values == pytest.approx([6.0])
    assert with_evidence.distribution.shape == (1, 3)
    assert np.exp(with_evidence.distribution).sum() == pytest.approx(1.0)


def test_calls_of_any_policy_are_decided_together_and_answered_in_order(kit: KitMaker) -> None:
    calls = [
        make_call([[1, 3, 2, 0]]),
        make_call([[0.1, 0.1, 0.2, 0.2]], policy="cont"),
        make_call([[0.0] * 4], policy="nobody"),
        make_call([[3, 1, 2, 0]] * 2, [[True] * 3] * 2),
    ]
    toy, cont, nobody, both = _decide(kit().engine, *calls)
    assert toy.actions.tolist() == [1]
    assert cont.actions[0] == pytest.approx([0.2, 0.4])
    assert isinstance(nobody, CallError)
    assert nobody.code is Code.NOT_FOUND
    assert both.actions.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (make_call([[1.0, 2.0, 3.0]]), "observation_shape"),
        (make_call(np.zeros((0, 4))), "row_count"),
        (make_call([[0.0] * 4] * 9), "row_count"),
        (make_call([[0.0] * 4], [[True] * 2]), "action_mask_shape"),
        (make_call([[0.0] * 4] * 2, [[True] * 3]), "action_mask_shape"),
        (make_call([[0.0] * 4], [[True] * 2], policy="cont"), "action_mask_not_applicable"),
        (make_call([[0.0] * 4] * 2, episode_ids=["only one"]), "episode_ids"),
        (make_call([[0.0] * 4], episode_ids=["x" * 300]), "episode_ids"),
        (make_call([[0.0] * 4], idempotency_keys=[b"x" * 65]), "idempotency_keys"),
        (make_call([[0.0] * 4] * 2, steps=[0, 1, 2]), "steps"),
        (make_call([[0.0] * 4], version=7), "version_not_found"),
    ],
)
def test_malformed_calls_are_refused_by_name(kit: KitMaker, call, reason: str) -> None:
    (error,) = _decide(kit(max_rows=8).engine, call)
    assert isinstance(error, CallError)
    assert error.reason == reason
    assert "expected" in error.message


def test_plain_numbers_are_cast_and_may_leave_out_the_shape(kit: KitMaker) -> None:
    call = make_call([[0.0] * 4])
    numbers = RawTensor(np.array([1.0, 3, 2, 0, 3, 1, 2, 0]), None, typed=False)
    (decisions,) = _decide(kit().engine, call.__class__(policy="toy", observations={"": numbers}))
    assert decisions.actions.tolist() == [1, 0]


def test_typed_tensors_must_have_the_declared_type(kit: KitMaker) -> None:
    call = make_call([[0.0] * 4])
    wrong = RawTensor(np.zeros(4), (1, 4), typed=True)
    (error,) = _decide(kit().engine, call.__class__(policy="toy", observations={"": wrong}))
    assert error.reason == "dtype"


def test_everything_is_counted_once(kit: KitMaker) -> None:
    made = kit(toy=FALLBACK)
    before = made.counts()
    _decide(made.engine, make_call([[1, 3, 2, 0], [NAN, 0, 0, 0]]), make_call([[1, 3, 2, 0]], [[False] * 3]))
    after = made.counts()
    gained = dict(zip(SOURCES, (after.sources - before.sources).tolist(), strict=True))
    assert gained[Source.POLICY] == gained[Source.FALLBACK] == gained[Source.NONE] == 1
    reason = REASONS.index(Reason.OBSERVATION_NON_FINITE)
    assert (after.fallback_reasons - before.fallback_reasons)[reason] == 1
    assert (after.error_reasons - before.error_reasons)[REASONS.index(Reason.MASK_ALL_FALSE)] == 1
    cells = after.observation_cells - before.observation_cells
    assert cells.sum(axis=-1).tolist()[0] == [3, 3, 3, 3]
    assert (after.latency - before.latency).sum(axis=1).tolist() == [3, 3, 3, 3]


def test_keyed_ids_are_of_one_policy_and_episode(kit: KitMaker) -> None:
    engine = kit().engine
    calls = [
        make_call([[0.0] * 4] * 2, idempotency_keys=[b"1", b"1"], episode_ids=["a", "b"]),
        make_call([[0.0] * 4], idempotency_keys=[b"1"]),
        make_call([[0.0] * 4], idempotency_keys=[b"1"], policy="cont"),
    ]
    ids = [row.tobytes() for decisions in _decide(engine, *calls) for row in decisions.decision_ids]
    assert len(set(ids)) == 4
    (error,) = _decide(engine, make_call([[0.0] * 4] * 2, idempotency_keys=[b"1", b"1"]))
    assert error.reason == "idempotency_keys"


def test_a_defect_stays_with_the_calls_that_met_it(kit: KitMaker, caplog: pytest.LogCaptureFixture) -> None:
    made = kit()
    cont = made.engine.routing.ready("cont").stable
    object.__setattr__(cont, "safeguards", None)  # a defect, as nothing from outside could make one
    toy, broken = _decide(made.engine, make_call([[1, 3, 2, 0]]), make_call([[0.0] * 4], policy="cont"))
    assert toy.actions.tolist() == [1]
    assert (broken.code, broken.reason) == (Code.INTERNAL, "internal")
    assert "safeguards" not in broken.message
    assert "defect while deciding" in caplog.text


def test_a_defect_while_counting_is_logged_and_costs_no_answer(
    kit: KitMaker, caplog: pytest.LogCaptureFixture
) -> None:
    made = kit()
    made.engine.routing.ready("cont").stable.recorder._view = None
    _, counted = _decide(made.engine, make_call([[0.0] * 4], policy="cont"), make_call([[1, 3, 2, 0]]))
    assert counted.actions.tolist() == [1]
    assert "defect while counting" in caplog.text
    assert made.counts().sources.sum() == 1


def test_what_nothing_answers_is_counted_as_well(kit: KitMaker, caplog: pytest.LogCaptureFixture) -> None:
    made = kit()
    _decide(made.engine, make_call([[np.nan, 0, 0, 0]]))
    _decide(made.engine, make_call([[np.nan, 0, 0, 0]] * 3))
    assert made.counts().sources.sum() == 4
    assert made.counts().latency.sum() == 4 * 4
    assert "defect" not in caplog.text


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=150, deadline=None)
@given(
    observations=hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=FLOATS),
    data=st.data(),
    mode=st.sampled_from(["greedy", "sampled"]),
)
def test_no_answer_ever_breaks_its_mask(kit: KitMaker, observations, data, mode) -> None:
    """Whatever is observed and whatever is allowed: an answer keeps the mask, or there is none."""
    masks = data.draw(hnp.arrays(np.bool_, (len(observations), 3)))
    (decisions,) = _decide(kit(toy=FALLBACK).engine, make_call(observations, masks, mode=mode))
    failed = {error.row for error in decisions.errors}
    for row, (action, mask) in enumerate(zip(decisions.actions, masks, strict=True)):
        assert (row in failed) == (decisions.sources[row] == 0)
        if row not in failed:
            assert mask[action]
        elif np.isfinite(observations[row]).all():
            assert not mask.any()


@settings(max_examples=60, deadline=None)
@given(observations=hnp.arrays(np.float32, st.tuples(st.integers(2, 9), st.just(4)), elements=FLOATS))
def test_rows_do_not_influence_each_other(kit: KitMaker, observations) -> None:
    engine = kit(toy=FALLBACK).engine
    keys = [str(row).encode() for row in range(len(observations))]
    (together,) = _decide(engine, make_call(observations, mode="sampled", idempotency_keys=keys))
    for row in range(len(observations)):
        part = slice(row, row + 1)
        (alone,) = _decide(engine, make_call(observations[part], mode="sampled", idempotency_keys=keys[part]))
        assert alone.actions.tobytes() == together.actions[part].tobytes()
        assert alone.log_probs.tobytes() == together.log_probs[part].tobytes()
        assert alone.sources[0] == together.sources[row]
