"""Between numpy and `Tensor`: element types, casts that lose nothing by surprise, bytes.

On the wire elements are little-endian and row-major; a numpy array may have any byte order and any layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from steersman.client.errors import ClientError, InvalidRequestError
from steersman.v1 import policy_pb2 as pb

Array = NDArray[Any]

WIRE_DTYPES: Mapping[pb.DType.ValueType, np.dtype[Any]] = {
    pb.DTYPE_BOOL: np.dtype("?"),
    pb.DTYPE_INT8: np.dtype("i1"),
    pb.DTYPE_INT16: np.dtype("<i2"),
    pb.DTYPE_INT32: np.dtype("<i4"),
    pb.DTYPE_INT64: np.dtype("<i8"),
    pb.DTYPE_UINT8: np.dtype("u1"),
    pb.DTYPE_UINT16: np.dtype("<u2"),
    pb.DTYPE_UINT32: np.dtype("<u4"),
    pb.DTYPE_UINT64: np.dtype("<u8"),
    pb.DTYPE_FLOAT16: np.dtype("<f2"),
    pb.DTYPE_FLOAT32: np.dtype("<f4"),
    pb.DTYPE_FLOAT64: np.dtype("<f8"),
}
"""How the elements of each type lie in `Tensor.data`."""

NATIVE_DTYPES: Mapping[np.dtype[Any], np.dtype[Any]] = {
    dtype: dtype.newbyteorder("=") for dtype in WIRE_DTYPES.values()
}
"""The same types as they lie in this machine's memory."""

CODES: Mapping[np.dtype[Any], pb.DType.ValueType] = {dtype: code for code, dtype in WIRE_DTYPES.items()}

BOOL = np.dtype("?")


def wire_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The little-endian form of an element type.

    Raises:
        InvalidRequestError: The wire has no such type.
    """
    wire = np.dtype(dtype).newbyteorder("<")
    if wire not in CODES:
        names = ", ".join(sorted(known.name for known in CODES))
        raise InvalidRequestError(f"dtype {wire.name} has no form on the wire; expected one of {names}")
    return wire


def cast(value: ArrayLike, dtype: np.dtype[Any], name: str) -> Array:
    """The value as an array of `dtype`, or an error where that would change what it says.

    Anything real becomes a float, as observations come in all widths; a number that the narrower float
    cannot hold becomes infinite, which the server's guard answers. Whole numbers and truth values are
    taken only exactly.

    Args:
        value: Anything that numpy takes.
        dtype: Wanted type, little-endian.
        name: What it is, for the error.

    Raises:
        InvalidRequestError: It is no array of numbers, or not exact in `dtype`.
    """
    array = _as_array(value, name)
    source = array.dtype
    if source == dtype:
        return array
    if source.kind not in "biuf":
        raise InvalidRequestError(f"{name} holds {source}; expected {dtype.name}", reason="dtype")
    if dtype.kind != "f" and not np.can_cast(source, dtype):
        _refuse_inexact(array, dtype, name)
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _as_array(value: ArrayLike, name: str) -> Array:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"{name} is not an array of numbers: {error}", reason="dtype") from error


def _refuse_inexact(array: Array, dtype: np.dtype[Any], name: str) -> None:
    if array.size == 0:
        return
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    lowest, highest = array.min().item(), array.max().item()  # Python's own numbers compare exactly
    whole = array.dtype.kind != "f" or np.array_equal(np.trunc(array), array)
    if not (low <= lowest and highest <= high and whole):
        raise InvalidRequestError(
            f"{name} holds {_first_inexact(array, low, high)}, which {dtype.name} cannot hold; "
            f"expected whole numbers from {low} to {high}",
            reason="dtype",
        )


def _first_inexact(array: Array, low: int, high: int) -> float:
    numbers: list[float] = array.ravel().tolist()
    return next(number for number in numbers if not (low <= number <= high and number == int(number)))


def encode(array: Array) -> pb.Tensor:
    """The array as a tensor; any byte order and layout.

    Example:
        >>> encode(np.array([[1.0, 2.0]], dtype=">f4")).shape
        [1, 2]
    """
    wire = array.astype(wire_dtype(array.dtype), copy=False)
    return pb.Tensor(dtype=CODES[wire.dtype], shape=array.shape, data=wire.tobytes())


def decode(tensor: pb.Tensor, dtype: DTypeLike | None = None, shape: tuple[int, ...] | None = None) -> Array:
    """The tensor as an array of one's own: writable, in this machine's byte order.

    Args:
        tensor: As it came; `data` or `values`.
        dtype: Type of the elements where the tensor does not say it.
        shape: Its shape; None for the one that the tensor says.

    Raises:
        ClientError: The bytes do not fit the type and shape.
    """
    wire = WIRE_DTYPES.get(tensor.dtype) or (None if dtype is None else wire_dtype(dtype))
    if wire is None:
        raise malformed(f"a tensor of the unknown dtype {tensor.dtype}")
    try:
        flat = np.array(tensor.values) if tensor.values else _from_bytes(tensor.data, wire)
        array: Array = flat.astype(NATIVE_DTYPES[wire])
        return array.reshape(tuple(tensor.shape) if shape is None else shape)
    except ValueError as error:
        raise malformed(f"a tensor that cannot be read: {error}") from error


def _from_bytes(data: bytes, dtype: np.dtype[Any]) -> Array:
    if dtype == BOOL:
        return np.frombuffer(data, np.uint8).astype(dtype)  # other bytes are no truth values to numpy
    return np.frombuffer(data, dtype)


def malformed(what: str) -> ClientError:
    """The error for an answer that breaks the wire contract."""
    message = f"the server's answer has {what}; are client and server of compatible versions?"
    return ClientError(message, reason="malformed_answer")
