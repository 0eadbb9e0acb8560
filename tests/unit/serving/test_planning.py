"""From deployments and bundles to lanes: what runs, what drains, what is refused, and what stays."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError, BundleNotFoundError, SteersmanError, UsageError
from steersman.bundle.specs import Contract, DiscreteAction
from steersman.monitoring.blocks import Allocator
from steersman.monitoring.errors import CountersFullError
from steersman.serving.planning.catalog import UnloadableError
from steersman.serving.planning.planner import Before, Plan, Planner
from steersman.serving.rollout.assignment import BUCKETS
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.snapshot import PolicyRoute
from steersman.serving.rollout.state import DeploymentState
from support.toy_bundle import discrete_contract, publish_toy

GRACE_S = 60.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """A repository with versions 1, 2 and 3 of `toy`, a planner, and a clock that is told the time."""

    def __init__(self, root: Path, cells: int = 100_000) -> None:
        self.root = root
        self.now = START
        self.planner = Planner(root, {}, (), Allocator(0, cells), clock=lambda: self.now, grace_s=GRACE_S)
        self.generation = 0
        self.last: Plan | None = None
        self.proven: tuple[Any, ...] = ()

    def plan(
        self, *, cut: bool = False, rollout_id: str = "r1", look: bool = True, **fields: Any
    ) -> PolicyRoute:
        """The next plan, with everything planned before proven."""
        self.generation += 1
        before = Before(self.last.lanes if self.last else (), self.proven, frozenset({"toy"} if cut else ()))
        self.last = self.planner.plan(
            self.generation, {"toy": state(rollout_id, **fields)}, before, look=look
        )
        return self.route

    def prove(self) -> None:
        """Workers answer in all lanes of the last plan."""
        assert self.last is not None
        self.proven = self.last.lanes

    @property
    def route(self) -> PolicyRoute:
        assert self.last is not None
        return next(route for route in self.last.snapshot.policies if route.policy == "toy")

    @property
    def problems(self) -> list[tuple[int, str, str]]:
        assert self.last is not None
        return [(problem.version, problem.lane, problem.kind) for problem in self.last.problems]

    def arrive(self, version: int) -> None:
        """A version with other specs is there now."""
        (self.root / "toy" / f"other-{version}").rename(self.root / "toy" / str(version))

    def damage(self, version: int) -> None:
        path = self.root / "toy" / str(version) / "policy.onnx"
        path.write_bytes(path.read_bytes() + b"x")


def state(rollout_id: str = "", **fields: Any) -> DeploymentState:
    deployment = Deployment.model_validate({"policy": "toy", **fields})
    return DeploymentState(deployment=deployment, rollout_id=rollout_id)


def canary(stable: object, version: object, share: float = 0.25, **more: Any) -> dict[str, Any]:
    return {"lanes": {"stable": {"version": stable}, "canary": {"version": version, "share": share}, **more}}


def summary(route: PolicyRoute) -> list[tuple[str, int, str]]:
    return [(lane.lane, lane.version, lane.role) for lane in route.lanes]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 2 and 3 of `toy`, and a version 4 with other specs that waits beside them."""
    root = tmp_path_factory.mktemp("published")
    for contract in (None, None, None, other_contract()):
        publish_toy(root, contract=contract)
    (root / "toy" / "4").rename(root / "toy" / "other-4")
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "bundles")
    return tmp_path / "bundles"


@pytest.fixture
def bench(root: Path) -> Bench:
    return Bench(root)


def other_contract() -> Contract:
    contract = discrete_contract()
    return contract.model_copy(update={"action": DiscreteAction(n=3, start=7)})


def test_without_a_deployment_the_newest_version_runs(bench: Bench) -> None:
    (route,) = bench.planner.plan(1).snapshot.policies
    assert summary(route) == [("stable", 3, "open")]
    assert [(info.version, info.state) for info in route.versions] == [
        (3, "routed"),
        (2, "available"),
        (1, "available"),
    ]


