import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import Contract, DiscreteAction, MultiBinaryAction, MultiDiscreteAction
from steersman.bundle.validation import SettingsError, validated
from steersman.safety.confidence import Confidence
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import ConfidenceFloors, GuardSettings
from unit.safety.strategies import contract_for, masked_actions, quick

OUTPUTS = {
    "categorical": ("action", "distribution", "entropy"),
    "q_values": ("action", "distribution", "value"),
    "gaussian": ("action", "distribution", "entropy"),
    "squashed_gaussian": ("action", "distribution"),
    "deterministic": ("action",),
}


def contract_of(action, distribution="categorical"):
    fields = {**dict(contract_for(action)), "distribution": distribution, "outputs": OUTPUTS[distribution]}
    return Contract(**fields)


def log_probs(rng, rows, segments):
    """Masked log-probabilities [rows, W], and their total entropy."""
    parts, entropy = [], np.zeros(rows)
    for width in segments:
        open_ = rng.random((rows, width)) < 0.7
        open_[np.arange(rows), rng.integers(0, width, rows)] = True
        p = np.where(open_, rng.random((rows, width)) + 0.01, 0.0)
        p /= p.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            parts.append(np.log(p).astype(np.float32))
        entropy -= np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
    return np.concatenate(parts, axis=1), entropy.astype(np.float32)


def segments_of(scores, action):
    ends = np.cumsum(action.mask_segments)
    return [scores[end - width : end] for end, width in zip(ends, action.mask_segments, strict=True)]


@quick
@given(masked_actions, st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.floats(0.0, 3.0))
def test_rows_are_low_on_which_some_segment_or_the_entropy_is(action, seed, least, most):
    widest, largest = max(action.mask_segments), sum(map(math.log, action.mask_segments))
    floors = {"top_probability": least} if least > 1 / widest else {}
    floors |= {"max_entropy": most} if most < largest else {}
    if not floors:
        return
    confidence = Confidence.compile(ConfidenceFloors(**floors), contract_of(action))
    scores, entropy = log_probs(np.random.default_rng(seed), 5, action.mask_segments)
    outputs = {"distribution": scores, "entropy": entropy}
    low = confidence.low(outputs)
    expected = [
        (
            "top_probability" in floors
            and min(part.max() for part in segments_of(row, action)) < math.log(least)
        )
        or ("max_entropy" in floors and total > most)
        for row, total in zip(scores, entropy, strict=True)
    ]
    assert (low is None, [] if low is None else low.tolist()) == (
        not any(expected),
        expected if any(expected) else [],
    )
    assert [confidence.explain(i, outputs) != "" for i in range(5)] == expected


@quick
@given(masked_actions, st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_a_q_margin_is_the_lead_over_the_next_allowed_choice(action, seed, least):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(5, sum(action.mask_segments))).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    for end, width in zip(np.cumsum(action.mask_segments), action.mask_segments, strict=True):
        scores[:, end - width] = np.nan_to_num(scores[:, end - width], neginf=0.5)
    confidence = Confidence.compile(ConfidenceFloors(q_margin=least), contract_of(action, "q_values"))
    low = confidence.low({"distribution": scores})
    leads = []
    for row in scores:
        ranked = [np.sort(part)[::-1] for part in segments_of(row, action)]
        leads.append(min(part[0] - part[1] if len(part) > 1 else math.inf for part in ranked))
    expected = [lead < np.float32(least) for lead in leads]
    assert ([False] * 5 if low is None else low.tolist()) == expected


@quick
@given(masked_actions, st.integers(0, 2**32 - 1))
def test_a_row_does_not_depend_on_other_rows_and_nan_is_never_sure(action, seed):
    if max(action.mask_segments) == 1:
        return
    floors = ConfidenceFloors(top_probability=0.9)
    confidence = Confidence.compile(floors, contract_of(action))
    scores, _ = log_probs(np.random.default_rng(seed), 4, action.mask_segments)
    scores[2] = np.nan
    low = confidence.low({"distribution": scores})
    assert low is not None
    assert low[2]
    alone = [confidence.low({"distribution": scores[i : i + 1]}) for i in range(4)]
    assert low.tolist() == [one is not None for one in alone]


