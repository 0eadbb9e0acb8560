from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.client.errors import ClientError, InvalidRequestError
from steersman.client.tensors import CODES, WIRE_DTYPES, cast, decode, encode, wire_dtype
from steersman.v1 import policy_pb2 as pb

NATIVE = [np.dtype(dtype.newbyteorder("=")) for dtype in WIRE_DTYPES.values()]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any type of the wire, any shape, either byte order, C, Fortran or strided layout."""
    dtype = draw(st.sampled_from(NATIVE)).newbyteorder(draw(st.sampled_from("<>")))
    array = draw(hnp.arrays(dtype, draw(SHAPES)))
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return array[::-1] if array.ndim else array
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return array


@given(arrays())
def test_what_is_encoded_decodes_to_the_same(array: np.ndarray) -> None:
    tensor = pb.Tensor.FromString(encode(array).SerializeToString())
    decoded = decode(tensor)
    np.testing.assert_array_equal(decoded, array)
    assert decoded.shape == array.shape
    assert decoded.dtype == array.dtype.newbyteorder("=")
    assert decoded.dtype.isnative
    assert decoded.flags.writeable


@given(arrays())
def test_bytes_are_little_endian_and_row_major(array: np.ndarray) -> None:
    tensor = encode(array)
    wire = WIRE_DTYPES[tensor.dtype]
    assert tensor.data == np.ascontiguousarray(array, wire).tobytes()
    assert len(tensor.data) == array.size * wire.itemsize


@given(arrays(), st.sampled_from(list(CODES)))
def test_a_cast_never_changes_a_whole_number(array: np.ndarray, dtype: np.dtype[Any]) -> None:
    try:
        result = cast(array, dtype, "x")
    except InvalidRequestError:
        assert dtype.kind != "f"
        return
    assert result.dtype == dtype
    assert result.shape == array.shape
    if dtype.kind != "f":
        assert [int(x) for x in result.ravel().tolist()] == array.ravel().tolist()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 2], "<f4"),
        ([True, False], "<f8"),
        ([1.0, 0.0], "?"),
        ([0, 1], "?"),
        ([255, 0], "u1"),
        ([2.0, -3.0], "i1"),
        (np.float64(2.0), "<i8"),
        (7, "<i8"),
        ([], "<i8"),
        (np.array([1], np.float16), "<f8"),
        (np.array([2**53], np.uint64), "<i8"),
        (np.longdouble(3), "<i4"),
    ],
)
def test_what_loses_nothing_is_cast(value: Any, dtype: str) -> None:
    result = cast(value, np.dtype(dtype), "x")
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, np.asarray(value))


@pytest.mark.parametrize(
    ("value", "dtype", "named"),
    [
        ([0.0, float("nan")], "<i8", "nan"),
        ([float("inf")], "u1", "inf"),
        ([0.5], "<i4", "0.5"),
        ([256], "u1", "256"),
        ([-1], "u1", "-1"),
        ([2.0**63], "<i8", "9.2"),
        ([2], "?", "2"),
        ([float("nan")], "?", "nan"),
        (np.array([2**63], np.uint64), "<i8", "9223372036854775808"),
        ([2**70], "<f4", "object"),
        (["left"], "<f4", "U4"),
        ([1j], "<f4", "complex"),
        (None, "<f4", "object"),
        ([[1], [1, 2]], "<f4", "not an array"),
    ],
)
def test_what_would_say_something_else_is_refused_by_name(value: Any, dtype: str, named: str) -> None:
    with pytest.raises(InvalidRequestError, match="observation") as refused:
        cast(value, np.dtype(dtype), "observation")
    assert named in refused.value.message
    assert refused.value.reason == "dtype"


def test_a_float_out_of_range_becomes_infinite_for_the_guard_to_answer() -> None:
    assert cast([1e300, float("nan")], np.dtype("<f4"), "x").tolist()[0] == float("inf")


def test_plain_values_decode_in_the_declared_type() -> None:
    tensor = pb.Tensor(shape=[2, 1], values=[1, 2])
    assert decode(tensor, "<i8").tolist() == [[1], [2]]
    assert decode(tensor, "<i8").dtype == np.int64


@pytest.mark.parametrize(
    "tensor",
    [
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[2], data=b"\0" * 7),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[3], data=b"\0" * 8),
        pb.Tensor(shape=[1], data=b"\0"),
        pb.Tensor(dtype=99, shape=[1], data=b"\0"),  # type: ignore[arg-type]
    ],
)
def test_a_tensor_that_cannot_be_read_is_an_error_of_the_server(tensor: pb.Tensor) -> None:
    with pytest.raises(ClientError, match="the server's answer has a tensor") as refused:
        decode(tensor)
    assert refused.value.reason == "malformed_answer"


def test_types_that_the_wire_lacks_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="complex128 has no form on the wire"):
        wire_dtype(np.complex128)
