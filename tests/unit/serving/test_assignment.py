"""Which lane an episode belongs to: the same everywhere, in the shares that were asked for, and for good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steersman.serving.rollout.assignment import BUCKETS, arm_buckets, bucket, canary_buckets

GOLDEN = Path(__file__).parents[2] / "contract" / "golden" / "assignment.json"
DRAWN = 100_000
SHARES = st.floats(0, 1)
ARMS = st.lists(st.integers(1, 1000), min_size=1, max_size=16)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text()))


@pytest.fixture(scope="module")
def drawn() -> np.ndarray[Any, Any]:
    """Sorted buckets of many episodes that are named one after the other."""
    return np.sort([bucket("rollout-1", f"episode-{number}") for number in range(DRAWN)])


def test_golden_buckets(golden: dict[str, Any]) -> None:
    """Whoever computes them in another language gets these; they never change."""
    assert golden["buckets"] == BUCKETS
    for row in golden["episodes"]:
        assert bucket(row["rollout_id"], row["episode_id"]) == row["bucket"], row


def test_golden_ranges(golden: dict[str, Any]) -> None:
    for row in golden["canary"]:
        found = canary_buckets(canary=row["canary"], control=row["control"])
        assert {lane: list(ends) for lane, ends in found.items()} == row["lanes"]
    for row in golden["arms"]:
        found = arm_buckets(row["shares"])
        assert {lane: list(ends) for lane, ends in found.items()} == row["lanes"]


def test_forms_of_one_letter_are_different_names() -> None:
    assert bucket("r", "\u00e9") != bucket("r", "e\u0301")


@given(SHARES, SHARES)
@example(0.5, 0.5)
@example(0.1, 0.9)
def test_lanes_of_a_canary_cover_all_buckets_once(canary: float, rest: float) -> None:
    control = min(rest, 1 - canary)
    lanes = canary_buckets(canary=canary, control=control)
    assert lanes["canary"][0] == 0
    assert lanes["canary"][1] == lanes["stable"][0]
    assert lanes["stable"][1] == lanes["control"][0]
    assert lanes["control"][1] == BUCKETS
    assert all(first <= end for first, end in lanes.values())


@given(SHARES, SHARES)
def test_a_ramp_keeps_those_that_are_in(one: float, other: float) -> None:
    """An episode that a canary has, it has at every greater share, too; likewise a control group."""
    low, high = sorted((one, other))
    assert canary_buckets(canary=low)["canary"][1] <= canary_buckets(canary=high)["canary"][1]
    assert canary_buckets(control=low)["control"][0] >= canary_buckets(control=high)["control"][0]


@given(ARMS)
@example([1] * 3)
@example([1] * 7)
@example([1, 999])
def test_arms_cover_all_buckets_once(weights: list[int]) -> None:
    shares = {f"arm-{place:02}": weight / sum(weights) for place, weight in enumerate(weights)}
    ranges = [ends for _, ends in sorted(arm_buckets(shares).items())]
    assert [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == BUCKETS
    for (first, end), share in zip(ranges, shares.values(), strict=True):
        assert end - first == pytest.approx(share * BUCKETS, abs=1)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.25, 0.5, 0.9])
def test_shares_of_many_episodes_are_those_asked_for(drawn: np.ndarray[Any, Any], share: float) -> None:
    """Within five standard deviations of a binomial."""
    lanes = canary_buckets(canary=share, control=min(share, 1 - share))
    for lane in lanes:
        first, end = lanes[lane]
        found = np.searchsorted(drawn, end) - np.searchsorted(drawn, first)
        expected = (end - first) / BUCKETS
        assert abs(found - DRAWN * expected) <= 5 * np.sqrt(DRAWN * expected * (1 - expected)) + 1e-9


def test_buckets_are_spread_evenly(drawn: np.ndarray[Any, Any]) -> None:
    """Chi-squared over 64 cells has 63 degrees of freedom; it is above 115 once in 10,000 times."""
    counts, _ = np.histogram(drawn, bins=64, range=(0, BUCKETS))
    expected = DRAWN / 64
    assert ((counts - expected) ** 2 / expected).sum() < 115


def test_another_rollout_deals_the_episodes_anew() -> None:
    """With two salts, who is in a tenth says nothing of who is in the other's."""
    share = BUCKETS // 10
    both = sum(bucket("one", f"{n}") < share and bucket("two", f"{n}") < share for n in range(20_000))
    assert abs(both - 200) <= 5 * np.sqrt(200)
