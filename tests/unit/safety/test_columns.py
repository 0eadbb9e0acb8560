import numpy as np
import pytest

from steersman.bundle.features import feature_matrix, has_named_features
from steersman.bundle.specs import Contract, DiscreteAction, ObservationSpec, feature_names
from steersman.safety.columns import feature_index
from steersman.safety.errors import SafetyError

DICT = Contract(
    observations=(
        ObservationSpec(key="b", dtype="int64", shape=(), low=(0.0,), high=(9.0,)),
        ObservationSpec(key="a", dtype="float32", shape=(2, 2), low=(-1.0,), high=(1.0,)),
        ObservationSpec(key="c", dtype="bool", shape=(1,), low=(0.0,), high=(1.0,)),
    ),
    action=DiscreteAction(n=2),
    distribution="categorical",
    outputs=("action", "distribution"),
)


def images(*shape):
    spec = ObservationSpec(dtype="uint8", shape=shape, low=(0.0,), high=(255.0,))
    return DICT.model_copy(update={"observations": (spec,)})


def test_columns_follow_the_contract_and_its_names():
    observations = {
        "obs/a": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
        "obs/c": np.array([[True], [False]]),
        "obs/b": np.array([7, 8]),
    }
    matrix = feature_matrix(observations, DICT)
    assert matrix.dtype == np.float64
    assert matrix.tolist() == [[7, 0, 1, 2, 3, 1], [8, 4, 5, 6, 7, 0]]
    assert feature_names(DICT) == ("b_0", "a_0", "a_1", "a_2", "a_3", "c_0")


def test_a_single_tensor_is_flattened():
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert feature_matrix({"obs": pixels}, images(2, 2)).tolist() == [[0.0, 1, 2, 3], [4, 5, 6, 7]]


def test_no_rows_make_an_empty_matrix():
    observations = {spec.input_name: np.zeros((0, *spec.shape), spec.dtype) for spec in DICT.observations}
    assert feature_matrix(observations, DICT).shape == (0, 6)


@pytest.mark.parametrize(("shape", "expected"), [((8, 8), True), ((5, 13), False), ((0,), False)])
def test_up_to_64_features_have_names(shape, expected):
    assert has_named_features(images(*shape)) is expected


def test_an_unknown_feature_is_an_error_with_the_close_one():
    with pytest.raises(SafetyError) as error:
        feature_index("pole_angel", ("cart_position", "pole_angle"), "guard.ranges")
    assert str(error.value) == (
        "guard.ranges: there is no feature 'pole_angel'; expected one of cart_position, pole_angle. "
        "Did you mean pole_angle?"
    )


def test_a_long_list_of_features_is_cut():
    with pytest.raises(SafetyError, match=r"obs_11 and 8 more$"):
        feature_index("zzz", [f"obs_{i}" for i in range(20)], "rules")


def test_a_name_that_two_features_have_is_an_error():
    with pytest.raises(SafetyError, match="2 features are named 'x'; expected a name that is unique"):
        feature_index("x", ("x", "y", "x"), "rules")
