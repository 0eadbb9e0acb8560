"""The return gate: what a variant may lose, and when an interval decides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from steersman.export.evidence.returns import acting, margin, return_gate, summarize
from steersman.export.policies.inputs import Inputs
from support.toy_bundle import discrete_contract
from unit.export.evidence.answering import Answering, numbered

FP32 = np.full(40, 200.0)
SPREAD = np.linspace(-1, 1, 40)


def test_the_same_returns_pass() -> None:
    assert return_gate(FP32, FP32) is None
    assert return_gate(FP32 * 0, FP32 * 0) is None
    assert return_gate(FP32 + 50, FP32) is None


@pytest.mark.parametrize(("loss", "passes"), [(1.0, True), (1.9, True), (2.1, False), (30.0, False)])
def test_a_clear_loss_of_more_than_a_hundredth_fails(loss: float, passes: bool) -> None:
    verdict = return_gate(FP32 - loss, FP32)
    assert (verdict is None) == passes
    if verdict:
        assert f"changes by {-loss:+.4g}" in verdict
        assert "a loss of 2" in verdict


def test_an_interval_that_can_tell_must_lie_above_the_margin() -> None:
    lost = 1.5 - 3 * SPREAD  # 95 % interval of the mean: about 1.5 +- 0.57
    assert return_gate(FP32 - lost, FP32) is not None
    assert return_gate(FP32 - lost + 0.5, FP32) is None


def test_a_wide_interval_leaves_it_to_the_estimate() -> None:
    noise = 100 * SPREAD
    assert return_gate(FP32 - 1.5 + noise, FP32) is None
    assert return_gate(FP32 - 2.5 + noise, FP32) is not None


def test_negative_returns_have_a_size_too() -> None:
    assert margin(-FP32) == pytest.approx(2.0)
    assert return_gate(-FP32 - 2.5, -FP32) is not None


def test_a_mean_of_about_zero_is_measured_by_the_spread() -> None:
    assert margin(10 * SPREAD) == pytest.approx(0.01 * (10 * SPREAD).std())


def test_a_single_episode_is_all_there_is() -> None:
    assert return_gate(np.array([99.5]), np.array([100.0])) is None
    assert return_gate(np.array([98.0]), np.array([100.0])) is not None
    assert summarize(np.array([98.0])).low_95 == -math.inf


def test_the_summary_has_students_intervals() -> None:
    returns = np.array([1.0, 2.0, 3.0, 4.0])
    alone = summarize(returns)
    assert (alone.episodes, alone.mean, alone.difference) == (4, 2.5, None)
    # t of three degrees of freedom at 0.975 is 3.182; the standard error is 0.6455
    assert alone.high_95 - alone.mean == pytest.approx(3.182 * 0.6455, rel=3e-3)
    paired = summarize(returns, returns - 0.25)
    assert (paired.difference, paired.difference_low_95, paired.difference_high_95) == (0.25, 0.25, 0.25)


def test_a_session_acts() -> None:
    session: Any = Answering(discrete_contract(), {"action": np.array([2, 0, 1])})
    acted = acting(session)(Inputs(numbered(3)))
    assert acted.actions.tolist() == [2, 0, 1]
    assert acted.state == {}
