"""How deployments move: what begins a rollout, what ends it, and that a growing canary keeps its episodes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.errors import UsageError
from steersman.serving.rollout import changes
from steersman.serving.rollout.assignment import arm_buckets, bucket, canary_buckets
from steersman.serving.rollout.deployment import CANARY, Deployment, parse_deployment
from steersman.serving.rollout.errors import ChangeRefusedError
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.yaml_text import PlainLoader

SHARES = st.floats(min_value=0, max_value=1)
NEWEST = 9
YAML_PARTS = [
    *("policy: toy", "labels: ", "serve: ", "2024-13-45", "x", "1:99", "0x", "<<: ", "!!python/name:os "),
    *("!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs "),
    *("? ", "- ", "[", "]", "{", "}", ": ", ", ", "\n", "  ", '"', "&a ", "*a "),
]


def ids() -> Callable[[], str]:
    """Ids of rollouts: r1, r2, ..."""
    numbers = count(1)
    return lambda: f"r{next(numbers)}"


def deployment(**fields: Any) -> Deployment:
    return Deployment.model_validate({"policy": "toy", **fields})


def canary(version: object = 4, share: float = 0.1, **lanes: Any) -> Deployment:
    return deployment(
        lanes={"stable": {"version": 3}, "canary": {"version": version, "share": share}, **lanes}
    )


def arms(**versions: int) -> Deployment:
    share = 1 / len(versions)
    return deployment(arms={name: {"version": v, "share": share} for name, v in versions.items()})


def applied(wanted: Deployment, new_id: Callable[[], str] | None = None) -> DeploymentState:
    nothing = DeploymentState(deployment=Deployment(policy="toy"))
    return changes.apply(nothing, wanted, NEWEST, new_id or ids()).state


def test_the_first_deployment_is_revision_1_and_begins_a_rollout_if_it_has_one() -> None:
    plain, rollout = applied(deployment()), applied(canary())
    assert (plain.revision, plain.rollout_id, plain.epoch) == (1, "", 0)
    assert (rollout.revision, rollout.rollout_id, rollout.epoch) == (1, "r1", 1)


def test_what_is_so_already_is_no_change() -> None:
    state = applied(canary())
    again = changes.apply(state, canary(), NEWEST, ids())
    assert again.lines == ()
    assert again.state is state


@pytest.mark.parametrize(
    ("before", "after", "begins"),
    [
        (canary(4, 0.1), canary(4, 0.3), False),
        (canary(4, 0.3), canary(4, 0.1), False),
        (canary(4, 0.1), canary(4, 0.1, control={"share": 0.1}), False),
        (canary(4, 0.1), canary(5, 0.1), True),
        (
            canary(4, 0.1),
            deployment(lanes={"stable": {"version": 2}, "canary": {"version": 4, "share": 0.1}}),
            False,
        ),
        (canary(4, 0.1), arms(a=3, b=4), True),
        (arms(a=3, b=4), arms(a=3, b=5), True),
        (arms(a=3, b=4), arms(a=3, c=4), True),
        (deployment(), canary(), True),
        (deployment(), deployment(lanes={"shadow": {"version": 4}}), False),
    ],
)
def test_another_allocation_of_episodes_begins_a_rollout_and_nothing_else_does(
    before: Deployment, after: Deployment, begins: bool
) -> None:
    new_id = ids()
    state = applied(before, new_id)
    moved = changes.apply(state, after, NEWEST, new_id).state
    assert (moved.rollout_id != state.rollout_id, moved.epoch - state.epoch) == (begins, int(begins))


def test_a_label_that_moves_under_a_canary_begins_a_rollout() -> None:
    def labelled(version: int) -> Deployment:
        return deployment(lanes={"canary": {"version": "next", "share": 0.1}}, labels={"next": version})

    new_id = ids()
    state = applied(labelled(4), new_id)
    moved = changes.apply(state, labelled(5), NEWEST, new_id)
    assert moved.state.rollout_id == "r2"
    assert "label next: 4 -> 5" in moved.lines


def test_latest_in_a_rollout_becomes_the_number_that_it_means_now() -> None:
    state = applied(canary("latest"))
    assert state.deployment.lanes.canary is not None
    assert state.deployment.lanes.canary.version == NEWEST
    assert applied(deployment()).deployment.lanes.stable.version == "latest"


@given(st.lists(SHARES, min_size=1, max_size=8), st.text(min_size=1))
def test_no_sequence_of_shares_moves_an_episode_out_while_the_share_grows(
    shares: list[float], episode: str
) -> None:
    state, was_in, last = applied(canary(4, 0.0)), False, 0.0
    for share in shares:
        state = changes.set_share(state, CANARY, share, ids()).state
        lanes = state.deployment.lanes
        assert lanes.canary is not None
        first, end = canary_buckets(canary=lanes.canary.share)[CANARY]
        is_in = first <= bucket(state.rollout_id, episode) < end
        assert is_in or not (was_in and share >= last)
        was_in, last = is_in, share
    assert state.rollout_id == "r1"


@given(st.integers(2, 6), st.integers(0, 5), SHARES)
def test_arms_stay_whole_whatever_one_of_them_gets(number: int, which: int, share: float) -> None:
    names = [f"a{i}" for i in range(number)]
    lane = names[which % number]
    moved = changes.set_share(applied(arms(**dict.fromkeys(names, 3))), lane, share, ids()).state
    found = {name: arm.share for name, arm in moved.deployment.arms.items()}
    assert found[lane] == share
    assert sum(found.values()) == pytest.approx(1)
    assert max(end for _, end in arm_buckets(found).values()) == 2**32


def test_arms_that_move_begin_a_rollout() -> None:
    new_id = ids()
    state = applied(arms(a=3, b=4), new_id)
    assert changes.set_share(state, "a", 0.2, new_id).state.rollout_id == "r2"


@pytest.mark.parametrize("lane", ["shadow", "control", "other", "canary"])
def test_a_share_of_a_lane_that_is_not_there_is_refused(lane: str) -> None:
    with pytest.raises(ChangeRefusedError) as refused:
        changes.set_share(applied(deployment()), lane, 0.1, ids())
    assert refused.value.reason == "lane_not_found"


def test_shares_that_do_not_fit_are_refused() -> None:
    state = applied(canary(4, 0.5, control={"share": 0.4}))
    with pytest.raises(UsageError, match="together"):
        changes.set_share(state, CANARY, 0.7, ids())
    with pytest.raises(ChangeRefusedError, match="what the others leave"):
        changes.set_share(state, "stable", 0.7, ids())


def test_promotion_pins_the_number_and_ends_the_rollout() -> None:
    state = applied(canary("latest", 0.5, control={"share": 0.1}, shadow={"version": 2}))
    moved = changes.promote(state, "", ids())
    lanes = moved.state.deployment.lanes
    assert (lanes.stable.version, lanes.canary, lanes.control) == (NEWEST, None, None)
    assert lanes.shadow is not None
    assert (moved.state.rollout_id, moved.state.epoch, moved.cuts) == ("", 1, False)
    assert "stable: version 3 -> 9" in moved.lines
    assert "canary: closed, version 9 at 50 %" in moved.lines


def test_an_arm_can_be_promoted() -> None:
    moved = changes.promote(applied(arms(a=3, b=4)), "b", ids()).state.deployment
    assert (moved.lanes.stable.version, dict(moved.arms)) == (4, {})


@pytest.mark.parametrize("lane", ["", "canary", "stable", "shadow", "b"])
def test_what_is_no_rollout_cannot_be_promoted(lane: str) -> None:
    with pytest.raises(ChangeRefusedError):
        changes.promote(applied(deployment(lanes={"shadow": {"version": 2}})), lane, ids())


def test_a_rollback_closes_everything_but_stable_and_cuts_its_episodes() -> None:
    state = applied(canary(4, 0.5, control={"share": 0.1}, shadow={"version": 2}))
    moved = changes.end_rollout(state, ids())
    assert moved.state.deployment.lanes == canary().lanes.model_copy(update={"canary": None})
    assert moved.cuts
    assert not changes.end_rollout(state, ids(), keep_episodes=True).cuts


def test_going_back_opens_no_canary_unless_its_revision_is_named() -> None:
    new_id = ids()
    first = applied(canary(), new_id)
    promoted = changes.promote(first, "", new_id).state
    back = changes.go_back(promoted, first.deployment, new_id, whole=False)
    assert (back.state.deployment.lanes.stable.version, back.state.deployment.lanes.canary) == (3, None)
    whole = changes.go_back(promoted, first.deployment, new_id, whole=True)
    assert whole.state.deployment == first.deployment
    assert whole.state.rollout_id == "r2"
    assert (back.state.revision, back.cuts) == (3, True)


def test_a_document_survives_being_stored() -> None:
    text = """
    policy: toy
    lanes: {stable: {version: champion}, canary: {version: 4, share: 0.05}, shadow: {version: latest}}
    serve: {specific: [1, 2]}
    labels: {champion: 3}
    safety:
      guard: {bounds: off, ranges: {left: {low: -1.0}}}
      fallback: [{rules: [{when: left > 1.0, then: 2}]}, {preference: [0, 1]}, {constant: 1}]
    """
    state = DeploymentState(deployment=parse_deployment(text, where="text"))
    assert parse_deployment(state.document, where="stored") == state.deployment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policy: &a toy\nlabels: {x: *a}", "anchors"),
        ("policy: toy\npolicy: tow", "twice"),
        ("[" * 100_000, "not YAML"),
        ("policy: toy\nlanes: {stable: {version: gone}}", "not in labels"),
        ("policy: 2024-13-45", "not of the kind"),
        ("policy: !!int x", "not of the kind"),
        ("policy: !!timestamp x", "not of the kind"),
        ("policy: !!float x", "not of the kind"),
        ("policy: !!bool x", "not of the kind"),
        (f"policy: {'1' * 5000}", "not of the kind"),
        (f"policy: 0x{'f' * 5000}", "cannot be shown"),
        ("{[a]: 1}", "not YAML"),
        ("? [a]\n: 1\n? [a]\n: 2", "not YAML"),
        (f"policy: toy\nlabels: {{{', '.join(f'a{i}: 1' for i in range(257))}}}", "labels"),
        (f"policy: toy\nserve: {{specific: {[*range(1, 66)]}}}", "specific"),
    ],
)
def test_hostile_or_mistaken_documents_end_in_a_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_deployment(text, where="text")


def test_keys_are_compared_in_linear_time() -> None:
    """A quadratic comparison of so many takes minutes."""
    node = yaml.MappingNode("m", [(key := yaml.ScalarNode("s", str(i)), key) for i in range(100_000)])
    with pytest.raises(yaml.YAMLError, match="'7' is there twice"):
        PlainLoader("").construct_mapping(
            yaml.MappingNode("m", [*node.value, (yaml.ScalarNode("s", "7"), yaml.ScalarNode("s", "7"))])
        )


@given(st.text(max_size=200) | st.lists(st.sampled_from(YAML_PARTS), max_size=12).map("".join))
def test_no_text_ends_in_anything_but_a_line(text: str) -> None:
    with suppress(UsageError):
        parse_deployment(text, where="text")
