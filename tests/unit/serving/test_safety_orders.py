"""What people order, through the engine: who decides then, for how long, and what stays forbidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.serving.decision import Reason, Source
from support.episode_kit import named
from support.safety_kit import LEFT, NAN, RIGHT, SafetyKit, intervention, not_finite, raises, told

CHAIN = {"fallback": [{"constant": 2}]}
PINNED = (Source.OVERRIDE, Reason.OVERRIDE_PINNED, 1)
POLICY = (Source.POLICY, Reason.NONE, 0)


@pytest.fixture
def kit(safety_root: Path) -> SafetyKit:
    return SafetyKit(safety_root, CHAIN)


def test_a_pin_says_what_the_policy_wanted_and_ends_by_itself(kit: SafetyKit) -> None:
    kit.command(kit.order("pin", action=1, seconds=10, id="o7"))
    for _ in range(2):
        decisions = kit.ask(LEFT)
        assert told(decisions) == PINNED
        found = intervention(decisions)
        assert (found.layer, found.name, found.before, found.after) == ("override", "o7", 0, 1)
        kit.now += 9.999
    assert told(kit.ask(LEFT)) == POLICY


@pytest.mark.parametrize("forbidden", ["mask", "constraint"])
def test_what_is_forbidden_is_not_done_for_a_pin(safety_root: Path, forbidden: str) -> None:
    constraints = [{"name": "never", "forbid": [1]}] if forbidden == "constraint" else []
    kit = SafetyKit(safety_root, {**CHAIN, "constraints": constraints})
    kit.command(kit.order("pin", action=1))
    mask = [[True, False, True]] if forbidden == "mask" else None
    assert told(kit.ask(LEFT, mask)) == (Source.FALLBACK, Reason.OVERRIDE_PINNED, 2)
    kit.protect({"constraints": constraints, "unanswered": "fail"})
    (error,) = kit.ask(LEFT, mask).errors
    assert error.reason is Reason.OVERRIDE_PINNED
    assert "pinned is not allowed here" in error.message


@pytest.mark.parametrize("action", ["fallback", "reject"])
def test_a_pin_needs_no_observation(safety_root: Path, action: str) -> None:
    """What the guard refuses, the policy does not see; a pinned action does not depend on it."""
    kit = SafetyKit(safety_root, {**CHAIN, "guard": {"non_finite": action}})
    kit.command(kit.order("pin", action=1))
    decisions = kit.ask([NAN, LEFT])
    assert ([told(decisions, row) for row in (0, 1)], decisions.errors) == ([PINNED, PINNED], [])
    assert intervention(decisions).before is None, "the policy did not see it"
    assert intervention(decisions, 1).before == 0
    assert told(kit.ask(NAN, [[True, False, True]])) == (Source.FALLBACK, Reason.OVERRIDE_PINNED, 2)
    kit.command(killed=True)
    assert told(kit.ask(NAN)) == (Source.FALLBACK, Reason.KILL_SWITCH, 2)


@pytest.mark.parametrize("behaviour", [raises, not_finite])
def test_a_pin_needs_no_model(kit: SafetyKit, behaviour: Any) -> None:
    kit.command(kit.order("pin", action=1))
    with kit.model(behaviour):
        decisions = kit.ask(LEFT)
    assert told(decisions) == PINNED
    if behaviour is raises:
        assert intervention(decisions).before is None


def test_a_pin_outranks_breaker_and_latch_and_says_nothing_of_the_version(safety_root: Path) -> None:
    breaker = {"errors": 0, "window": 1, "least": 1, "open_s": 100}
    kit = SafetyKit(safety_root, {**CHAIN, "breaker": breaker, "latch": {"healthy": 5}})
    kit.command(kit.order("pin", action=1))
    with kit.model(raises):
        assert told(kit.ask(LEFT)) == PINNED
    kit.command()
    assert told(kit.ask(LEFT)) == POLICY, "nothing was held against the version"
    episode = kit.episodes("e")
    with kit.model(raises):
        assert told(episode.step(LEFT))[1] is Reason.MODEL_ERROR
    assert told(episode.step(LEFT))[1] is Reason.BREAKER_OPEN
    kit.command(kit.order("pin", action=1))
    assert told(episode.step(LEFT)) == PINNED
    kit.protect({**CHAIN, "latch": {"healthy": 5}})
    assert told(episode.step(NAN)) == told(episode.step(LEFT)) == PINNED
    kit.command()
    assert told(episode.step(LEFT))[1] is Reason.LATCHED


def test_the_kill_switch_is_above_everything(kit: SafetyKit) -> None:
    orders = [kit.order("pin", action=1, id="a"), kit.order("pin", action=0, id="b", episode_id="e")]
    kit.command(*orders, killed=True, lease_until_s=kit.now - 1)
    killed = (Source.FALLBACK, Reason.KILL_SWITCH, 2)
    assert told(kit.ask(LEFT, episode_ids=["e"])) == told(kit.ask(LEFT)) == killed
    assert told(kit.ask(LEFT, version=2)) == killed
    kit.command(*orders, lease_until_s=kit.now - 1)
    assert told(kit.ask(LEFT, episode_ids=["e"])) == (Source.FALLBACK, Reason.LEASE_EXPIRED, 2)
    kit.command(*orders)
    assert told(kit.ask(LEFT, episode_ids=["e"])) == (Source.OVERRIDE, Reason.OVERRIDE_PINNED, 0)
    assert told(kit.ask(LEFT, episode_ids=["f"])) == PINNED


def test_a_killed_model_is_not_run(kit: SafetyKit) -> None:
    kit.command(killed=True)
    with kit.model(raises):
        assert told(kit.ask(LEFT))[1] is Reason.KILL_SWITCH


def test_a_lease_ends_at_its_time_and_a_heartbeat_is_enough(kit: SafetyKit) -> None:
    kit.command(lease_until_s=kit.now + 5)
    seen = []
    for _ in range(3):
        seen.append(told(kit.ask(LEFT))[1])
        kit.now += 2.5
    assert seen == [Reason.NONE, Reason.NONE, Reason.LEASE_EXPIRED]
    kit.command(lease_until_s=kit.now + 5)
    assert told(kit.ask(LEFT)) == POLICY


def test_rows_of_one_call_have_orders_of_their_own(kit: SafetyKit) -> None:
    kit.command(
        kit.order("pin", action=1, episode_id="a", id="a"),
        kit.order("fallback", episode_id="b", id="b"),
        kit.order("pin", action=0, episode_id="c", id="c", seconds=-1),
    )
    decisions = kit.episodes("a", "b", "c", "d").step(RIGHT)
    assert [told(decisions, row)[:2] for row in range(4)] == [
        (Source.OVERRIDE, Reason.OVERRIDE_PINNED),
        (Source.FALLBACK, Reason.OVERRIDE_FALLBACK),
        (Source.POLICY, Reason.NONE),
        (Source.POLICY, Reason.NONE),
    ]
    assert [(each.row, each.layer) for each in decisions.interventions] == [(0, "override"), (1, "fallback")]


@pytest.mark.parametrize("kind", ["pin", "fallback"])
def test_ordered_rows_have_no_propensity(safety_root: Path, kind: str) -> None:
    kit = SafetyKit(safety_root, CHAIN)
    kit.command(kit.order(kind, episode_id="a", **({"action": 1} if kind == "pin" else {})))
    decisions = kit.episodes("a", "b").step(LEFT, mode="sampled")
    assert np.isnan(decisions.propensities).tolist() == [True, False]


def test_shielded_and_ordered_rows_count_once_and_for_who_answered(safety_root: Path) -> None:
    kit = SafetyKit(safety_root, {**CHAIN, "constraints": [{"name": "never", "forbid": [0]}]})
    kit.command(kit.order("pin", action=1))
    assert told(kit.ask(LEFT)) == PINNED
    counted = kit.counts()
    assert counted.shielded.tolist() == counted.constraint_fallbacks.tolist() == [0]
    assert counted.sources[list(Source).index(Source.OVERRIDE)] == 1
    kit.command()
    kit.ask(LEFT)
    assert kit.counts().shielded.tolist() == [1]


def test_frozen_rows_go_to_that_version_and_nowhere_else(safety_root: Path) -> None:
    lanes = {"stable": {"version": 1}, "canary": {"version": 2, "share": 0.25}, "control": {"share": 0.25}}
    kit = SafetyKit(safety_root, CHAIN, lanes=lanes)
    names = [*named("stable"), *named("canary"), *named("control")]
    episodes = kit.episodes(*names)
    assert episodes.step(LEFT).versions.tolist() == [1, 2, 1]
    kit.command(kit.order("freeze", version=1))
    frozen = episodes.step(LEFT)
    assert (frozen.versions.tolist(), frozen.sources.tolist()) == ([1, 1, 1], [1, 1, 1])
    kit.command(kit.order("freeze", version=2, lane="stable"))
    assert episodes.step(LEFT).versions.tolist()[0] == 2
    kit.command(kit.order("freeze", version=7, seconds=5))
    nobody = episodes.step(LEFT)
    assert [told(nobody, row) for row in range(3)] == [(Source.FALLBACK, Reason.OVERRIDE_FALLBACK, 2)] * 3
    again = episodes.step(LEFT, after_s=5)
    assert again.sources.tolist() == [1, 1, 1]


def test_an_override_does_not_begin_a_latch_but_a_fault_beneath_it_does(safety_root: Path) -> None:
    kit = SafetyKit(safety_root, {**CHAIN, "latch": {"healthy": 2}})
    ordered, faulty = kit.episodes("a"), kit.episodes("b")
    kit.command(kit.order("fallback"))
    ordered.step(LEFT)
    faulty.step(NAN)
    kit.command()
    assert told(ordered.step(LEFT)) == POLICY
    assert told(faulty.step(LEFT))[1] is Reason.LATCHED
