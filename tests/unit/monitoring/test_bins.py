from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.bundle.reference import BINS, CELLS
from steersman.monitoring.bins import CELL_LABELS, NAN_CELL, Binner, cell_index, count_cells

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
SMALL = st.integers(-3, 3).map(float)  # so that values meet edges, and edges each other


@st.composite
def values_and_edges(draw):
    features = draw(st.integers(0, 4))
    shape = (features, BINS + 1)
    edges = draw(hnp.arrays(np.float64, shape, elements=st.one_of(SMALL, st.floats(allow_nan=False))))
    x = draw(
        hnp.arrays(np.float64, (draw(st.integers(0, 20)), features), elements=st.one_of(SMALL, ANY_FLOAT))
    )
    return x, np.sort(edges, axis=1)


def naive_cell(value, edges):
    """The definition in steersman.bundle.reference, word for word."""
    if math.isnan(value):
        return BINS + 2
    if value < edges[0]:
        return 0
    for k in range(1, BINS + 1):
        if edges[k - 1] <= value < edges[k]:
            return k
    return BINS + 1


@given(values_and_edges())
def test_cells_agree_with_the_definition(drawn):
    x, edges = drawn
    expected = [[naive_cell(value, edges[f]) for f, value in enumerate(row)] for row in x.tolist()]
    found = cell_index(x, edges)
    assert found.dtype == np.int64
    assert found.tolist() == np.reshape(expected, x.shape).tolist()


@given(values_and_edges())
def test_values_of_float32_fall_where_they_do_as_float64(drawn):
    x, edges = drawn
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
    assert (Binner(edges).cells(single) == cell_index(single.astype(np.float64), edges)).all()


def test_many_rows_fall_where_they_do_one_by_one():
    rng = np.random.default_rng(0)
    x, edges = rng.normal(size=(3000, 3)), np.sort(rng.normal(size=(3, BINS + 1)), axis=1)
    binner = Binner(edges)
    assert len(x) > 2 * binner.rows
    assert (binner.cells(x) == np.concatenate([binner.cells(row[None]) for row in x])).all()


@given(values_and_edges())
def test_every_value_is_counted_once(drawn):
    x, edges = drawn
    counts = count_cells(x, edges)
    assert counts.shape == (len(edges), CELLS)
    assert (counts.sum(axis=1) == len(x)).all()
    assert (counts[:, NAN_CELL] == np.isnan(x).sum(axis=0)).all()


@given(values_and_edges(), st.integers(0, 20))
def test_counts_add_up_over_parts(drawn, cut):
    x, edges = drawn
    assert (count_cells(x[:cut], edges) + count_cells(x[cut:], edges) == count_cells(x, edges)).all()


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (-math.inf, "underflow"),
        (-0.1, "underflow"),
        (0.0, "1"),
        (9.99, "10"),
        (10.0, "overflow"),
        (math.inf, "overflow"),
        (math.nan, "nan"),
    ],
)
def test_named_cells(value, label):
    edges = np.arange(BINS + 1.0)[None]
    assert CELL_LABELS[cell_index(np.array([[value]]), edges)[0, 0]] == label


def test_each_cell_has_a_label():
    assert len(CELL_LABELS) == len(set(CELL_LABELS)) == CELLS
