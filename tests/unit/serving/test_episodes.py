"""Episodes in the engine: where each row goes, with which token, and for how long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steersman.serving.decision import Decisions, Reason
from steersman.serving.errors import CallError
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.tokens import TokenCodec
from support.episode_kit import (
    GRACE_S,
    KEYRING,
    OBSERVATION,
    SPLIT,
    TTL_S,
    Document,
    EpisodeKit,
    call,
    go_on,
    lane_of,
    named,
    read,
    reasons,
)
from support.toy_bundle import WEIGHTS, publish_toy
from unit.serving.conftest import make_call

OTHER_WEIGHTS = -WEIGHTS
"""Version 2 does the opposite, so that an action tells who made it."""
STABLE_1 = {"lanes": {"stable": {"version": 1}}}
STABLE_2 = {"lanes": {"stable": {"version": 2}}}
CODEC = TokenCodec(KEYRING)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of `toy`."""
    folder = tmp_path_factory.mktemp("episodes")
    publish_toy(folder / "bundles")
    publish_toy(folder / "bundles", weights=OTHER_WEIGHTS)
    return folder


@pytest.fixture
def kit(root: Path) -> EpisodeKit:
    """Version 2 has a quarter of the episodes, a control group another quarter."""
    return EpisodeKit(root, SPLIT)


def test_rows_go_to_the_lane_of_their_episode(kit: EpisodeKit) -> None:
    names = [f"episode-{number}" for number in range(64)]
    decisions = kit.decide(call(*names))
    assert decisions.lanes == [lane_of(name) for name in names]
    assert set(decisions.lanes) == {"stable", "canary", "control"}
    assert decisions.versions.tolist() == [2 if lane == "canary" else 1 for lane in decisions.lanes]
    assert decisions.actions.tolist() == [0 if version == 2 else 1 for version in decisions.versions]
    assert kit.assigned() == {"episode": 64}


def test_rows_without_an_episode_are_stable_s_and_have_no_token(kit: EpisodeKit) -> None:
    (canary,) = named("canary")
    decisions = kit.decide(call("", canary, ""))
    assert decisions.lanes == ["stable", "canary", "stable"]
    assert [bool(token) for token in decisions.episode_tokens] == [False, True, False]
    assert kit.assigned() == {"none": 2, "episode": 1}
    assert kit.decide(make_call([OBSERVATION])).episode_tokens == []


def test_a_token_says_what_was_decided(kit: EpisodeKit) -> None:
    (name,) = named("canary")
    first = kit.decide(call(name))
    token = read(first.episode_tokens[0])
    assert (token.step, token.share, token.state, token.extra) == (1, 0.25, b"", b"")
    assert np.frombuffer(token.action, np.int64).tolist() == first.actions.tolist()
    assert (token.expires, token.decided) == (int(kit.now + TTL_S), int(kit.now * 1e9))
    kit.now += 60
    second = read(kit.decide(go_on(first, name)).episode_tokens[0])
    assert (second.step, second.expires) == (2, int(kit.now + TTL_S))
    assert (second.episode, second.bundle, second.lane) == (token.episode, token.bundle, token.lane)


def test_an_episode_stays_where_it_began_whatever_the_shares_become(kit: EpisodeKit) -> None:
    canary, stable = named("canary", 3), named("stable", 3)
    first = kit.decide(call(*canary, *stable))
    kit.deploy({"lanes": {"stable": {"version": 1}, "canary": {"version": 2, "share": 0.0}}})
    assert kit.decide(go_on(first, *canary, *stable)).versions.tolist() == [2] * 3 + [1] * 3
    assert kit.decide(call(*canary)).versions.tolist() == [1] * 3
    kit.deploy({"lanes": {"stable": {"version": 1}, "canary": {"version": 2, "share": 1.0}}})
    assert kit.decide(go_on(first, *canary, *stable)).versions.tolist() == [2] * 3 + [1] * 3


def test_propensity_is_that_of_the_whole_stack(kit: EpisodeKit) -> None:
    """What the lane had when the episode began, not what it has now; 1 where chance had no part in it."""
    canary, stable, control = named("canary")[0], named("stable")[0], named("control")[0]
    first = kit.decide(call(canary, stable, control, "", mode="sampled"))
    shares = first.propensities / np.exp(first.log_probs)
    assert shares == pytest.approx([0.25, 0.5, 0.25, 1.0])
    kit.deploy({"lanes": {"stable": {"version": 1}, "canary": {"version": 2, "share": 0.9}}})
    second = kit.decide(go_on(first, canary, stable, control, "", mode="sampled"))
    assert second.propensities / np.exp(second.log_probs) == pytest.approx([0.25, 0.5, 0.25, 1.0])
    pinned = kit.decide(call(canary, mode="sampled", version=2))
    assert pinned.propensities == pytest.approx(np.exp(pinned.log_probs))


def test_tokens_of_another_episode_policy_step_or_keyring_are_refused(kit: EpisodeKit, root: Path) -> None:
    one, other = named("stable", 2)
    (token,) = kit.decide(call(one)).episode_tokens
    stranger = EpisodeKit(root, SPLIT, Keyring(current=1, keys={1: "ab" * 32}))
    for asked, engine, reason in (
        (call(other, episode_tokens=[token]), kit, Reason.EPISODE_TOKEN_MISMATCH),
        (make_call([OBSERVATION], episode_tokens=[token]), kit, Reason.EPISODE_TOKEN_MISMATCH),
        (call(one, episode_tokens=[token], steps=[2]), kit, Reason.EPISODE_TOKEN_MISMATCH),
        (call(one, episode_tokens=[token]), stranger, Reason.EPISODE_TOKEN_INVALID),
    ):
        (error,) = engine.decide(asked).errors
        assert error.reason is reason
    assert not kit.decide(call(one, episode_tokens=[token], steps=[1])).errors


