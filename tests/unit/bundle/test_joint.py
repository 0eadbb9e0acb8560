import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.arrays import pack, unpack
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.joint import PREFIX, JointDistance
from steersman.bundle.reference import pack_references, unpack_references
from unit.safety.strategies import quick, reference_with

JOINT = JointDistance(
    center=np.array([0.5, -1.0]),
    whitening=np.array([[2.0], [0.0]]),
    quantiles=np.array([0.9, 0.99]),
    step_limits=np.array([3.0, 4.0]),
    episode_limits=np.array([5.0, math.inf]),
)
REFERENCE = reference_with([-1.0, -1.0], [1.0, 1.0])
WITH = replace(REFERENCE, joint=JOINT)


def read(data):
    return unpack_references(data, "reference.npz")["greedy"]


def test_it_survives_being_written():
    joint = read(pack_references({"greedy": WITH, "sampled": REFERENCE})).joint
    assert joint is not None
    for field in fields(JointDistance):
        assert (getattr(joint, field.name) == getattr(JOINT, field.name)).all()


def test_a_reference_of_before_there_was_one_is_read():
    data = pack_references({"greedy": REFERENCE})
    assert not any(PREFIX in name for name in unpack(data, "here"))
    assert read(data).joint is None


@pytest.mark.parametrize(
    "change",
    [
        {"center": np.zeros(3)},
        {"center": np.array([0.0, math.nan])},
        {"whitening": np.zeros((2, 0))},
        {"whitening": np.zeros(2)},
        {"whitening": np.array([[math.inf], [0.0]])},
        {"quantiles": np.array([0.99, 0.9])},
        {"quantiles": np.array([0.9, 1.0])},
        {"quantiles": np.zeros(0), "step_limits": np.zeros(0), "episode_limits": np.zeros(0)},
        {"quantiles": np.array(0.9)},
        {"step_limits": np.array([4.0, 3.0])},
        {"step_limits": np.array([4.0, math.nan])},
        {"episode_limits": np.array([1.0])},
        {"center": np.zeros(2, np.float32)},
    ],
)
def test_malformed_ones_are_refused(change):
    data = pack_references({"greedy": replace(REFERENCE, joint=replace(JOINT, **change))})
    with pytest.raises(BundleCorruptError, match=r"reference\.npz: the joint distance is malformed"):
        read(data)


def test_half_of_one_is_refused():
    arrays = unpack(pack_references({"greedy": WITH}), "here")
    del arrays["greedy/joint_center"]
    with pytest.raises(BundleCorruptError, match="array 'joint_center' is missing"):
        read(pack(arrays))


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(1, 12))
def test_both_ways_to_measure_agree_and_one_is_the_same_alone(seed, width, rows):
    rng = np.random.default_rng(seed)
    joint = replace(JOINT, center=rng.normal(size=width), whitening=rng.normal(size=(width, width)))
    features = rng.normal(size=(rows, width))
    alone = joint.squared_alone(features)
    assert joint.squared(features) == pytest.approx(alone, rel=1e-9)
    assert alone.tolist() == [joint.squared_alone(features[i : i + 1])[0] for i in range(rows)]
    assert [joint.shares(row).sum() for row in features] == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize(
    ("quantile", "unit", "limit"),
    [
        (0.5, "steps", 3.0),
        (0.9, "steps", 3.0),
        (0.95, "steps", 4.0),
        (0.999, "steps", None),
        (0.9, "episodes", 5.0),
        (0.95, "episodes", None),
    ],
)
def test_a_quantile_between_two_takes_the_limit_of_the_larger(quantile, unit, limit):
    assert JOINT.limit(quantile, unit) == limit


def test_the_largest_quantile_that_can_be_asked_for():
    assert (JOINT.most("steps"), JOINT.most("episodes")) == (0.99, 0.9)
    assert replace(JOINT, step_limits=np.full(2, math.inf)).most("steps") is None
