"""Whatever comes in and whatever the model does: no answer breaks its mask or a constraint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.safety.constraints import Constraints
from steersman.safety.settings import SafetySettings
from steersman.serving.decision import SOURCES, Decisions
from unit.serving.conftest import Kit, KitMaker, make_call

FLOATS = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.floats(-2, 2, width=32),
    st.sampled_from([float(np.float32(3.4e38)), -0.0, 1e-45]),
)
TOY_CONSTRAINTS: tuple[dict[str, Any], ...] = (
    {"name": "never_two", "forbid": [2]},
    {"name": "not_zero_far_right", "when": "left > 0.5", "forbid": [0]},
    {"name": "dwell", "dwell": {"min_steps": 2, "start": "free"}},
    {"name": "few", "budget": {"actions": [0], "most": 2, "assumed_used": 1}},
)
CONT_CONSTRAINTS: tuple[dict[str, Any], ...] = (
    {"name": "torque", "box": {"low": -0.8, "high": 0.5}},
    {"name": "tight", "when": "left > 0.5", "box": {"action[0]": {"high": 0.1}}},
    {
        "name": "slew",
        "rate": {"max_per_s": 2.0, "start": 0.0, "assumed_step_s": 0.1, "longest_s": 1.0},
    },
    {"name": "zone", "forbid_zone": {"action[1]": {"low": -0.1, "high": 0.1}}},
    {"name": "power", "linear": [{"terms": {"action[0]": 1.0, "action[1]": 1.0}, "at_most": 0.6}]},
)
MODELS = ("sound", "raises", "nan", "huge")


@contextmanager
def model(kit: Kit, policy: str, behaviour: str) -> Iterator[None]:
    """The model of a policy, as it is or broken."""
    session = kit.engine.routing.ready(policy).stable.loaded.session
    run: Callable[..., Any] = session.run

    def broken(outputs: Any, feeds: Any) -> Any:
        if behaviour == "raises":
            raise RuntimeError(behaviour)
        found = [np.array(output) for output in run(outputs, feeds)]
        for output in found:
            if output.dtype.kind == "f":
                output[...] = np.nan if behaviour == "nan" else 1e30
            elif behaviour == "huge":
                output[...] = 2**40
        return found

    if behaviour == "sound":
        yield
        return
    vars(session)["run"] = broken
    try:
        yield
    finally:
        del vars(session)["run"]


@st.composite
def safeties(
    draw: st.DrawFn, constraints: tuple[dict[str, Any], ...], constants: list[Any]
) -> dict[str, Any]:
    """A safety section."""
    safety: dict[str, Any] = {
        "constraints": [
            {**each, "then": draw(st.sampled_from(["shield", "fallback"]))}
            for each in constraints
            if draw(st.booleans())
        ],
        "fallback": draw(st.sampled_from([[], [{"preference": constants}], [{"constant": constants[0]}]])),
        "guard": {"non_finite": draw(st.sampled_from(["fallback", "reject"]))},
    }
    safety["unanswered"] = "fail"
    if draw(st.booleans()):
        safety["safe_action"] = constants[-1]
    if draw(st.booleans()):
        safety["latch"] = {"healthy": 2, "min_s": 0.05}
    return safety


STATIC = frozenset({"never_two", "not_zero_far_right", "torque", "tight", "zone", "power"})
"""Constraints that depend on nothing but the row, so that a test can judge them from outside."""


def check(
    kit: Kit, policy: str, decisions: Decisions, *, safety: dict[str, Any], observed: Any, masks: Any
) -> None:
    """No action that left breaks its mask or a constraint, but for the declared safe action."""
    contract = kit.engine.routing.ready(policy).stable.contract
    failed = {error.row for error in decisions.errors}
    static = [each for each in safety["constraints"] if each["name"] in STATIC]
    judge = Constraints.compile(SafetySettings.model_validate({"constraints": static}).constraints, contract)
    for row, action in enumerate(decisions.actions):
        source = SOURCES[decisions.sources[row]]
        assert (row in failed) == (source == "none")
        if source in {"none", "safe_action"}:
            continue
        if contract.action.kind == "box":
            assert np.isfinite(action).all()
            assert (np.abs(action) <= 1).all()
        else:
            assert 0 <= action < 3
        assert masks is None or masks[row][action]
        features = observed[row : row + 1].astype(np.float64)
        assert judge.bind(features, None, 1).permits(action[None]).all(), (static, action, features)


@settings(max_examples=60, deadline=None)
@given(
    observed=hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=FLOATS),
    safety=safeties(TOY_CONSTRAINTS, [1, 0]),
    behaviour=st.sampled_from(MODELS),
    mode=st.sampled_from(["greedy", "sampled"]),
    data=st.data(),
)
def test_choices_keep_mask_and_constraints(
    kit: KitMaker, observed: Any, safety: dict[str, Any], behaviour: str, mode: Any, data: st.DataObject
) -> None:
    made = kit(toy=safety)
    masks = data.draw(st.none() | hnp.arrays(np.bool_, (len(observed), 3)))
    names = [f"e{row}" for row in range(len(observed))]
    tokens: list[bytes] = []
    for step in range(3):
        call = make_call(
            observed,
            masks,
            mode=mode,
            episode_ids=names,
            episode_tokens=tokens,
            episode_starts=[step == 0] * len(names),
        )
        with model(made, "toy", behaviour):
            (decisions,) = made.engine.decide([call])
        assert isinstance(decisions, Decisions)
        check(made, "toy", decisions, safety=safety, observed=observed, masks=masks)
        before, tokens = tokens, decisions.episode_tokens
        tokens = [new or old for new, old in zip(tokens, before or [b""] * len(names), strict=True)]
        made.now += 0.1


@settings(max_examples=60, deadline=None)
@given(
    observed=hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=FLOATS),
    safety=safeties(CONT_CONSTRAINTS, [[0.0, -0.2], [0.0, 0.2]]),
    behaviour=st.sampled_from(MODELS),
    mode=st.sampled_from(["greedy", "sampled"]),
    easing=st.sampled_from([None, {"blend_s": 0.3}, {"max_rate_per_s": 1.0}]),
)
def test_continuous_actions_keep_constraints(
    kit: KitMaker,
    observed: Any,
    safety: dict[str, Any],
    behaviour: str,
    mode: Any,
    easing: dict[str, float] | None,
) -> None:
    made = kit(cont=safety if easing is None else {**safety, "return": easing})
    names = [f"e{row}" for row in range(len(observed))]
    slew = any(each["name"] == "slew" for each in safety["constraints"])
    tokens: list[bytes] = []
    last: dict[int, Any] = {}
    for step in range(4):
        call = make_call(
            observed,
            policy="cont",
            mode=mode,
            episode_ids=names,
            episode_tokens=tokens,
            episode_starts=[step == 0] * len(names),
        )
        with model(made, "cont", behaviour if step else "raises"):
            (decisions,) = made.engine.decide([call])
        assert isinstance(decisions, Decisions)
        check(made, "cont", decisions, safety=safety, observed=observed, masks=None)
        for row, source in enumerate(decisions.sources):
            moved = SOURCES[source] not in {"none", "safe_action"}
            if slew and moved and row in last:
                assert (np.abs(decisions.actions[row].astype(np.float64) - last[row]) <= 0.2 + 1e-6).all()
            last.pop(row, None)
            if moved:
                last[row] = decisions.actions[row].astype(np.float64)
        old = tokens or [b""] * len(names)
        tokens = [new or before for new, before in zip(decisions.episode_tokens, old, strict=True)]
        made.now += 0.1
