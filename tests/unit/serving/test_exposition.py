"""What the supervisor adds to the workers' counters: earlier blocks of a lane, and what people ordered."""

from __future__ import annotations

from typing import Any

import pytest

from steersman.monitoring.blocks import BREAKER_STATES, BREAKER_TRANSITIONS, Allocator, PlacedBlock
from steersman.monitoring.metrics import METRICS
from steersman.safety.breaker_states import TRANSITIONS, BreakerState
from steersman.safety.commands import NO_COMMANDS, CommandList, KillSwitch, Lease, Override
from steersman.serving.planning.planner import Plan, Planner
from steersman.serving.supervising.exposition import placed_blocks
from steersman.serving.supervising.exposition_commands import command_series
from support.toy_bundle import publish_toy

SECOND = 10**9
NOW = 1_700_000_000 * SECOND


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """One version in one lane."""
    root = tmp_path_factory.mktemp("planned")
    publish_toy(root)
    return Planner(root, {}, (), Allocator(0, 100_000)).plan(generation=1)


def override(policy: str = "pole", until: int = NOW + 60 * SECOND, **more: Any) -> Override:
    made = {"id": "o", "kind": "fallback", "actor": "a", "reason": "r", "set_unix_nanos": NOW - 1, **more}
    return Override(policy=policy, expires_unix_nanos=until, **made)


def series(listed: CommandList, policies: tuple[str, ...] = ("pole",)) -> dict[tuple[str, ...], Any]:
    """Values by metric, without its prefix, and labels."""
    found = [
        ((metric.name.removeprefix("steersman_"), *labels), value)
        for metric, labels, value in command_series(listed, policies, NOW)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_nothing_ordered_is_0_from_the_start() -> None:
    found = series(NO_COMMANDS)
    assert found["kill_switch",] == 0
    assert found["overrides", "pole", "policy", "pin"] == 0
    assert {key[0] for key in found} == {"kill_switch", "overrides"}
    assert not any(found.values())


def test_the_kill_switch_is_seen() -> None:
    assert series(CommandList(kill_switch=KillSwitch(actor="a")))["kill_switch",] == 1


def test_overrides_are_counted_by_what_they_do_and_for_whom() -> None:
    listed = CommandList(
        overrides=(
            override(id="1"),
            override(id="2", episode_id="e1", kind="pin", action=1, until=NOW + 5 * SECOND),
            override(id="3", episode_id="e2", kind="pin", action=0),
            override(id="4", policy="gone", kind="freeze", version=2),
        )
    )
    found = series(listed)
    assert found["overrides", "pole", "policy", "fallback"] == 1
    assert found["overrides", "pole", "episode", "pin"] == 2
    assert found["overrides", "pole", "lane", "pin"] == 0
    assert found["overrides", "gone", "policy", "freeze"] == 1
    assert found["override_expiry_timestamp_seconds", "pole"] == NOW / SECOND + 5


def test_overrides_that_are_over_are_not_in_force() -> None:
    found = series(CommandList(overrides=(override(until=NOW),)))
    assert found["overrides", "pole", "policy", "fallback"] == 0
    assert ("override_expiry_timestamp_seconds", "pole") not in found


@pytest.mark.parametrize(("until", "expired"), [(NOW + 1, 0), (NOW, 1), (NOW - SECOND, 1)])
def test_a_lease_says_when_it_ends_and_whether_it_did(until: int, expired: int) -> None:
    found = series(CommandList(leases=(Lease(policy="pole", until_unix_nanos=until),)))
    assert found["lease_expiry_timestamp_seconds", "pole"] == until / SECOND
    assert found["lease_expired", "pole"] == expired


def test_labels_fit_the_metrics() -> None:
    listed = CommandList(overrides=(override(),), leases=(Lease(policy="pole", until_unix_nanos=NOW),))
    for metric, labels, _ in command_series(listed, ["pole"], NOW):
        assert metric in METRICS
        assert len(labels) == len(metric.labels)


def test_breakers_and_counters_speak_of_the_same_states() -> None:
    assert set(BREAKER_STATES) == {str(state) for state in BreakerState}
    assert tuple((str(before), str(after)) for before, after in TRANSITIONS) == BREAKER_TRANSITIONS


def test_a_lane_keeps_what_it_counted_before_its_constraints_were_renamed(planned: Plan) -> None:
    [current] = [lane.placed for lane in planned.lanes]
    renamed = current.spec.model_copy(update={"constraints": ("torque",)})
    other = current.spec.model_copy(update={"lane": "canary"})
    allocator = Allocator(current.offset + current.spec.cells, 100_000)
    earlier, _ = allocator.place(renamed), allocator.place(other)
    ever = (current, *allocator.placed)
    assert placed_blocks(planned, ever) == [earlier, current], "the block in use is last"


def test_lanes_that_share_a_block_have_it_once(planned: Plan) -> None:
    twice = Plan(planned.snapshot, (*planned.lanes, *planned.lanes), {})
    found: list[PlacedBlock] = placed_blocks(twice, ())
    assert found == [planned.lanes[0].placed]
