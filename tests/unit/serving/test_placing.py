"""How many rows are decided at once on the transport's thread, and which calls go to another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.dispatching.batching import make_plan
from steersman.serving.dispatching.placing import INLINE_DECIDE_S, NO_LIMIT, plan_places, rows_within
from steersman.serving.rollout.deployment import BatchingSettings

TIMINGS = st.dictionaries(st.sampled_from([1, 8, 32]), st.floats(1e-6, 1.0), max_size=3)


def policy(run: str, timings: dict[int, float]) -> Any:
    lane = SimpleNamespace(
        role="open",
        loaded=SimpleNamespace(timings=timings),
        contract=SimpleNamespace(observations=(SimpleNamespace(key="", size=4),)),
    )
    batching = BatchingSettings.model_validate({"run": run})
    return SimpleNamespace(lanes=(lane,), route=SimpleNamespace(batching=batching))


@given(TIMINGS, st.floats(1e-6, 1.0))
def test_the_rows_of_one_decide_take_no_longer_than_they_may(
    timings: dict[int, float], most_s: float
) -> None:
    rising = dict(zip(sorted(timings), sorted(timings.values()), strict=True))
    plan = make_plan(BatchingSettings(), rising)
    rows = rows_within(plan, most_s)
    assert rows >= 1
    assert rows in {1, NO_LIMIT} or plan.seconds(rows) <= most_s * (1 + 1e-9)
    assert rows == NO_LIMIT or plan.seconds(rows + 1) > most_s * (1 - 1e-9)


def test_a_quick_model_has_calls_of_few_rows_at_once_and_of_many_on_a_thread() -> None:
    (plan,) = plan_places({"toy": policy("auto", {1: 1e-4, 32: 1e-3})}).values()
    assert plan.inline_rows == pytest.approx(32 * INLINE_DECIDE_S / 1e-3, abs=1)
    assert plan.thread is not None


@pytest.mark.parametrize(
    ("run", "timings", "rows", "thread"),
    [
        ("inline", {1: 1e-4, 32: 1e-3}, 160, False),
        ("thread", {1: 1e-4, 32: 1e-3}, 0, True),
        ("auto", {1: 1e-2, 32: 1e-1}, 0, True),
        ("auto", {}, NO_LIMIT, True),
    ],
)
def test_what_the_deployment_says_is_obeyed(
    run: str, timings: dict[int, float], rows: int, thread: bool
) -> None:
    (plan,) = plan_places({"toy": policy(run, timings)}).values()
    assert (plan.inline_rows, plan.thread is not None) == (rows, thread)


def test_a_policy_without_a_version_has_no_place() -> None:
    assert plan_places({"toy": SimpleNamespace(lanes=())}) == {}  # type: ignore[dict-item]


@pytest.mark.parametrize(("elements", "rows"), [(0, 1), (3, 1), (4, 1), (12, 3)])
def test_rows_are_told_by_the_elements_of_a_call(elements: int, rows: int) -> None:
    (plan,) = plan_places({"toy": policy("auto", {})}).values()
    assert plan.rows(Call("toy", {"": RawTensor(np.zeros(elements), None, typed=True)})) == rows
    assert plan.rows(Call("toy", {})) == 1
