from __future__ import annotations

import numpy as np
import pytest

from steersman.monitoring.clustering import design_effect

SHARES = np.array([0.4, 0.3, 0.2, 0.1])


def independent_episodes(rng, episodes, steps):
    return rng.multinomial(steps, SHARES, episodes)


def test_independent_steps_have_a_design_effect_of_one():
    rng = np.random.default_rng(0)
    effects = np.array([design_effect(independent_episodes(rng, 100, 50)) for _ in range(50)])
    scaled, freedom = effects.mean(axis=0)
    assert scaled * freedom / 3 == pytest.approx(1.0, abs=0.05)  # mean design effect, without 1 + a^2
    assert 2.7 < freedom <= 3


def test_episodes_that_never_change_tell_as_much_as_one_step_each():
    rng = np.random.default_rng(0)
    frozen = independent_episodes(rng, 2000, 1) * 50
    scaled, freedom = design_effect(frozen)
    assert scaled * freedom / 3 == pytest.approx(50, rel=0.05)


def test_traces_agree_with_the_eigenvalues_of_the_definition():
    """With the generalised eigenproblem on all cells but one, as Rao and Scott write it."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(20, 60, 80)
    counts = np.stack([rng.multinomial(n, rng.dirichlet(5 * SHARES)) for n in lengths])
    shares = counts.sum(axis=0) / counts.sum()
    residuals = counts - lengths[:, None] * shares
    covariance = residuals.T @ residuals / lengths.sum() * (80 / 79)
    simple = np.diag(shares) - np.outer(shares, shares)
    effects = np.linalg.eigvals(np.linalg.solve(simple[:-1, :-1], covariance[:-1, :-1])).real
    spread = (effects**2).mean() / effects.mean() ** 2
    assert design_effect(counts) == pytest.approx((effects.mean() * spread, 3 / spread))


def test_empty_cells_change_nothing():
    counts = independent_episodes(np.random.default_rng(2), 30, 40)
    wider = np.insert(counts, [0, 2, 4], 0, axis=1)
    assert design_effect(wider) == pytest.approx(design_effect(counts))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[7, 0], [9, 0]], (1.0, 1.0)),  # never varies
        ([[5, 5], [3, 3]], (1.0, 1.0)),  # no episode differs from another
        ([[4, 6]], (10.0, 1.0)),  # one episode: all of its steps count as one
        (np.zeros((0, 2)), (1.0, 1.0)),
    ],
)
def test_without_variation_between_episodes(counts, expected):
    assert design_effect(np.array(counts, np.int64)) == expected
