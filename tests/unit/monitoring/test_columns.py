from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.features import MAX_NAMED_FEATURES
from steersman.bundle.specs import (
    BoxAction,
    DiscreteAction,
    MultiBinaryAction,
    MultiDiscreteAction,
    ObservationSpec,
)
from steersman.monitoring.bins import CELL_LABELS
from steersman.monitoring.columns import (
    action_dimensions,
    check_fits,
    choices,
    distinct,
    watched_features,
)
from steersman.monitoring.errors import MonitoringError


def dict_contract(contract, sizes):
    specs = [
        ObservationSpec(key=key, dtype="float32", shape=(size,), low=(0.0,), high=(1.0,))
        for key, size in sizes.items()
    ]
    return contract.model_copy(update={"observations": tuple(specs)})


def test_features_are_named_in_the_order_of_the_contract(contract):
    assert watched_features(dict_contract(contract, {"arm": 2, "eye": 1})) == ("arm_0", "arm_1", "eye_0")


def test_images_are_not_watched_per_pixel(contract):
    assert watched_features(dict_contract(contract, {"": MAX_NAMED_FEATURES + 1})) == ()


@given(st.lists(st.sampled_from(["a", "b", "a#1", "b#0"])))
def test_columns_never_share_a_name(names):
    made = distinct(names)
    assert len(set(made)) == len(made) == len(names)
    assert len(set(names)) < len(names) or made == tuple(names)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (DiscreteAction(n=2, start=5), (("action", ("5", "6")),)),
        (DiscreteAction(n=2, names=("left", "right")), (("action", ("left", "right")),)),
        (MultiDiscreteAction(nvec=(2, 3)), (("action_0", ("0", "1")), ("action_1", ("0", "1", "2")))),
        (MultiBinaryAction(n=1, names=("brake",)), (("brake", ("0", "1")),)),
        (BoxAction(shape=(1,), low=(0.0,), high=(1.0,), names=("gas",)), (("gas", CELL_LABELS),)),
    ],
)
def test_action_dimensions(with_action, action, expected):
    assert action_dimensions(with_action(action)) == expected


def test_choices_count_from_zero(with_action):
    assert choices(np.array([5, 6]), with_action(DiscreteAction(n=2, start=5))).tolist() == [[0], [1]]
    assert choices(np.array([[1, 2]]), with_action(MultiDiscreteAction(nvec=(2, 3)))).tolist() == [[1, 2]]
    assert choices(np.empty((0, 2)), with_action(MultiDiscreteAction(nvec=(2, 3)))).shape == (0, 2)


def test_a_reference_of_other_columns_is_refused(contract, reference, with_action):
    check_fits(reference, contract)
    with pytest.raises(MonitoringError, match="Export the policy again"):
        check_fits(reference, with_action(DiscreteAction(n=4)))