def test_a_token_expires(kit: EpisodeKit) -> None:
    (name,) = named("stable")
    first = kit.decide(call(name))
    kit.now += TTL_S
    second = kit.decide(go_on(first, name))
    kit.now += 1
    (error,) = kit.decide(go_on(first, name)).errors
    assert error.reason is Reason.EPISODE_TOKEN_EXPIRED
    assert not kit.decide(go_on(second, name)).errors


def test_an_older_token_repeats_its_step(kit: EpisodeKit) -> None:
    (name,) = named("canary")
    first = kit.decide(call(name))
    once, again = (kit.decide(go_on(first, name)) for _ in range(2))
    assert once.episode_tokens == again.episode_tokens
    kit.decide(go_on(once, name))
    assert not kit.decide(go_on(first, name)).errors


def test_a_row_that_begins_its_episode_needs_no_token(kit: EpisodeKit) -> None:
    (name,) = named("stable")
    for begins in ({"episode_starts": [True]}, {"steps": [0]}):
        decisions = kit.decide(call(name, episode_tokens=[b"old"], **begins))
        assert not decisions.errors
        assert read(decisions.episode_tokens[0]).step == 1


def test_a_caller_that_counts_needs_no_token_to_go_on_counting(kit: EpisodeKit) -> None:
    (name,) = named("stable")
    decisions = kit.decide(call(name, steps=[7]))
    assert reasons(decisions) == [Reason.NONE]
    assert read(decisions.episode_tokens[0]).step == 8


@pytest.mark.parametrize("step", [-1, 2**53 + 1, 2**63 - 1])
def test_steps_that_nobody_can_count_are_refused(kit: EpisodeKit, step: int) -> None:
    (error,) = kit.engine.decide([call("a", steps=[step])])
    assert isinstance(error, CallError)
    assert error.reason == "steps"


def test_promotion_takes_the_episodes_of_the_canary_along(kit: EpisodeKit) -> None:
    (name,) = named("canary")
    first = kit.decide(call(name))
    kit.deploy(STABLE_2)
    second = kit.decide(go_on(first, name))
    assert (second.lanes, second.versions.tolist(), reasons(second)) == (["stable"], [2], [Reason.NONE])


def drained(kit: EpisodeKit, name: str, first: Decisions, deployment: Document) -> None:
    """The episode goes on in version 1 until the grace is over, and is cut then."""
    kit.deploy(deployment)
    second = kit.decide(go_on(first, name))
    assert (second.versions.tolist(), reasons(second)) == ([1], [Reason.NONE])
    assert kit.decide(call(f"{name}-new")).versions.tolist() == [2]
    kit.now += GRACE_S
    kit.deploy(deployment)
    third = kit.decide(go_on(second, name))
    assert (third.versions.tolist(), reasons(third)) == ([2], [Reason.EPISODE_CUT])
    token = read(third.episode_tokens[0])
    assert token.step == 3
    fourth = kit.decide(go_on(third, name, steps=[3]))
    assert (fourth.versions.tolist(), reasons(fourth)) == ([2], [Reason.NONE])
    assert kit.assigned()["cut"] == 1


def test_a_version_that_is_replaced_ends_its_episodes_in_its_own_time(root: Path) -> None:
    kit = EpisodeKit(root, STABLE_1)
    drained(kit, "a", kit.decide(call("a")), STABLE_2)


def test_so_does_one_that_can_still_be_asked_for(root: Path) -> None:
    """A pinned version takes no episodes, so its own ones drain in the lane where they began."""
    kit = EpisodeKit(root, STABLE_1)
    drained(kit, "a", kit.decide(call("a")), {"serve": "all", **STABLE_2})
    assert kit.decide(call("a", version=1)).lanes == ["pinned"]


def test_a_rollback_cuts_at_once_and_nobody_goes_on_in_a_pinned_lane(kit: EpisodeKit) -> None:
    (name,) = named("canary")
    first = kit.decide(call(name))
    kit.deploy({"serve": "all", **STABLE_1}, cut=True)
    second = kit.decide(go_on(first, name))
    assert (second.versions.tolist(), reasons(second)) == ([1], [Reason.EPISODE_CUT])
    assert kit.decide(call(name, version=2)).versions.tolist() == [2]


def test_an_episode_that_is_asked_for_by_version_stays_with_it(root: Path) -> None:
    kit = EpisodeKit(root, {"serve": "all", **STABLE_1})
    first = kit.decide(call("a", version=2))
    assert (first.lanes, read(first.episode_tokens[0]).share) == (["pinned"], 1.0)
    second = kit.decide(go_on(first, "a"))
    assert (second.lanes, second.versions.tolist(), reasons(second)) == (["pinned"], [2], [Reason.NONE])
    assert kit.assigned() == {"request": 1, "token": 1}


def test_asking_for_another_version_in_mid_episode_begins_anew_there(kit: EpisodeKit) -> None:
    (name,) = named("stable")
    first = kit.decide(call(name))
    second = kit.decide(go_on(first, name, version=2))
    assert (second.versions.tolist(), reasons(second)) == ([2], [Reason.EPISODE_CUT])
    assert read(second.episode_tokens[0]).step == 2
    assert kit.assigned() == {"episode": 1, "request": 1}


def test_asking_for_the_version_that_it_has_leaves_an_episode_in_its_lane(kit: EpisodeKit) -> None:
    (name,) = named("control")
    first = kit.decide(call(name))
    second = kit.decide(go_on(first, name, version=1))
    assert (second.lanes, reasons(second)) == (["control"], [Reason.NONE])
