from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.bundle.reference import CELLS
from steersman.monitoring.bins import count_cells
from steersman.monitoring.columns import action_dimensions
from steersman.monitoring.drift import DriftVerdict, judge, judge_actions, psi
from steersman.monitoring.errors import MonitoringUsageError
from steersman.monitoring.reference import build_reference

FINE, DRIFT = DriftVerdict.FINE, DriftVerdict.DRIFT
COUNTS = hnp.arrays(np.int64, (2, 5), elements=st.integers(0, 1000))


@given(COUNTS, COUNTS)
def test_psi_is_a_symmetric_divergence(counts, other):
    assert (psi(counts, other) >= 0).all()
    assert psi(counts, other) == pytest.approx(psi(other, counts))
    assert psi(counts, counts) == pytest.approx(0)


def test_psi_by_hand():
    p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])  # 0.5 is added to each cell
    assert psi(np.array([1, 0]), np.array([0, 1])) == pytest.approx(sum((p - q) * np.log(p / q)))


def window(simulate, reference, episodes, seed=5, **drift):
    played = simulate(np.random.default_rng(seed), episodes, **drift)
    return count_cells(np.concatenate(played), reference.feature_edges)


def test_the_shifted_feature_is_named(simulate, reference):
    judgement = judge(reference, window(simulate, reference, 25, shift=1.0), 25, alarm_rate=0.01)
    assert judgement.verdicts == (DRIFT, FINE, FINE)
    assert judgement.verdict is DRIFT
    assert judgement.psi[0] > judgement.thresholds[0]


def test_what_has_not_drifted_is_fine(simulate, reference):
    judgement = judge(reference, window(simulate, reference, 25), 25, alarm_rate=0.01)
    assert judgement.verdicts == (FINE,) * 3
    assert judgement.verdict is FINE


@pytest.mark.parametrize(
    ("episodes", "calibrated"), [(5, 5), (9, 5), (10, 10), (24, 10), (99, 50), (10_000, 250)]
)
def test_the_largest_calibrated_window_that_fits_is_taken(simulate, reference, episodes, calibrated):
    judgement = judge(reference, window(simulate, reference, 20), episodes, alarm_rate=0.05)
    assert judgement.window == calibrated
    row = reference.windows.tolist().index(calibrated)
    assert (judgement.thresholds == reference.feature_thresholds[row, 1]).all()


@pytest.mark.parametrize(("episodes", "counts"), [(4, 100), (0, 0), (50, 0)])
def test_a_short_or_empty_window_cannot_tell(reference, episodes, counts):
    judgement = judge(reference, np.full((3, CELLS), counts), episodes, alarm_rate=0.01)
    assert judgement.verdict is DriftVerdict.NOT_ENOUGH_DATA
    assert set(judgement.verdicts) == {DriftVerdict.NOT_ENOUGH_DATA}


def test_a_reference_of_few_episodes_cannot_tell(contract, simulate):
    observations = simulate(np.random.default_rng(0), 4)
    small = build_reference(observations, [np.zeros(len(x), np.int64) for x in observations], contract)
    judgement = judge(small, window(simulate, small, 25, shift=9.0), 25, alarm_rate=0.01)
    assert judgement.verdict is DriftVerdict.NOT_ENOUGH_DATA


def test_without_a_reference_there_is_nothing_to_judge(contract):
    counts = np.ones((3, CELLS), np.int64)
    for judgement in (
        judge(None, counts, 50, alarm_rate=0.01),
        judge_actions(None, counts, 50, action_dimensions(contract), alarm_rate=0.01),
    ):
        assert judgement.verdict is DriftVerdict.NOT_APPLICABLE
        assert len(judgement.verdicts) == 3


def test_no_columns_are_not_applicable(reference):
    nothing = np.empty((0, CELLS), np.int64)
    assert judge(None, nothing, 50, alarm_rate=0.01).verdict is DriftVerdict.NOT_APPLICABLE


def test_a_sensor_that_turns_to_nan_has_drifted(reference, simulate):
    x = np.concatenate(simulate(np.random.default_rng(3), 25))
    x[: len(x) // 10, 1] = math.nan
    judgement = judge(reference, count_cells(x, reference.feature_edges), 25, alarm_rate=0.01)
    assert judgement.verdicts == (FINE, DRIFT, FINE)


def test_a_feature_that_never_varied_is_silent_until_it_moves(contract):
    rng = np.random.default_rng(0)
    lengths = rng.integers(40, 80, 30)
    constant = [np.full((n, 3), 7.0) for n in lengths]
    reference = build_reference(constant, [rng.integers(0, 3, n) for n in lengths], contract, replicates=500)
    for steps in (5 * 40, 5 * 60, 5 * 500):  # the shortest window, a usual one, a long one
        counts = count_cells(np.full((steps, 3), 7.0), reference.feature_edges)
        assert judge(reference, counts, 5, alarm_rate=0.01).verdict is FINE
    x = np.full((5 * 60, 3), 7.0)
    x[: len(x) // 2, 2] = 7.1
    judgement = judge(reference, count_cells(x, reference.feature_edges), 5, alarm_rate=0.01)
    assert judgement.verdicts == (FINE, FINE, DRIFT)


def test_actions_shift(reference, contract):
    dimensions = action_dimensions(contract)
    same, shifted = (np.array([counts]) for counts in ([500, 300, 200], [300, 500, 200]))
    assert judge_actions(reference, same, 25, dimensions, alarm_rate=0.01).verdict is FINE
    assert judge_actions(reference, shifted, 25, dimensions, alarm_rate=0.01).verdict is DRIFT


def test_cells_that_a_dimension_does_not_have_do_not_count(reference):
    narrow = (("action", ("0", "1", "2")),)
    wide = np.array([[500, 300, 200, 0, 0]])
    assert judge_actions(reference, wide, 25, narrow, alarm_rate=0.01).psi == pytest.approx(
        psi(wide[:, :3], reference.action_counts)
    )


def test_wrong_use_is_explained(reference):
    counts = np.ones((3, CELLS), np.int64)
    with pytest.raises(MonitoringUsageError, match=r"alarm rate of 0.02; expected one of \[0.01, 0.05\]"):
        judge(reference, counts, 50, alarm_rate=0.02)
    with pytest.raises(MonitoringUsageError, match="as the reference has"):
        judge(reference, counts[:2], 50, alarm_rate=0.01)
