"""Datatypes of the protocol, and BYTES tensors as they lie in raw contents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from steersman.bundle.specs import DTypeName
from steersman.serving.errors import invalid

BYTES = "BYTES"
DATATYPES: Mapping[DTypeName, str] = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""The protocol's name of each element type. It also has BF16, which no policy declares."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()
}
"""Element types as they lie in raw contents: little-endian."""

DATATYPE_OF: Mapping[np.dtype[Any], str] = {np.dtype(name): datatype for name, datatype in DATATYPES.items()}
"""The name of an array's element type, found by the type itself: `dtype.name` is made up anew each time."""

CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field of typed contents that holds a datatype. FP16 has none: it is sent raw."""

LENGTH_BYTES = 4
"""Of the length before each element of a BYTES tensor."""


def frame(elements: Iterable[bytes]) -> bytes:
    """A BYTES tensor: each element after its length in four bytes."""
    return b"".join([len(element).to_bytes(LENGTH_BYTES, "little") + element for element in elements])


def unframe(data: bytes, count: int, name: str) -> Sequence[bytes]:
    """The `count` elements of a BYTES tensor.

    Raises:
        CallError: The data are not so many elements.
    """
    elements: list[bytes] = []
    start, end = 0, len(data)
    while start < end and len(elements) <= count:
        length = int.from_bytes(data[start : start + LENGTH_BYTES], "little")
        stop = start + LENGTH_BYTES + length
        if stop > end:
            raise invalid(
                "tensor", f"{name} ends within an element; expected each after its length in 4 bytes"
            )
        elements.append(data[start + LENGTH_BYTES : stop])
        start = stop
    if len(elements) != count:
        found = "more" if start < end else str(len(elements))
        raise invalid("tensor", f"{name} holds {found} elements; expected {count}, as its shape says")
    return elements
