import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.joint import JointDistance
from steersman.monitoring.joint import (
    LEAST_EPISODES,
    QUANTILES,
    episode_limit,
    independent_steps,
    measure_joint_distance,
    step_limit,
)


def simulated(rng, episodes, steps=60, features=3, alike=True):
    """AR(1) episodes of correlated features; where they are not alike each has a level and a spread."""
    mixing = np.linalg.cholesky(0.7 * np.ones((features, features)) + 0.3 * np.eye(features))
    result = []
    for _ in range(episodes):
        noise = rng.normal(size=(steps, features)) * 0.6
        x = np.empty_like(noise)
        x[0] = rng.normal(size=features)
        for t in range(1, steps):
            x[t] = 0.8 * x[t - 1] + noise[t]
        level, spread = (
            (0.0, 1.0) if alike else (0.3 * rng.normal(size=features), math.exp(0.3 * rng.normal()))
        )
        result.append((x * spread + level) @ mixing.T)
    return result


def measured(episodes):
    joint = measure_joint_distance(episodes)
    assert joint is not None
    return joint


@pytest.mark.parametrize("alike", [True, False])
def test_the_stated_rates_hold_in_new_episodes(alike):
    rng = np.random.default_rng(11)
    beyond_steps, beyond_episodes = [], []
    for _ in range(20):
        joint = measured(simulated(rng, 60, alike=alike))
        distances = [np.sqrt(joint.squared(x)) for x in simulated(rng, 40, alike=alike)]
        beyond_steps += [np.mean(np.concatenate(distances) > joint.limit(0.98, "steps"))]
        beyond_episodes += [np.mean([d.max() > joint.limit(0.9, "episodes") for d in distances])]
    assert 0.012 < np.mean(beyond_steps) < 0.026  # 0.02 stated
    assert 0.06 < np.mean(beyond_episodes) < 0.13  # 0.1 stated


def test_the_rate_holds_where_the_sample_is_small_for_its_features():
    rng, rates = np.random.default_rng(12), []
    for _ in range(20):
        joint = measured([rng.normal(size=(3, 20)) for _ in range(40)])
        rates.append(np.mean(np.sqrt(joint.squared(rng.normal(size=(500, 20)))) > joint.limit(0.9, "steps")))
    assert 0.05 < np.mean(rates) < 0.12  # 0.1 stated


def test_steps_that_go_together_are_told_from_those_that_do_not():
    rng = np.random.default_rng(3)
    joint = measured(simulated(rng, 60))
    new = np.concatenate(simulated(rng, 40))
    torn = np.stack([rng.permutation(column) for column in new.T], axis=1)  # each feature as usual
    limit = joint.limit(0.98, "steps")
    usual, unusual = (np.mean(np.sqrt(joint.squared(x)) > limit) for x in (new, torn))
    assert unusual > 5 * usual


def left_out_rate(distances, rank):
    """The definition: each episode against the limit of the others, at a rank in proportion to steps."""
    beyond, steps = 0, sum(map(len, distances))
    for i, own in enumerate(distances):
        others = np.sort(np.concatenate([d for j, d in enumerate(distances) if j != i]))[::-1]
        at = math.ceil(rank * len(others) / steps - 1e-9)
        beyond += np.count_nonzero(own > others[at])
    return beyond / steps


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.7, 0.8, 0.9]))
def test_the_limit_of_steps_is_the_lowest_whose_rate_holds_for_episodes_left_out(seed, quantile):
    rng = np.random.default_rng(seed)
    distances = [rng.gamma(2.0, size=rng.integers(5, 30)) for _ in range(12)]
    found = step_limit(distances, quantile)
    ranked = np.sort(np.concatenate(distances))[::-1]
    if math.isinf(found):
        assert independent_steps(distances) * (1 - quantile) < 2 or left_out_rate(distances, 0) > 1 - quantile
        return
    rank = int(np.flatnonzero(ranked == found)[0])
    assert left_out_rate(distances, rank) <= 1 - quantile + 1e-9
    further = rank + 1
    assert further > (1 - quantile) * len(ranked) or left_out_rate(distances, further) > 1 - quantile


