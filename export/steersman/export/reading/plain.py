"""numpy data of a pickle, rebuilt by functions that accept numbers and nothing else.

numpy's own helpers take any dtype and any state, object arrays included. These take the few forms in which
numpy 1 and 2 pickle arrays and scalars of numbers.

A pickle may also set attributes of whatever it can name. What it can call is therefore no function, whose
defaults it could replace, but an instance without attributes, or a class whose `__setstate__` stands before
that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.export.reading.builtin import BuiltinType, StandIn

NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
LONGEST_NAME = 16
"""Of a type of numbers, such as float32 or <f4."""


class PlainDType:
    """Stands for `numpy.dtype`."""

    def __init__(self, spec: object, *_: object) -> None:
        self.dtype = _named_dtype(spec)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        """The second entry is the byte order."""
        order = state[1]
        if order == "<":
            self.dtype = self.dtype.newbyteorder("<")
        elif order == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _named_dtype(spec: object) -> np.dtype[Any]:
    """What a short text or a type names; numpy itself takes descriptions of any depth."""
    if isinstance(spec, BuiltinType):
        return _number(np.dtype(spec.kind))
    if isinstance(spec, str) and len(spec) <= LONGEST_NAME:
        return _number(np.dtype(spec))
    raise ValueError("array elements of a type without a name")


def _number(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.name not in NUMBERS:
        raise ValueError(f"array elements of type {dtype.name!r}")
    return dtype


def as_dtype(value: object, default: np.dtype[Any]) -> np.dtype[Any]:
    """The type of numbers that a pickle names, in any of the ways in which spaces have kept it.

    Raises:
        ValueError: It is not one of numbers.
    """
    if value is None:
        return default
    return value.dtype if isinstance(value, PlainDType) else _named_dtype(value)


class PlainArray:
    """Stands for `numpy.core.multiarray._reconstruct`: an array whose content follows as its state."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Takes (version, shape, dtype, whether in Fortran order, bytes)."""
        _, shape, dtype, fortran, data = state
        self.array = array_from_buffer(data, dtype, shape, "F" if fortran else "C")


def array_from_buffer(
    buffer: bytes, dtype: PlainDType, shape: tuple[int, ...], order: Any = "C"
) -> NDArray[Any]:
    """The array that these bytes are."""
    flat = np.frombuffer(buffer, dtype.dtype) if len(buffer) else np.empty(0, dtype.dtype)
    return flat.reshape(shape, order=order).astype(dtype.dtype.newbyteorder("="))


class FromBuffer(StandIn):
    """Stands for `numpy.core.numeric._frombuffer`."""

    __slots__ = ()

    def __call__(
        self,
        buffer: bytes,
        dtype: PlainDType,
        shape: tuple[int, ...],
        order: Any = "C",
        axes: tuple[int, ...] | None = None,
    ) -> Any:
        """The array; numpy 2.3 and later keep any order of the axes."""
        if order == "K" and axes is not None:
            return array_from_buffer(buffer, dtype, shape).transpose(axes)
        return array_from_buffer(buffer, dtype, shape, order)


class Scalar(StandIn):
    """Stands for `numpy.core.multiarray.scalar`."""

    __slots__ = ()

    def __call__(self, dtype: PlainDType, data: bytes) -> Any:
        """The number."""
        return array_from_buffer(data, dtype, ())[()]


class Bytes(StandIn):
    """Stands for `bytes` and `bytearray`, which given a number would fill the memory with zeros."""

    __slots__ = ()

    def __call__(self, data: bytes | str = b"", encoding: str = "latin1") -> bytes:
        """The bytes."""
        return data.encode(encoding) if isinstance(data, str) else bytes(memoryview(data))


class Latin1(StandIn):
    """Stands for `_codecs.encode`, by which old pickle protocols write bytes."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        """The bytes."""
        if encoding != "latin1":
            raise ValueError("text in another encoding")
        return text.encode("latin1")


def as_array(value: object) -> NDArray[Any]:
    """The numbers that a pickle holds here.

    Raises:
        ValueError: It holds something else.
    """
    array = value.array if isinstance(value, PlainArray) else np.asarray(value)
    if array.dtype.name not in NUMBERS:
        raise ValueError("numbers were expected")
    return array
