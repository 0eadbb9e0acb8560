from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.monitoring.blocks import MARGIN_CELLS, MARGIN_EDGES
from steersman.monitoring.margins import MarginCounter

MARGINS = st.floats() | st.sampled_from([*MARGIN_EDGES, -0.0, math.inf, -math.inf, math.nan])


def counted(margins):
    counts = np.zeros((len(margins), MARGIN_CELLS), np.int64)
    MarginCounter(counts).add(np.asarray(margins, np.float64))
    return counts


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(MARGINS, min_size=n, max_size=n), min_size=1)))
def test_counts_equal_those_of_a_loop(margins):
    expected = np.zeros((len(margins), MARGIN_CELLS), np.int64)
    for constraint, values in enumerate(margins):
        for value in values:
            cell = -1 if math.isnan(value) else sum(edge < value for edge in MARGIN_EDGES)
            expected[constraint, cell] += 1
    assert (counted(margins) == expected).all()


@pytest.mark.parametrize("cell", range(len(MARGIN_EDGES)))
def test_edges_are_inclusive(cell):
    edge = MARGIN_EDGES[cell]
    assert counted([[edge, np.nextafter(edge, np.inf)]])[0, [cell, cell + 1]].tolist() == [1, 1]


def test_no_rows_are_no_counts():
    assert not counted(np.empty((3, 0))).any()


def test_edges_tell_the_sign_apart():
    assert list(MARGIN_EDGES) == sorted(set(MARGIN_EDGES))
    assert 0.0 in MARGIN_EDGES
