from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.safety.breaker_ramp import Turnstile

SHARES = st.floats(0.001, 1.0)


@given(share=SHARES, batches=st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_the_share_is_kept_at_any_time(share, batches):
    turnstile = Turnstile()
    admitted = np.concatenate([turnstile.admits(rows, share) for rows in batches])
    kept = np.cumsum(admitted)
    assert (np.abs(kept - share * np.arange(1, len(kept) + 1)) < 4).all()


@given(share=SHARES, batches=st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_which_rows_does_not_depend_on_the_batches_that_they_come_in(share, batches):
    one_by_one, together = Turnstile(), Turnstile()
    divided = np.concatenate([one_by_one.admits(rows, share) for rows in batches])
    assert (divided == together.admits(sum(batches), share)).all()


def test_the_first_row_is_let_through_however_small_the_share():
    assert Turnstile().admits(1, 1e-12).tolist() == [True]


def test_a_share_of_1_lets_everything_through():
    assert Turnstile().admits(1000, 1.0).all()


@pytest.mark.parametrize("batch", range(1, 101))
def test_every_place_of_a_batch_has_its_turn(batch):
    """Robots that always stand in the same order: none is the one that is asked, and none is left out."""
    turnstile, share, batches = Turnstile(), 0.05, 2000
    turns = sum(turnstile.admits(batch, share).astype(int) for _ in range(batches))
    assert turns.min() > 0.6 * share * batches
    assert turns.max() < 1.4 * share * batches


def test_counting_goes_on_after_the_largest_number():
    turnstile = Turnstile()
    turnstile._passed = 2**32 - 3
    before = Turnstile().admits(3, 0.3)
    assert (turnstile.admits(6, 0.3)[3:] == before).all()
