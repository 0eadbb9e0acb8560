"""What the tests of this folder draw from, and plain definitions that they compare with."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from steersman.bundle.reference import BINS, CELLS, Reference
from steersman.bundle.specs import (
    BoxAction,
    Contract,
    DiscreteAction,
    MultiBinaryAction,
    MultiDiscreteAction,
    ObservationSpec,
)

quick = settings(deadline=None, max_examples=80)

EXTREMES = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -0.0, 1.0, -1.0)
FEATURES = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")

discrete = st.builds(DiscreteAction, n=st.integers(1, 6), start=st.integers(-3, 3))
multi_discrete = st.builds(
    MultiDiscreteAction, nvec=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
)
multi_binary = st.builds(MultiBinaryAction, n=st.integers(1, 4))
box = st.just(BoxAction(shape=(2,), low=(-1.0, 0.0), high=(1.0, 2.0)))
masked_actions = discrete | multi_discrete | multi_binary
all_actions = masked_actions | box


def contract_for(action, features=FEATURES):
    """A contract with one float32 vector of named features."""
    spec = ObservationSpec(
        dtype="float32", shape=(len(features),), low=(-4.0,), high=(4.0,), feature_names=features
    )
    return Contract(
        observations=(spec,), action=action, distribution="categorical", outputs=("action", "distribution")
    )


CART = contract_for(DiscreteAction(n=2, names=("left", "right")))


def masks(rows, width):
    """Masks of which some rows are all true, some all false, most neither."""
    row = st.lists(st.booleans(), min_size=width, max_size=width)
    row |= st.sampled_from([[True] * width, [False] * width])
    return st.lists(row, min_size=rows, max_size=rows).map(
        lambda table: np.asarray(table, bool).reshape(rows, width)
    )


def feature_rows(rows, width):
    """Features, extremes among them."""
    value = st.sampled_from(EXTREMES) | st.floats(-5, 5)
    row = st.lists(value, min_size=width, max_size=width)
    return st.lists(row, min_size=rows, max_size=rows).map(
        lambda table: np.asarray(table, np.float64).reshape(rows, width)
    )


def some_actions(rows, action):
    """Actions of the right shape, often out of range."""
    size = math.prod(action.shape)
    flat = st.lists(st.integers(-5, 9), min_size=rows * size, max_size=rows * size)
    return flat.map(lambda table: np.asarray(table, action.dtype).reshape(rows, *action.shape))


def is_permitted(mask_row, action_row, action):
    """The definition of a permitted action, one choice at a time; `mask_row` None allows everything."""
    if isinstance(action, BoxAction):
        return True
    choices = np.ravel(action_row).tolist()
    if isinstance(action, DiscreteAction):
        choices = [choices[0] - action.start]
    first = 0
    for choice, width in zip(choices, action.mask_segments, strict=True):
        if not 0 <= choice < width or (mask_row is not None and not mask_row[first + choice]):
            return False
        first += width
    return True


def reference_with(first, last):
    """A reference whose quantile edges begin and end there."""
    count = len(first)
    empty = np.zeros((1, 1, count))
    edges = np.tile(np.asarray(first, np.float64)[:, None], BINS + 1)
    edges[:, -1] = last
    return Reference(
        feature_edges=edges,
        feature_counts=np.ones((count, CELLS), np.int64),
        feature_design_effect=np.ones(count),
        feature_degrees_of_freedom=np.ones(count),
        feature_thresholds=empty,
        action_edges=np.zeros((0, BINS + 1)),
        action_counts=np.ones((1, 2), np.int64),
        action_thresholds=np.zeros((1, 1, 1)),
        windows=np.ones(1, np.int64),
        alarm_rates=np.ones(1),
        episodes=np.asarray(1),
    )
