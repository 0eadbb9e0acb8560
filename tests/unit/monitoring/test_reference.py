from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.bundle.reference import BINS, CELLS, Reference, pack_references, unpack_references
from steersman.bundle.specs import BoxAction, MultiDiscreteAction
from steersman.monitoring.bins import count_cells
from steersman.monitoring.errors import MonitoringUsageError
from steersman.monitoring.reference import ALARM_RATES, TAIL, WINDOWS, build_reference, quantile_edges


def act(rng, observations):
    return [rng.integers(0, 3, len(x)) for x in observations]


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(allow_nan=True)))
def test_edges_are_ordered_and_little_of_the_reference_lies_beyond_them(x):
    edges = quantile_edges(x)
    assert edges.shape == (BINS + 1,)
    assert (edges[1:] >= edges[:-1]).all()
    known = x[~np.isnan(x)]
    if known.size and np.isfinite(known).all() and known.max() < np.finfo(float).max:
        underflow, overflow = count_cells(x[:, None], edges[None])[0, [0, BINS + 1]]
        assert max(underflow, overflow) <= TAIL * known.size


def test_a_rare_value_beside_a_common_one_has_a_cell_of_its_own():
    x = np.zeros(1_000)
    x[:5] = 1.0
    counts = count_cells(x[:, None], quantile_edges(x)[None])[0]
    assert sorted(counts[counts > 0]) == [5, 995]


def test_steps_spread_evenly_over_bins_with_thin_tails():
    x = np.random.default_rng(0).normal(size=10_000)
    shares = count_cells(x[:, None], quantile_edges(x)[None])[0] / len(x)
    assert shares[[0, BINS + 1]] == pytest.approx(TAIL, abs=0.001)
    assert shares[1 : BINS + 1] == pytest.approx((1 - 2 * TAIL) / BINS, abs=0.001)
    assert shares[BINS + 2] == 0


def test_a_constant_feature_fills_one_bin_and_any_other_value_leaves_it():
    edges = quantile_edges(np.full(100, 2.5))[None]
    cells = count_cells(np.array([[2.5], [2.4], [2.6]]), edges)[0]
    assert np.flatnonzero(cells).tolist() == [0, BINS, BINS + 1]


def test_shapes_and_counts(contract, simulate):
    rng = np.random.default_rng(0)
    observations = simulate(rng, 8)
    reference = build_reference(observations, act(rng, observations), contract, replicates=200)
    steps = sum(map(len, observations))
    shape = (len(WINDOWS), len(ALARM_RATES), 3)
    assert reference.feature_edges.shape == (3, BINS + 1)
    assert reference.feature_counts.sum(axis=1).tolist() == [steps] * 3
    assert reference.feature_thresholds.shape == shape
    assert np.isfinite(reference.feature_thresholds).all()
    assert reference.action_counts.sum(axis=1).tolist() == [steps]
    assert reference.action_counts.shape == (1, 3)
    assert reference.action_edges.shape == (0, BINS + 1)
    assert (int(reference.episodes), reference.windows.tolist()) == (8, list(WINDOWS))


def test_it_survives_being_written(contract, reference):
    read = unpack_references(pack_references({"greedy": reference}), "reference.npz")["greedy"]
    assert reference.joint is not None
    kept = [(reference, read, f.name) for f in fields(Reference) if f.name != "joint"]
    kept += [(reference.joint, read.joint, field.name) for field in fields(reference.joint)]
    for one, other, name in kept:
        written, found = getattr(one, name), getattr(other, name)
        assert (written.dtype, written.shape) == (found.dtype, found.shape)
        assert (written == found).all()


def test_the_same_seed_gives_the_same_thresholds(contract, simulate):
    observations = simulate(np.random.default_rng(0), 8)
    actions = act(np.random.default_rng(0), observations)
    one, same, other = (
        build_reference(observations, actions, contract, seed=seed, replicates=200) for seed in (1, 1, 2)
    )
    assert (one.feature_thresholds == same.feature_thresholds).all()
    assert (one.feature_thresholds != other.feature_thresholds).any()


def test_thresholds_fall_with_the_window_and_with_the_alarm_rate(reference):
    for thresholds in (reference.feature_thresholds, reference.action_thresholds):
        assert (np.diff(thresholds, axis=0) < 0).all()
        assert (thresholds[:, 0] > thresholds[:, 1]).all()


def test_stronger_correlation_gives_larger_design_effects_and_thresholds(reference):
    assert (np.diff(reference.feature_design_effect) > 0).all()
    assert (np.diff(reference.feature_thresholds[2, 0]) > 0).all()


@pytest.mark.parametrize("episodes", [1, 4])
def test_too_few_episodes_cannot_tell(contract, simulate, episodes):
    rng = np.random.default_rng(0)
    observations = simulate(rng, episodes)
    reference = build_reference(observations, act(rng, observations), contract)
    assert np.isposinf(reference.feature_thresholds).all()
    assert np.isposinf(reference.action_thresholds).all()
    assert np.isfinite(reference.feature_design_effect).all()


def test_observations_that_are_not_binned_still_have_actions(contract, simulate):
    rng = np.random.default_rng(0)
    observations = [x[:, :0] for x in simulate(rng, 6)]
    reference = build_reference(observations, act(rng, observations), contract, replicates=200)
    assert reference.feature_counts.shape == (0, CELLS)
    assert reference.feature_thresholds.shape == (len(WINDOWS), len(ALARM_RATES), 0)
    assert np.isfinite(reference.action_thresholds).all()


def test_box_actions_are_binned_like_features(with_action, simulate):
    rng = np.random.default_rng(0)
    observations = simulate(rng, 6)
    actions = [x[:, :2, None].astype(np.float32) for x in observations]
    contract = with_action(BoxAction(shape=(2, 1), low=(-9.0,) * 2, high=(9.0,) * 2))
    reference = build_reference(observations, actions, contract, replicates=200)
    assert reference.action_edges.shape == (2, BINS + 1)
    assert reference.action_counts == pytest.approx(reference.feature_counts[:2], abs=3)


def test_dimensions_of_different_width(with_action, simulate):
    rng = np.random.default_rng(0)
    observations = simulate(rng, 6)
    actions = [rng.integers(0, (2, 4), (len(x), 2)) for x in observations]
    reference = build_reference(
        observations, actions, with_action(MultiDiscreteAction(nvec=(2, 4))), replicates=200
    )
    assert reference.action_counts.shape == (2, 4)
    assert reference.action_counts[0, 2:].tolist() == [0, 0]


def test_empty_episodes_do_not_count(contract):
    x, a = np.zeros((9, 3)), np.zeros(9, np.int64)
    reference = build_reference([x, x[:0]], [a, a[:0]], contract)
    assert int(reference.episodes) == 1


def test_what_does_not_fit_is_refused(contract):
    x, a = np.zeros((9, 3)), np.zeros(8, np.int64)
    with pytest.raises(MonitoringUsageError, match="do not fit together"):
        build_reference([x], [a], contract)
    with pytest.raises(MonitoringUsageError, match="at least one step"):
        build_reference([], [], contract)
