"""What a shadow may cost: its queue, its share of the processor, its thread. And that the counts add up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.monitoring.blocks import SHADOW_OUTCOMES
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.rollout.deployment import ShadowSettings
from steersman.serving.shadowing.cpu_budget import BURST_S
from steersman.serving.shadowing.shadow import ShadowRunner, daemon
from steersman.serving.shadowing.shadow_queue import (
    LINGER_S,
    LONGEST_WAIT_S,
    MOST_WAITING_ROWS,
    Offer,
    sample,
)
from unit.serving.conftest import SALT
from unit.serving.shadow_bench import OBSERVATIONS, OTHER, Bench, two_versions


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_versions(tmp_path_factory.mktemp("same"))


@pytest.fixture
def bench(same: Path) -> Bench:
    """The shadow is the stable version once more."""
    return Bench(same)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The shadow has a will of its own, and is loaded but once."""
    bench = Bench(two_versions(tmp_path_factory.mktemp("other"), weights=OTHER))
    bench.serve()
    return bench


def test_no_more_than_a_queue_full_waits(bench: Bench) -> None:
    bench.serve()
    for _ in range(MOST_WAITING_ROWS // 200 + 3):
        bench.decide()
    bench.run()
    offered = (MOST_WAITING_ROWS // 200 + 3) * 200
    outcomes = bench.outcomes()
    assert outcomes["agreed"] == MOST_WAITING_ROWS // 200 * 200
    assert outcomes["dropped"] == offered - outcomes["agreed"]


def test_a_shadow_stays_within_its_time(bench: Bench) -> None:
    """64 rows take 40 ms of CPU time and are offered every 20 ms: an eighth of one core is a sixteenth."""
    bench.serve(cpu=0.125)
    bench.clocks.step_s = 0.04
    begun_s, spent_s, offered = bench.clocks.now_s, 0.0, 0
    for _ in range(500):
        bench.decide(OBSERVATIONS[:64])
        offered += 64
        bench.clocks.now_s += LINGER_S
        while bench.runner.step():
            spent_s += 0.04
            bench.clocks.now_s += 0.04
    elapsed_s = bench.clocks.now_s - begun_s
    assert 0.9 * 0.125 * elapsed_s < spent_s <= 0.125 * (elapsed_s + BURST_S) + 0.04
    bench.clocks.now_s += LONGEST_WAIT_S
    bench.runner.step()
    outcomes = bench.outcomes()
    assert outcomes["agreed"] == pytest.approx(spent_s / 0.04 * 64)
    assert sum(outcomes.values()) == offered


def test_what_waits_for_more_than_a_second_is_dropped(bench: Bench) -> None:
    bench.serve()
    bench.decide()
    bench.clocks.now_s += LONGEST_WAIT_S
    assert not bench.runner.step()
    assert bench.outcomes() == {"dropped": 200}


def test_rows_wait_for_company_but_not_for_long(bench: Bench) -> None:
    bench.serve()
    bench.decide(OBSERVATIONS[:2])
    assert not bench.runner.step()
    bench.decide(OBSERVATIONS[:62])
    assert bench.runner.step()
    assert bench.outcomes() == {"agreed": 64}
    bench.decide(OBSERVATIONS[:2])
    bench.clocks.now_s += LINGER_S
    assert bench.runner.step()
    assert not bench.runner.step()


def test_another_routing_table_replaces_the_shadow(bench: Bench) -> None:
    kit = bench.serve()
    routing = kit.engine.routing
    policy = routing.ready("toy")
    bench.decide()
    kit.engine.swap(RoutingTable(2, {"toy": PolicyRuntime(policy.route, policy.lanes)}))
    bench.run()
    assert bench.outcomes() == {"agreed": 200}
    bench.decide()
    strict = policy.route.model_copy(update={"shadow": ShadowSettings(version=2, tolerance=0.0)})
    kit.engine.swap(RoutingTable(3, {"toy": PolicyRuntime(strict, policy.lanes)}))
    bench.run()
    assert bench.outcomes() == {"agreed": 200, "dropped": 200}
    kit.engine.swap(RoutingTable(4, {"toy": PolicyRuntime(policy.route, policy.lanes[:1])}))
    bench.decide()
    bench.run()
    assert sum(bench.outcomes().values()) == 400


def test_the_thread_takes_the_turns_and_ends_when_told(bench: Bench) -> None:
    bench.serve()
    threads: list[threading.Thread] = []

    def spawn(run: Callable[[], None]) -> threading.Thread:
        threads.append(daemon(run))
        return threads[-1]

    runner = ShadowRunner(SALT, spawn)
    runner.follow(RoutingTable())
    assert not threads
    for _ in range(2):
        runner.follow(bench.kit.engine.routing)
    (thread,) = threads
    assert thread.daemon
    bench.kit.engine._shadows = runner
    bench.decide()
    bench.kit.engine.close()
    assert not thread.is_alive()
    assert sum(bench.outcomes().values()) == 200


@settings(max_examples=40, deadline=None)
@given(
    share=st.sampled_from([0.0, 0.3, 1.0]),
    turns=st.lists(
        st.tuples(
            st.lists(st.integers(1, 150), max_size=3),
            st.sampled_from(["greedy", "sampled"]),
            st.floats(0.0, 1.2),
            st.integers(0, 4),
            st.floats(0.0, 0.2),
        ),
        max_size=12,
    ),
)
def test_outcomes_add_up_to_what_was_offered(
    served: Bench, share: float, turns: list[tuple[list[int], Any, float, int, float]]
) -> None:
    bench, before = served, served.kit.counts("toy", "shadow")
    bench.begin(share)
    offered = 0
    for sizes, mode, elapsed_s, steps, cost_s in turns:
        for rows in sizes:
            ids = bench.decide(OBSERVATIONS[:rows], mode=mode).decision_ids
            offered += int(np.count_nonzero(ids.view("<u4")[:, 0] < share * 2**32))
        bench.clocks.now_s += elapsed_s
        bench.clocks.step_s = cost_s
        for _ in range(steps):
            bench.runner.step()
    bench.runner.follow(RoutingTable())
    bench.runner.step()
    after = bench.kit.counts("toy", "shadow")
    outcomes = after.shadow - before.shadow
    assert outcomes.sum() == offered
    assert (after.sources - before.sources).sum() == offered - outcomes[SHADOW_OUTCOMES.index("dropped")]
    assert not after.assignments.any()


def test_a_part_of_what_was_offered_is_its_rows(bench: Bench) -> None:
    bench.serve()
    kept: list[Offer] = []

    def keep(_: Any, work: Any, ids: Any, rows: Any) -> None:
        offered = sample(work, ids, rows, 1.0, 0.0)
        assert offered is not None
        kept.append(offered)

    bench.runner.offer = keep  # type: ignore[assignment, method-assign]
    bench.decide(OBSERVATIONS, np.ones((200, 3)), episode_starts=[True, False] * 100)
    part = kept[0].part(150, 153)
    assert part.columns.rows == part.left == 3
    assert np.array_equal(part.columns.observations["obs"], OBSERVATIONS[150:153])
    assert part.columns.action_mask is not None
    assert part.columns.action_mask.shape == (3, 3)
    assert part.columns.starts is not None
    assert part.columns.starts.tolist() == [True, False, True]