@pytest.mark.parametrize(
    ("episodes", "quantile", "expected"),
    [(9, 0.9, 9.0), (8, 0.9, math.inf), (99, 0.99, 99.0), (19, 0.9, 18.0)],
)
def test_the_limit_of_episodes_is_a_rank_of_their_largest(episodes, quantile, expected):
    distances = [np.array([0.5, float(n), 0.25]) for n in range(1, episodes + 1)]
    assert episode_limit(distances, quantile) == expected


def test_steps_that_repeat_one_another_count_as_one():
    rng = np.random.default_rng(0)
    once = [rng.normal(size=20) for _ in range(30)]
    many = [np.repeat(d, 10) for d in once]
    assert independent_steps(many) < 1.5 * independent_steps(once) <= 1.5 * 600


def test_no_limit_hangs_on_a_single_episode():
    distances = [np.full(100, float(n)) for n in range(30)]
    assert left_out_rate(distances, 0) <= 0.05  # it looks good enough
    assert step_limit(distances, 0.95) == math.inf
    assert step_limit(distances, 0.9) < math.inf


def test_quantiles_beyond_what_the_episodes_tell_have_no_limit():
    joint = measured(simulated(np.random.default_rng(5), 20))
    assert np.isinf(joint.step_limits[-1])
    assert (joint.most("episodes"), joint.most("steps")) == (0.95, pytest.approx(0.98, abs=0.02))
    assert joint.limit(0.9999, "steps") is None


def test_a_feature_that_never_varies_does_not_count_and_copies_do_no_harm():
    rng = np.random.default_rng(1)
    episodes = [np.c_[x, x[:, :1], np.full(len(x), 7.0)] for x in simulated(rng, 20)]
    joint = measured(episodes)
    assert not joint.whitening[-1].any()
    row = episodes[0][:1].copy()
    moved = row.copy()
    moved[0, -1] = 8.0
    assert joint.squared(moved) == pytest.approx(joint.squared(row))
    torn = row.copy()
    torn[0, 3] += 1.0  # the copy differs from its original
    assert np.sqrt(joint.squared(torn)[0]) > 1.5 * joint.limit(0.95, "steps")


def test_distances_do_not_depend_on_units():
    episodes = simulated(np.random.default_rng(2), 20)
    scales = np.array([1e-6, 1.0, 1e9])
    one, other = measured(episodes), measured([(x + 3.0) * scales for x in episodes])
    assert other.step_limits == pytest.approx(one.step_limits)
    assert other.squared((episodes[0] + 3.0) * scales) == pytest.approx(one.squared(episodes[0]))


def test_few_episodes_shrink_correlations_more():
    def correlation(episodes):
        whitening = measured(episodes).whitening
        covariance = np.linalg.inv(whitening @ whitening.T)
        return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])

    rng = np.random.default_rng(4)
    few = np.mean([correlation(simulated(rng, 5, steps=20)) for _ in range(20)])
    assert few < 0.6
    assert correlation(simulated(rng, 200, steps=20)) == pytest.approx(0.7, abs=0.05)


def test_steps_that_are_not_finite_are_left_out():
    episodes = simulated(np.random.default_rng(6), 20)
    broken = [np.r_[x, [[np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]]] for x in episodes]
    one, other = measured(episodes), measured(broken)
    assert (one.whitening == other.whitening).all()
    assert (one.step_limits == other.step_limits).all()


@pytest.mark.parametrize(
    "episodes",
    [
        simulated(np.random.default_rng(0), LEAST_EPISODES - 1),
        [np.full((9, 2), 3.0)] * 20,
        [np.empty((9, 0))] * 20,
        [np.full((9, 2), np.nan)] * 20,
    ],
    ids=["few", "constant", "none", "not finite"],
)
def test_where_there_is_nothing_to_measure_there_is_no_distance(episodes):
    assert measure_joint_distance(episodes) is None


def test_huge_features_are_left_out_rather_than_making_everything_nan():
    rng = np.random.default_rng(7)
    episodes = [np.c_[x, rng.choice([-1e308, 1e308], len(x))] for x in simulated(rng, 20)]
    joint = measured(episodes)
    assert isinstance(joint, JointDistance)
    assert np.isfinite(joint.whitening).all()
    assert np.isfinite(joint.step_limits[0])


def test_limits_rise_with_their_quantiles():
    joint = measured(simulated(np.random.default_rng(8), 40, alike=False))
    for limits in (joint.step_limits, joint.episode_limits):
        assert len(limits) == len(QUANTILES)
        assert (limits[1:] >= limits[:-1]).all()
