"""Every reason that a decision can have: what brings it about, who answers, what callers are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from steersman.serving.decision import Decisions, Reason, Source
from support.episode_kit import GRACE_S, TTL_S
from support.safety_kit import (
    LEFT,
    NAN,
    RIGHT,
    SafetyKit,
    intervention,
    not_finite,
    raises,
    reason,
    source,
    wants,
)

FALLBACK = {"fallback": [{"constant": 2}]}
CENTRE = {"fallback": [{"constant": [0.0, 0.0]}]}
UNSURE = (0.0, 0.0, 0.0, 0.0)
STEPPED = {"stuck": {"features": ["left"], "steps": 1}}


@dataclass(frozen=True)
class Case:
    """What has the last decision of a kit have a reason.

    Attributes:
        reason: The reason.
        ask: What happens.
        source: Who answers.
        layer: Whose change the caller is told of; empty for none.
        safety: The safety section beside its fallback.
        policy: Which of the toy policies.
        told: Whether the caller gets the action of before the change.
    """

    reason: Reason
    ask: Callable[[SafetyKit], Decisions]
    source: Source = Source.FALLBACK
    layer: str = "fallback"
    safety: Mapping[str, Any] = field(default_factory=dict)
    policy: str = "toy"
    told: bool = False


def asks(observation: Any, mask: Any = None, **fields: Any) -> Callable[[SafetyKit], Decisions]:
    """One call."""
    return lambda kit: kit.ask(observation, mask, **fields)


def steps(*observations: Any) -> Callable[[SafetyKit], Decisions]:
    """The steps of an episode, a tenth of a second apart."""

    def ask(kit: SafetyKit) -> Decisions:
        episode = kit.episodes("e")
        return [episode.step(each, after_s=0.1) for each in observations][-1]

    return ask


def behaving(behaviour: Any, mask: Any = None) -> Callable[[SafetyKit], Decisions]:
    """One call of a model that behaves like this."""

    def ask(kit: SafetyKit) -> Decisions:
        with kit.model(behaviour):
            return kit.ask(LEFT, mask)

    return ask


def ordered(*kinds: str, **fields: Any) -> Callable[[SafetyKit], Decisions]:
    """One call after somebody has ordered something."""

    def ask(kit: SafetyKit) -> Decisions:
        orders = [kit.order(kind, **(fields if kind == "pin" else {})) for kind in kinds if kind != "kill"]
        kit.command(*orders, killed="kill" in kinds, lease_until_s=kit.now + (0 if not kinds else 60))
        return kit.ask(LEFT)

    return ask


def stale(kit: SafetyKit) -> Decisions:
    return kit.ask(LEFT, observation_times=[int((kit.now - 2) * 1e9)])


def expired(kit: SafetyKit) -> Decisions:
    episode = kit.episodes("e")
    episode.step(LEFT)
    return episode.step(LEFT, after_s=TTL_S + 1)


def swapped(kit: SafetyKit) -> Decisions:
    episodes = kit.episodes("one", "other")
    episodes.step(LEFT)
    episodes.tokens.reverse()
    return episodes.step(LEFT)


def cut(kit: SafetyKit) -> Decisions:
    episode = kit.episodes("e")
    episode.step(LEFT)
    for _ in range(2):  # the version is drained first, and then gone
        kit.deploy({"policy": "toy", "lanes": {"stable": {"version": 1}}})
        kit.now += GRACE_S
    return episode.step(LEFT)


def broken_before(kit: SafetyKit) -> Decisions:
    with kit.model(raises):
        kit.ask(LEFT)
    return kit.ask(LEFT)


CASES = (
    Case(Reason.NONE, asks(LEFT), Source.POLICY, ""),
    Case(Reason.OBSERVATION_NON_FINITE, asks(NAN)),
    Case(
        Reason.OBSERVATION_OUT_OF_BOUNDS,
        asks((11.0, 0.0, 0.0, 0.0)),
        safety={"guard": {"bounds": "fallback"}},
    ),
    Case(
        Reason.OBSERVATION_OUT_OF_TRAINING_RANGE,
        asks((9.0, 0.0, 0.0, 0.0)),
        safety={"guard": {"training_range": {"margin": 0.1}}},
    ),
    Case(Reason.MODEL_ERROR, behaving(raises)),
    Case(Reason.MODEL_NON_FINITE, behaving(not_finite)),
    Case(Reason.ACTION_MASKED, behaving(wants(1), [[True, False, True]]), told=True),
    Case(Reason.MASK_ALL_FALSE, asks(LEFT, [[False] * 3]), Source.NONE, ""),
    Case(Reason.NO_FEASIBLE_ACTION, asks(NAN, [[True, True, False]]), Source.NONE, ""),
    Case(Reason.DEADLINE_TOO_NEAR, asks(LEFT, refused=Reason.DEADLINE_TOO_NEAR)),
    Case(Reason.OVERLOAD, asks(LEFT, refused=Reason.OVERLOAD)),
    Case(
        Reason.EPISODE_TOKEN_INVALID,
        asks(LEFT, episode_ids=["e"], episode_tokens=[b"forged"]),
        Source.NONE,
        "",
    ),
    Case(Reason.EPISODE_TOKEN_EXPIRED, expired, Source.NONE, ""),
    Case(Reason.EPISODE_TOKEN_MISMATCH, swapped, Source.NONE, ""),
    Case(Reason.EPISODE_CUT, cut, Source.POLICY, ""),
    Case(
        Reason.EPISODE_STATE_MISSING,
        asks(LEFT, episode_ids=["e"], steps=[3]),
        Source.POLICY,
        "",
        policy="memory",
    ),
    Case(Reason.OBSERVATION_STUCK, steps(LEFT, LEFT), safety={"guard": STEPPED}),
    Case(Reason.OBSERVATION_STALE, stale, safety={"guard": {"stale": {"max_age_s": 1.0}}}),
    Case(
        Reason.OBSERVATION_FAR_FROM_TRAINING,
        asks((9.0, -9.0, 9.0, -9.0)),
        safety={"guard": {"distance": {"quantile": 0.9}}},
    ),
    Case(
        Reason.LOW_CONFIDENCE,
        asks(UNSURE),
        safety={"guard": {"confidence": {"top_probability": 0.6}}},
        told=True,
    ),
    Case(
        Reason.CONSTRAINT_VIOLATED,
        asks(LEFT),
        Source.SHIELD,
        "constraint",
        safety={"constraints": [{"name": "not_left", "forbid": [0]}]},
        told=True,
    ),
    Case(
        Reason.CONSTRAINT_VIOLATED,
        asks(LEFT),
        safety={"constraints": [{"name": "not_left", "forbid": [0], "then": "fallback"}]},
        told=True,
    ),
    Case(Reason.BREAKER_OPEN, broken_before, safety={"breaker": {"errors": 0, "window": 1, "least": 1}}),
    Case(Reason.LATCHED, steps(NAN, LEFT), safety={"latch": {"healthy": 2}}, told=True),
    Case(
        Reason.RETURNING,
        steps(NAN, LEFT),
        Source.SHIELD,
        "return",
        safety={"return": {"blend_s": 1.0}},
        policy="cont",
        told=True,
    ),
    Case(Reason.OVERRIDE_PINNED, ordered("pin", action=1), Source.OVERRIDE, "override", told=True),
    Case(Reason.OVERRIDE_FALLBACK, ordered("fallback")),
    Case(Reason.KILL_SWITCH, ordered("pin", "kill", action=1)),
    Case(Reason.LEASE_EXPIRED, ordered()),
    Case(Reason.ACTION_OUT_OF_SPACE, behaving(wants(5.0)), policy="cont"),
    Case(Reason.ACTION_OUT_OF_SPACE, behaving(wants(2**40))),
)


def test_the_table_has_every_reason() -> None:
    assert {case.reason for case in CASES} == set(Reason)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.reason) or "none")
def test_reasons_are_told_with_who_answered(safety_root: Path, case: Case) -> None:
    kit = SafetyKit(safety_root, {**_chain(case.policy), **case.safety}, case.policy)
    decisions = case.ask(kit)
    assert (reason(decisions), source(decisions)) == (case.reason, case.source)
    assert [each.reason for each in decisions.errors] == [case.reason] * len(decisions.actions) * (
        case.source is Source.NONE
    )
    if not case.layer:
        assert decisions.interventions == []
        return
    found = intervention(decisions)
    assert (found.layer, found.reason) == (case.layer, case.reason)
    assert found.after.tolist() == decisions.actions[0].tolist()
    assert (found.before is not None) == case.told
    if case.told:
        assert found.before.tolist() != found.after.tolist()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.reason) or "none")
def test_reasons_are_counted_once(safety_root: Path, case: Case) -> None:
    """A fallback's reason is counted among fallbacks, an error's among errors, and no other row is."""
    kit = SafetyKit(safety_root, {**_chain(case.policy), **case.safety}, case.policy)
    case.ask(kit)
    counted = kit.counts()
    code = list(Reason).index(case.reason)
    if case.source is Source.FALLBACK:
        assert counted.fallback_reasons[code] == 1
    elif case.source is Source.NONE:
        assert counted.error_reasons[code] >= 1
    answered = counted.sources.sum() - counted.sources[list(Source).index(Source.NONE)]
    fallen = counted.sources[list(Source).index(Source.FALLBACK)]
    assert counted.fallback_reasons[1:].sum() == fallen <= answered


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.source is Source.FALLBACK and case.reason is not Reason.LATCHED],
    ids=lambda case: str(case.reason),
)
def test_without_a_fallback_the_row_fails_with_the_reason_in_words(safety_root: Path, case: Case) -> None:
    """All but the latch, which holds only who has been answered by a fallback."""
    kit = SafetyKit(safety_root, {**case.safety, "unanswered": "fail"}, case.policy)
    (error,) = case.ask(kit).errors
    assert error.reason is case.reason
    assert len(error.message.partition(";")[0]) > 10
    assert error.message.endswith("the deployment declares no fallback")


@pytest.mark.parametrize("observation", [LEFT, RIGHT, NAN])
def test_a_safe_action_answers_what_nothing_else_may(safety_root: Path, observation: Any) -> None:
    kit = SafetyKit(safety_root, {**FALLBACK, "safe_action": 1})
    decisions = kit.ask(observation, [[False] * 3])
    assert (source(decisions), decisions.actions.tolist()) == (Source.SAFE_ACTION, [1])
    assert decisions.errors == []
    assert intervention(decisions).layer == "safe_action"


def _chain(policy: str) -> Mapping[str, Any]:
    return CENTRE if policy == "cont" else FALLBACK
