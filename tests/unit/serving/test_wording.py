"""What a change says of itself: whatever differs is named, and what is removed is called that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.settings_wording import MOST_LINES
from steersman.serving.rollout.wording import changed_lines

LEAN = {"name": "lean", "rules": [{"when": "a > 1.0", "then": 2}]}
FIRST = {"preference": [0, 1]}
SAFETY = {"guard": {"ranges": {"a": {"low": -1.0}}}, "fallback": [LEAN, FIRST]}

LIMITS = st.dictionaries(
    st.sampled_from("abc"), st.fixed_dictionaries({"low": st.integers(-3, 3)}), max_size=3
)
GUARDS = st.fixed_dictionaries(
    {}, optional={"bounds": st.sampled_from(["off", "fallback", "reject"]), "ranges": LIMITS}
)
CHAINS = st.lists(st.sampled_from([LEAN, FIRST, {"constant": 1}, {"constant": 2}]), max_size=3, unique_by=str)
SHADOWS = st.fixed_dictionaries(
    {"version": st.integers(1, 2)},
    optional={"cpu": st.sampled_from([0.1, 0.2]), "tolerance": st.sampled_from([0.0, 0.05])},
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "safety": st.fixed_dictionaries({}, optional={"guard": GUARDS, "fallback": CHAINS}),
        "labels": st.dictionaries(st.sampled_from(["champion", "next"]), st.integers(1, 3)),
        "serve": st.just("all") | st.fixed_dictionaries({"latest": st.integers(0, 2)}),
        "precision": st.sampled_from(["auto", "fp32", "int8"]),
        "batching": st.fixed_dictionaries({}, optional={"max_delay_ms": st.sampled_from([1.0, 2.0])}),
        "overload": st.sampled_from(["fallback", "reject"]),
        "lanes": st.fixed_dictionaries({}, optional={"shadow": SHADOWS}),
    },
)


def deployment(**fields: Any) -> Deployment:
    return Deployment.model_validate({"policy": "toy", **fields})


@given(DOCUMENTS, DOCUMENTS)
def test_there_are_lines_where_something_differs_and_only_there(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    one, other = deployment(**before), deployment(**after)
    lines = changed_lines(one, other)
    assert bool(lines) == (one != other)
    assert "settings: changed" not in lines
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (
            {"safety": SAFETY},
            {},
            [
                (
                    "safety: removed: fallback chain of 2 members (lean, preference), "
                    "guard {ranges: {a: {low: -1.0}}}"
                )
            ],
        ),
        ({"safety": {"fallback": [LEAN]}}, {}, ["safety: removed: fallback chain of 1 member (lean)"]),
        ({}, {"safety": {"fallback": [LEAN]}}, ["safety: set: fallback chain of 1 member (lean)"]),
        (
            {"safety": SAFETY},
            {"safety": {"guard": SAFETY["guard"]}},
            [
                (
                    "safety.fallback: removed, was {lean: {name: lean, "
                    "rules: {rules: [{when: a > 1.0, then: 2}]}}, preference: {preference: [0, 1]}}"
                )
            ],
        ),
        (
            {"safety": SAFETY},
            {"safety": {"guard": {"ranges": {"a": {"low": -2.0}}}, "fallback": [FIRST]}},
            [
                "safety.guard.ranges.a.low: -1.0 -> -2.0",
                "safety.fallback.lean: removed, was {name: lean, rules: {rules: [{when: a > 1.0, then: 2}]}}",
            ],
        ),
        (
            {"safety": {"fallback": [LEAN, FIRST]}},
            {"safety": {"fallback": [FIRST, LEAN]}},
            ["safety.fallback: asked in the order preference, lean"],
        ),
        (
            {"labels": {"champion": 3, "next": 4}},
            {"labels": {"next": 5}},
            ["label champion: removed, was version 3", "label next: 4 -> 5"],
        ),
        ({"batching": {"max_delay_ms": 5}}, {}, ["batching: removed: max_delay_ms 5.0"]),
        ({"precision": "int8"}, {}, ["precision: int8 -> auto"]),
        ({"serve": {"latest": 2}}, {"serve": "all"}, ["serve: {latest: 2} -> all"]),
        (
            {"lanes": {"shadow": {"version": 2, "cpu": 0.2}}},
            {"lanes": {"shadow": {"version": 2}}},
            ["shadow: cpu: 0.2 -> 0.1"],
        ),
    ],
)
def test_what_is_removed_is_named(before: dict[str, Any], after: dict[str, Any], lines: list[str]) -> None:
    assert list(changed_lines(deployment(**before), deployment(**after))) == lines


def test_many_limits_are_told_in_few_lines() -> None:
    def ranges(low: float) -> dict[str, Any]:
        return {"guard": {"ranges": {f"f{number}": {"low": low} for number in range(60)}}}

    lines = changed_lines(deployment(safety=ranges(0.0)), deployment(safety=ranges(1.0)))
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "safety: and 36 more changes"
    (removed,) = changed_lines(deployment(safety=ranges(0.0)), deployment())
    assert len(removed) < 250
