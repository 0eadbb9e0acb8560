from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.monitoring.drift import psi
from steersman.monitoring.resampling import calibrate, joint_thresholds, resampled_psi, smoothing_psi


@given(st.integers(0, 99), st.integers(1, 5), st.sampled_from([0.0, 0.01, 0.05, 0.5]))
def test_at_most_the_alarm_rate_exceeds_any_threshold(seed, columns, rate):
    null = np.random.default_rng(seed).exponential(size=(200, columns))
    exceeds = (null > joint_thresholds(null, rate)).any(axis=1).mean()
    assert exceeds <= rate
    assert exceeds > rate - 0.01 - columns / 200  # and no more is given away than one rank


def test_columns_that_move_together_cost_no_more_than_one():
    one = np.random.default_rng(0).exponential(size=(1000, 1))
    assert joint_thresholds(np.repeat(one, 5, axis=1), 0.05) == pytest.approx(joint_thresholds(one, 0.05)[0])


def test_independent_columns_are_corrected_for():
    null = np.random.default_rng(0).exponential(size=(10_000, 5))
    uncorrected = np.quantile(null, 0.95, axis=0)
    corrected = np.quantile(null, 0.95 ** (1 / 5), axis=0)
    assert (joint_thresholds(null, 0.05) > uncorrected).all()
    assert joint_thresholds(null, 0.05) == pytest.approx(corrected, rel=0.05)


def test_resampled_psi_has_the_scale_that_theory_gives():
    """For independent steps PSI is chi-squared times 1/n + 1/m, to first order."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(200, [0.4, 0.3, 0.2, 0.1], 400)
    window = 50
    null = resampled_psi([counts], [window], seed=0, replicates=4000)[0, :, 0]
    assert null.mean() == pytest.approx(3 * (1 / (200 * window) + 1 / (200 * 400)), rel=0.1)


def test_columns_of_different_width_are_drawn_together():
    rng = np.random.default_rng(0)
    narrow = rng.multinomial(30, [0.6, 0.4], 20)
    wide = np.concatenate([narrow[:, :1], narrow[:, 1:], np.zeros((20, 1), np.int64)], axis=1)
    null = resampled_psi([wide, narrow], [5, 10], seed=0, replicates=1500)
    assert null.shape == (2, 1500, 2)
    assert np.corrcoef(null[0].T)[0, 1] > 0.9  # the same episodes in the same replicate


def test_smoothing_alone_raises_no_alarm():
    counts = np.array([[30, 0, 0], [90, 0, 0]])
    short = np.array([5 * 30, 0, 0])
    assert smoothing_psi(counts, 5) == pytest.approx(psi(short, counts.sum(axis=0)))
    thresholds = calibrate([counts], [5, 10], [0.01], seed=0, replicates=100)
    assert thresholds[:, 0, 0] == pytest.approx([smoothing_psi(counts, 5), smoothing_psi(counts, 10)])


def test_no_columns():
    assert calibrate([], [5, 10], [0.01], seed=0).shape == (2, 1, 0)