def test_every_kind_of_lane_is_planned(bench: Bench) -> None:
    lanes = canary(1, "next", 0.25, control={"share": 0.5}, shadow={"version": 2, "share": 0.1})
    route = bench.plan(**lanes, labels={"next": 3}, serve="all")
    assert summary(route) == [
        ("stable", 1, "open"),
        ("control", 1, "open"),
        ("canary", 3, "open"),
        ("shadow", 2, "shadow"),
        ("pinned", 2, "pinned"),
    ]
    assert {lane.lane: lane.buckets for lane in route.lanes[:3]} == {
        "stable": (BUCKETS // 4, BUCKETS // 2),
        "control": (BUCKETS // 2, BUCKETS),
        "canary": (0, BUCKETS // 4),
    }
    assert [lane.share for lane in route.lanes] == [0.25, 0.5, 0.25, 0.1, 0.0]
    assert (route.rollout_id, dict(route.labels)) == ("r1", {"next": 3})
    assert route.shadow is not None


def test_arms_share_the_episodes_and_stable_answers_what_names_none(bench: Bench) -> None:
    share = {"share": 0.5}
    route = bench.plan(arms={"b": {"version": 2, **share}, "a": {"version": 1, **share}})
    assert summary(route) == [("stable", 3, "open"), ("a", 1, "open"), ("b", 2, "open")]
    assert [lane.buckets for lane in route.lanes] == [(0, 0), (0, BUCKETS // 2), (BUCKETS // 2, BUCKETS)]


def test_what_is_served_beside_the_lanes(bench: Bench) -> None:
    assert summary(bench.plan(serve={"latest": 2}))[1:] == [("pinned", 2, "pinned")]
    assert summary(bench.plan(serve={"specific": [1]}))[1] == ("pinned", 1, "pinned")
    assert summary(bench.plan(labels={"old": 1}))[1] == ("pinned", 1, "pinned")


def test_counters_stay_where_they_are_while_a_share_moves(bench: Bench) -> None:
    before = bench.plan(**canary(1, 2, 0.1))
    after = bench.plan(**canary(1, 2, 0.9))
    assert [lane.block for lane in before.lanes] == [lane.block for lane in after.lanes]


def test_a_closed_lane_drains_until_its_grace_is_over(bench: Bench) -> None:
    bench.plan(**canary(1, 2))
    assert summary(bench.plan(**canary(1, 3)))[1:] == [("canary", 3, "open"), ("canary", 2, "draining")]
    draining = bench.route.lanes[2]
    assert (draining.share, draining.buckets, draining.ends) == (
        0,
        (0, 0),
        START + timedelta(seconds=GRACE_S),
    )
    bench.now += timedelta(seconds=GRACE_S / 2)
    assert bench.plan(**canary(1, 3)).lanes[2].ends == draining.ends
    bench.now += timedelta(seconds=GRACE_S / 2)
    assert summary(bench.plan(**canary(1, 3)))[2:] == []


def test_a_promoted_canary_goes_on_as_stable_and_the_old_stable_drains(bench: Bench) -> None:
    bench.plan(**canary(1, 2, control={"share": 0.1}))
    route = bench.plan(lanes={"stable": {"version": 2}})
    assert summary(route) == [("stable", 2, "open"), ("stable", 1, "draining"), ("control", 1, "draining")]


def test_a_cut_lane_does_not_drain_and_takes_earlier_ones_of_its_version_along(bench: Bench) -> None:
    bench.plan(**canary(1, 3))
    bench.plan(**canary(2, 3))
    assert ("stable", 1, "draining") in summary(bench.route)
    assert summary(bench.plan(cut=True, lanes={"stable": {"version": 2}})) == [
        ("stable", 2, "open"),
        ("stable", 1, "draining"),
    ]


def test_a_shadow_does_not_drain(bench: Bench) -> None:
    bench.plan(lanes={"stable": {"version": 1}, "shadow": {"version": 2}})
    assert summary(bench.plan(lanes={"stable": {"version": 1}})) == [("stable", 1, "open")]


def test_a_new_version_is_picked_up_and_the_old_one_drains(bench: Bench) -> None:
    bench.plan()
    publish_toy(bench.root)
    assert summary(bench.plan(look=False)) == [("stable", 3, "open")]
    assert summary(bench.plan()) == [("stable", 4, "open"), ("stable", 3, "draining")]


def test_a_new_version_that_is_damaged_changes_nothing_but_is_told(bench: Bench) -> None:
    bench.plan()
    bench.prove()
    broken = publish_toy(bench.root)
    bench.damage(broken.manifest.version)
    assert summary(bench.plan()) == [("stable", 3, "open")]
    assert bench.problems == [(4, "stable", "content")]
    (info, *_) = bench.route.versions
    assert (info.version, info.state, "content was changed" in info.detail) == (4, "failed", True)
    assert str(bench.root) not in info.detail


def test_a_damaged_newest_version_is_passed_over_at_the_start(bench: Bench) -> None:
    bench.damage(3)
    assert summary(bench.plan()) == [("stable", 2, "open")]
    assert bench.problems == [(3, "stable", "content")]


def test_a_version_that_is_mended_is_taken_at_the_next_look(bench: Bench) -> None:
    path = bench.root / "toy" / "3" / "policy.onnx"
    good = path.read_bytes()
    bench.damage(3)
    bench.plan()
    path.write_bytes(good)
    assert summary(bench.plan())[0] == ("stable", 3, "open")
    assert bench.problems == []


def test_latest_never_falls_behind_what_answers_already(bench: Bench) -> None:
    bench.plan()
    bench.prove()
    bench.damage(3)
    assert summary(bench.plan()) == [("stable", 3, "open")]
    assert bench.problems == [(3, "stable", "content")]


def test_a_version_that_workers_refuse_gives_way_to_what_answered(bench: Bench) -> None:
    bench.plan(**canary(1, 2))
    bench.prove()
    for lane in bench.plan(**canary(3, 2)).lanes:
        if lane.version == 3:
            bench.planner.catalog.refuse(lane.digest, "its certificate does not hold")
    assert summary(bench.plan(**canary(3, 2))) == [("stable", 1, "open"), ("canary", 2, "open")]
    assert bench.problems == [(3, "stable", "workers")]
    bench.planner.catalog.forgive()
    assert summary(bench.plan(**canary(3, 2)))[0] == ("stable", 3, "open")


def test_a_canary_that_cannot_be_loaded_leaves_its_episodes_to_stable(bench: Bench) -> None:
    bench.damage(2)
    assert summary(bench.plan(**canary(1, 2))) == [("stable", 1, "open")]
    assert bench.problems == [(2, "canary", "content")]


def test_a_policy_without_any_version_that_can_be_trusted_has_no_lanes(bench: Bench) -> None:
    for version in (1, 2, 3):
        bench.damage(version)
    assert bench.plan().lanes == ()
    assert bench.last is not None
    assert isinstance(bench.last.failures["toy"], BundleCorruptError)


def test_a_defect_shows_callers_nothing_of_the_inside(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "I/O error", "/secret/folder")

    monkeypatch.setattr(bench.planner.catalog, "version", broken)
    bench.plan()
    assert bench.last is not None
    (problem,) = bench.last.problems
    assert problem.message == "a defect was met while reading it; the server's log has the details"
    assert "/secret/folder" in caplog.text


def test_a_policy_whose_folder_goes_away_goes_on(bench: Bench, tmp_path: Path) -> None:
    publish_toy(bench.root, "other")
    bench.plan()
    bench.prove()
    (bench.root / "toy").rename(tmp_path / ".gone")
    assert summary(bench.plan()) == [("stable", 3, "open")]
    assert [route.policy for route in bench.last.snapshot.policies] == ["other", "toy"]


def test_latest_does_not_change_the_specs_under_callers(bench: Bench) -> None:
    bench.plan()
    bench.prove()
    bench.arrive(4)
    assert summary(bench.plan()) == [("stable", 3, "open")]
    assert bench.problems == [(4, "stable", "specs")]
    assert "action: start 0 and 7" in bench.route.versions[0].detail
    assert summary(bench.plan(lanes={"stable": {"version": 4}})) == [("stable", 4, "open")]


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"lanes": {"stable": {"version": 7}}}, BundleNotFoundError, "no version 7"),
        (canary(1, 7), BundleNotFoundError, "no version 7"),
        (canary(1, 4), SteersmanError, "other specs.*action: start 0 and 7"),
        ({"lanes": {"stable": {"version": 1}, "shadow": {"version": 4}}}, SteersmanError, "other specs"),
        (
            {"lanes": {"stable": {"version": 1}}, "arms": {"a": {"version": 4, "share": 1}}},
            SteersmanError,
            "other specs",
        ),
        ({"serve": {"specific": [9]}}, BundleNotFoundError, "no version 9"),
        ({"labels": {"champion": 9}}, BundleNotFoundError, "no version 9"),
        (canary(1, 2), BundleCorruptError, "changed"),
        ({"safety": {"fallback": [{"rules": [{"when": "lefft > 1.0", "then": 1}]}]}}, UsageError, "lefft"),
    ],
)
def test_a_change_that_names_what_cannot_be_had_is_refused(
    bench: Bench, fields: dict[str, Any], kind: type[SteersmanError], said: str
) -> None:
    bench.damage(2)
    bench.arrive(4)
    with pytest.raises(kind, match=said):
        bench.planner.check(state(**fields))


def test_a_label_cannot_move_to_what_workers_refused(bench: Bench) -> None:
    bench.planner.catalog.refuse(
        bench.planner.catalog.version("toy", 2).digest, "its certificate does not hold"
    )
    with pytest.raises(UnloadableError, match="certificate"):
        bench.planner.check(state(labels={"champion": 2}))


def test_too_many_lanes_for_the_counters_fail_the_change_alone(bench: Bench) -> None:
    small = Bench(bench.root, cells=bench.plan().lanes[0].block.spec.cells)
    assert summary(small.plan(lanes={"stable": {"version": 1}})) == [("stable", 1, "open")]
    with pytest.raises(CountersFullError):
        small.planner.check(state(**canary(1, 2)))
    assert summary(small.plan(lanes={"stable": {"version": 1}})) == [("stable", 1, "open")]
    small.prove()
    assert summary(small.plan(lanes={"stable": {"version": 2}})) == [("stable", 1, "open")]
    assert small.problems == [(2, "stable", "counters")]


def test_a_check_places_no_counters(bench: Bench) -> None:
    allocator = Allocator(0, 100_000)
    planner = Planner(bench.root, {}, (), allocator)
    planner.check(state(**canary(1, 2)))
    assert allocator.placed == ()


def test_what_an_earlier_run_served_drains_in_the_next_one(bench: Bench) -> None:
    bench.plan(**canary(1, 2))
    assert bench.last is not None
    again = Planner(bench.root, {}, (), Allocator(0, 100_000), clock=lambda: bench.now, grace_s=GRACE_S)
    before = again.recall(bench.last.snapshot)
    route = again.plan(2, {"toy": state(**canary(1, 3))}, before).snapshot.policies[0]
    assert summary(route) == [("stable", 1, "open"), ("canary", 3, "open"), ("canary", 2, "draining")]


def test_an_earlier_run_whose_bundles_are_gone_is_no_hindrance(bench: Bench, tmp_path: Path) -> None:
    bench.plan(**canary(1, 2))
    assert bench.last is not None
    bench.damage(2)
    before = Planner(bench.root, {}, (), Allocator(0, 100_000)).recall(bench.last.snapshot)
    assert [lane.route.version for lane in before.lanes] == [1]


def test_a_version_that_was_written_over_replaces_itself(bench: Bench) -> None:
    bench.plan()
    old = bench.route.lanes[0].digest
    _overwrite(bench.root, 3)
    route = bench.plan()
    assert [(lane.version, lane.digest == old, lane.role) for lane in route.lanes] == [
        (3, False, "open"),
        (3, True, "draining"),
    ]


def _overwrite(root: Path, version: int) -> None:
    """Another bundle under the same number, as with `export --overwrite`."""
    manifest = root / "toy" / str(version) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"PPO"', '"A2C"'))
    Bundle.open(manifest.parent).verify()


def test_a_version_that_lacks_a_mode_of_the_stable_one_may_not_answer_beside_it(root: Path) -> None:
    contract = discrete_contract()
    greedy = contract.model_copy(update={"outputs": ("action", "distribution", "value")})
    publish_toy(root, contract=greedy)
    bench = Bench(root)
    assert summary(bench.plan(**canary(3, 4))) == [("stable", 3, "open")]
    with pytest.raises(SteersmanError, match="no mode sampled"):
        bench.planner.check(state(**canary(3, 4)))
    shadowed = bench.plan(lanes={"stable": {"version": 3}, "shadow": {"version": 4}})
    assert summary(shadowed) == [("stable", 3, "open"), ("shadow", 4, "shadow")]
