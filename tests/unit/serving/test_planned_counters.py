"""Where lanes count: by the names of constraints and fallback members of the deployment in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steersman.monitoring.blocks import Allocator
from steersman.serving.planning.planner import Before, Plan, Planner
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.snapshot import LaneRoute
from steersman.serving.rollout.state import DeploymentState
from support.toy_bundle import publish_toy


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 2 and 3 of `toy`."""
    root = tmp_path_factory.mktemp("versions")
    for _ in range(3):
        publish_toy(root)
    return root


class Bench:
    def __init__(self, root: Path) -> None:
        self.planner = Planner(root, {}, (), Allocator(0, 100_000))
        self.last: Plan | None = None

    def plan(self, canary: int, **safety: Any) -> tuple[LaneRoute, ...]:
        """The lanes of version 1 with a canary."""
        lanes = {"stable": {"version": 1}, "canary": {"version": canary, "share": 0.25}}
        made = Deployment.model_validate({"policy": "toy", "lanes": lanes, "safety": safety})
        before = Before(self.last.lanes if self.last else ())
        states = {"toy": DeploymentState(deployment=made, rollout_id="r1")}
        self.last = self.planner.plan(1, states, before)
        [route] = self.last.snapshot.policies
        return route.lanes


@pytest.fixture
def bench(root: Path) -> Bench:
    return Bench(root)


def names(lane: LaneRoute) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return lane.block.spec.constraints, lane.block.spec.members


SAFETY = {
    "constraints": [{"name": "dwell", "dwell": {"min_s": 1.0}}],
    "fallback": [{"constant": 0}, {"name": "last", "preference": [1, 0]}],
    "unanswered": "fail",
}


def test_a_draining_lane_counts_by_the_new_names_too(bench: Bench) -> None:
    """A worker compiles one deployment for all lanes of a policy."""
    bench.plan(2)
    changed = bench.plan(3, **SAFETY)
    assert [(lane.lane, lane.version, lane.role) for lane in changed] == [
        ("stable", 1, "open"),
        ("canary", 3, "open"),
        ("canary", 2, "draining"),
    ]
    assert [names(lane) for lane in changed] == [(("dwell",), ("constant", "last"))] * 3


def test_names_that_come_back_go_on_where_they_were(bench: Bench) -> None:
    first = bench.plan(2)
    changed = bench.plan(2, **SAFETY)
    assert {lane.block.offset for lane in first}.isdisjoint(lane.block.offset for lane in changed)
    assert [lane.block for lane in bench.plan(2)] == [lane.block for lane in first]
    assert {placed.offset for placed in bench.planner.placed} == {
        lane.block.offset for lane in (*first, *changed)
    }


def test_another_limit_under_the_same_name_counts_in_the_same_place(bench: Bench) -> None:
    first = bench.plan(2, **SAFETY)
    slower = {**SAFETY, "constraints": [{"name": "dwell", "dwell": {"min_s": 9.0}}]}
    assert [lane.block for lane in bench.plan(2, **slower)] == [lane.block for lane in first]


def test_lanes_of_an_earlier_run_count_by_their_names(bench: Bench) -> None:
    bench.plan(2, **SAFETY)
    assert bench.last is not None
    recalled = bench.planner.recall(bench.last.snapshot)
    assert [names(lane.route) for lane in recalled.lanes] == [(("dwell",), ("constant", "last"))] * 2
