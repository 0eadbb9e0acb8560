"""Nothing of a pickle is run: it is read against a written list of names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from steersman.export.errors import DamagedFileError, ExportError, UnsafePickleError, UnsupportedError
from steersman.export.reading.allowed import PLAIN
from steersman.export.reading.plain import as_array
from steersman.export.reading.record import Record, named
from steersman.export.reading.spaces import as_space
from steersman.export.reading.unpickle import read_pickle
from unit.export.reading.files import bomb

GYM_BOX = spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, 3], np.float32))
KEYED = spaces.Dict([("b", spaces.MultiDiscrete([2, 3])), ("a", spaces.MultiBinary([2, 2]))])
SPACES = [
    GYM_BOX,
    spaces.Box(0, 9, (2, 3), np.int16),
    spaces.Box(-1, 1, (2,), np.float64),
    spaces.Discrete(4),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([3, 2], np.int32, start=[1, 0]),
    spaces.MultiBinary(3),
    KEYED,
]


def test_a_planted_call_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    data = bomb(tmp_path / "ran")
    with pytest.raises(UnsafePickleError, match=r"posix\.system") as caught:
        read_pickle(data, "model.zip: observation_space")
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(caught.value)
    pickle.loads(data)
    assert (tmp_path / "ran").exists()  # it would have done


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "builtins __import__",
        "os system",
        "numpy load",
        "torch.nn Module",
    ],
)
def test_names_beside_the_list_are_refused(name: str) -> None:
    module, attribute = name.split()
    with pytest.raises(UnsafePickleError):
        read_pickle(f"c{module}\n{attribute}\n.".encode(), "here")


def test_a_function_pickled_by_value_is_refused() -> None:
    with pytest.raises(UnsafePickleError, match="a class or function by value"):
        read_pickle(cloudpickle.dumps(lambda progress: progress), "here")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces_are_read_whatever_the_protocol(space: spaces.Space[Any], protocol: int) -> None:
    space.seed(1)
    found = as_space(read_pickle(pickle.dumps(space, protocol), "here"), "here")
    assert found == space


@pytest.mark.parametrize("space", SPACES[3:] + SPACES[:1], ids=str)
def test_spaces_of_old_gym_and_numpy_are_read(space: spaces.Space[Any]) -> None:
    """Protocol 0 spells names out, so that they can be exchanged for those of 2021."""
    data = pickle.dumps(space, 0)
    for new, old in ((b"gymnasium.spaces", b"gym.spaces"), (b"numpy._core.", b"numpy.core.")):
        data = data.replace(new, old)
    assert b"gymnasium" not in data
    assert as_space(read_pickle(data, "here"), "here") == space


def test_classes_are_named_and_never_imported() -> None:
    found = read_pickle(cloudpickle.dumps({"activation_fn": torch.nn.Tanh, "net_arch": [64]}), "here")
    assert isinstance(found, dict)
    assert named(found["activation_fn"]) == "torch.nn.modules.activation.Tanh"
    assert found["activation_fn"] is not torch.nn.Tanh
    assert issubclass(found["activation_fn"], Record)
    assert found["net_arch"] == [64]


REACHABLE = (
    *("numpy.core.numeric _frombuffer", "numpy.core.multiarray scalar", "_codecs encode"),
    *("numpy.core.multiarray _reconstruct", "numpy dtype", "copyreg _reconstructor", "numpy float64"),
    *("collections OrderedDict", "builtins dict", "builtins object", "gymnasium.spaces.box Box"),
)
"""Everything that a pickle can call, by one name of each kind."""


def altering(name: str, attribute: str, *, slots: bool) -> bytes:
    """A pickle, by hand, whose BUILD opcode sets an attribute of what is named to a tuple, then gives it."""
    module, function = name.split()
    state = f"(dV{attribute}\n(VC\nts".encode()
    return b"c" + f"{module}\n{function}\n".encode() + (b"(N" + state + b"t" if slots else state) + b"b."


@pytest.mark.parametrize("slots", [True, False])
@pytest.mark.parametrize("attribute", ["__defaults__", "__kwdefaults__", "__call__", "__class__", "marked"])
@pytest.mark.parametrize("name", REACHABLE)
def test_a_pickle_alters_nothing_that_it_can_call(name: str, attribute: str, slots: bool) -> None:
    with pytest.raises(DamagedFileError):
        read_pickle(altering(name, attribute, slots=slots), "here")
    module, function = name.split()
    found = read_pickle(f"c{module}\n{function}\n.".encode(), "here")
    assert "marked" not in dir(found)
    assert getattr(found, "__defaults__", None) is None
    array = np.arange(3.0)
    for protocol in (0, 5):
        assert np.array_equal(as_array(read_pickle(pickle.dumps(array, protocol), "here")), array)


def test_that_way_of_altering_a_function_works_where_nothing_is_done_about_it() -> None:
    assert pickle.loads(altering(f"{named.__module__} named", "__defaults__", slots=True)) is named
    try:
        assert named.__defaults__ == ("C",)
    finally:
        named.__defaults__ = None


@pytest.mark.parametrize("stand_in", [value for value in PLAIN.values() if not isinstance(value, type)])
def test_what_stands_for_a_function_has_no_attributes_to_set(stand_in: Any) -> None:
    assert not hasattr(stand_in, "__dict__")
    for attribute in ("__call__", "__class__", "new"):
        with pytest.raises(AttributeError):
            setattr(stand_in, attribute, type(stand_in))


@given(
    arrays.arrays(
        st.sampled_from(["f4", ">f8", "i2", "u1", "?"]), arrays.array_shapes(min_dims=0, min_side=0)
    )
)
def test_arrays_come_back_as_they_were(array: np.ndarray[Any, Any]) -> None:
    for protocol in (0, 2, 4, 5):
        found = as_array(read_pickle(pickle.dumps(array, protocol), "here"))
        assert found.shape == array.shape
        assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("name", ["bytes", "bytearray"])
def test_bytes_are_made_of_bytes_and_never_of_a_number(name: str) -> None:
    """Which would take any amount of memory."""
    with pytest.raises(DamagedFileError):
        read_pickle(f"c__builtin__\n{name}\n(I1000000000000\ntR.".encode(), "here")
    for protocol in (2, 4, 5):
        for value in (b"", b"\x00\xff", bytearray(b"\x80")):
            assert read_pickle(pickle.dumps(value, protocol), "here") == value


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(DamagedFileError):
        read_pickle(pickle.dumps(np.array([{}, []], object)), "here")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2))),
        spaces.Dict(a=spaces.Tuple([])),
    ],
    ids=str,
)
def test_spaces_that_sb3_has_no_policies_for_are_refused_by_name(space: spaces.Space[Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"SB3 has no policies for (a Dict within a Dict|\w+ spaces)"):
        as_space(read_pickle(pickle.dumps(space), "here"), "here")


def test_keys_stay_in_their_order() -> None:
    found = as_space(read_pickle(pickle.dumps(KEYED), "here"), "here")
    assert isinstance(found, spaces.Dict)
    assert list(found.spaces) == ["b", "a"]
    assert found == spaces.Dict(dict(KEYED.spaces))  # which sorts them
    assert found != spaces.Dict(a=KEYED["a"])


@pytest.mark.parametrize("low", [np.nan, 4.0])
def test_bounds_that_hold_nothing_are_refused(low: float) -> None:
    space = spaces.Box(0, 3, (2,), np.float64)
    space.low = np.array([0.0, low])
    with pytest.raises(DamagedFileError, match="not a Box space"):
        as_space(read_pickle(pickle.dumps(space), "here"), "here")


def test_arrays_keep_their_order_of_axes() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        turned = array.transpose(order)
        for protocol in (2, 5):
            assert np.array_equal(as_array(read_pickle(pickle.dumps(turned, protocol), "here")), turned)


def refusal(data: bytes) -> str:
    """What is said of a pickle that should be a space; empty when it is one."""
    try:
        as_space(read_pickle(data, "here"), "here")
    except ExportError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200))
def test_any_bytes_end_in_one_clear_line(data: bytes) -> None:
    assert len(refusal(data).splitlines()) == 1


@given(st.data())
def test_a_changed_pickle_never_breaks_out(data: st.DataObject) -> None:
    whole = bytearray(pickle.dumps(GYM_BOX))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert len(refusal(bytes(whole)).splitlines()) <= 1
