"""Element types of tensors: the wire's numbers and numpy's types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from steersman.v1 import policy_pb2 as pb

DTYPES: Mapping[pb.DType.ValueType, np.dtype[Any]] = {
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
    pb.DTYPE_BOOL: np.dtype("?"),
}
CODES: Mapping[np.dtype[Any], pb.DType.ValueType] = {dtype: code for code, dtype in DTYPES.items()}