def test_no_floors_need_no_outputs_and_miss_nothing():
    confidence = Confidence.compile(None, contract_of(DiscreteAction(n=3), "deterministic"))
    assert confidence.outputs == frozenset()
    assert confidence.low({}) is None
    assert confidence.explain(0, {}) == ""


@pytest.mark.parametrize(
    ("floors", "outputs", "message"),
    [
        (
            {"top_probability": 0.5},
            {"distribution": np.log([[0.25, 0.4, 0.35]])},
            "the likeliest choice has probability 0.4; expected at least 0.5",
        ),
        (
            {"max_entropy": 0.5},
            {"entropy": np.array([0.75])},
            "the entropy of the action is 0.75 nats; expected at most 0.5",
        ),
        (
            {"q_margin": 0.5},
            {"distribution": np.array([[1.0, -math.inf, 0.75]])},
            "the best Q-value leads by 0.25; expected at least 0.5",
        ),
    ],
)
def test_its_words_and_what_it_needs(floors, outputs, message):
    contract = contract_of(DiscreteAction(n=3), "q_values" if "q_margin" in floors else "categorical")
    confidence = Confidence.compile(ConfidenceFloors(**floors), contract)
    assert confidence.outputs == set(outputs)
    assert confidence.explain(0, outputs) == message


def test_a_gaussian_can_be_held_to_its_entropy_below_zero():
    gaussian = contract_of(DiscreteAction(n=2), "gaussian")
    confidence = Confidence.compile(ConfidenceFloors(max_entropy=-1.5), gaussian)
    low = confidence.low({"entropy": np.array([-2.0, -1.0], np.float32)})
    assert low is not None
    assert low.tolist() == [False, True]


@pytest.mark.parametrize(
    ("action", "distribution", "floors", "line"),
    [
        (
            DiscreteAction(n=3),
            "q_values",
            {"top_probability": 0.5},
            (
                "guard.confidence.top_probability: this policy, whose distribution is q_values, does "
                "not tell how probable its choices are; expected a policy with a categorical one. It "
                "can be held to q_margin."
            ),
        ),
        (
            DiscreteAction(n=3),
            "categorical",
            {"q_margin": 0.5},
            (
                "guard.confidence.q_margin: this policy, whose distribution is categorical, does not "
                "tell Q-values; expected a policy with Q-values, such as one of DQN. It can be held "
                "to top_probability."
            ),
        ),
        (
            DiscreteAction(n=3),
            "deterministic",
            {"max_entropy": 0.5},
            (
                "guard.confidence.max_entropy: this policy, whose distribution is deterministic, does"
                " not tell its entropy; expected a policy whose graph has the output entropy"
            ),
        ),
        (
            MultiDiscreteAction(nvec=(2, 4)),
            "categorical",
            {"top_probability": 0.25},
            (
                "guard.confidence.top_probability: no row can miss 0.25: the likeliest of 4 choices "
                "has at least 0.25; expected more than 0.25"
            ),
        ),
        (
            MultiBinaryAction(n=2),
            "categorical",
            {"max_entropy": 2.0},
            (
                "guard.confidence.max_entropy: no row has an entropy above 2; expected at least 0 and"
                " less than 1.386, that of equal probabilities"
            ),
        ),
        (
            DiscreteAction(n=3),
            "categorical",
            {"max_entropy": -0.5},
            (
                "guard.confidence.max_entropy: every row has an entropy above -0.5; expected at least"
                " 0 and less than 1.099, that of equal probabilities"
            ),
        ),
    ],
)
def test_what_a_policy_cannot_tell_or_never_misses_is_refused_at_load(action, distribution, floors, line):
    with pytest.raises(SafetyError) as error:
        Confidence.compile(ConfidenceFloors(**floors), contract_of(action, distribution))
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({}, "d.yaml: confidence: confidence needs top_probability, max_entropy or q_margin"),
        (
            {"top_probabilty": 0.5},
            (
                "d.yaml: confidence.top_probabilty: unknown field; expected one of max_entropy, "
                "q_margin, top_probability. Did you mean top_probability?"
            ),
        ),
        (
            {"top_probability": 1.5},
            "d.yaml: confidence.top_probability: got 1.5; expected less than or equal to 1",
        ),
    ],
)
def test_each_mistake_has_its_line(data, line):
    with pytest.raises(SettingsError) as error:
        validated(GuardSettings, {"confidence": data}, where="d.yaml")
    assert str(error.value) == line
