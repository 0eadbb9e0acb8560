"""The client's values as plain ones, for JSON and logs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The value in JSON's types.

    Arrays become lists, bytes hex, times RFC 3339, NaN and infinities null, and dataclasses objects.

    Example:
        >>> plain({"id": bytes([1, 255]), "log_prob": float("nan"), "action": np.array([1, 2])})
        {'id': '01ff', 'log_prob': None, 'action': [1, 2]}
    """
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    for kinds, simplify in _SIMPLER:
        if isinstance(value, kinds):
            return simplify(value)
    return value


_SIMPLER: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.name.lower()),
    (float, lambda value: value if math.isfinite(value) else None),
    (bytes, bytes.hex),
    (datetime, datetime.isoformat),
    (np.dtype, lambda value: value.name),
    ((np.ndarray, np.generic), lambda value: plain(value.tolist())),
    (Mapping, lambda value: {str(key): plain(item) for key, item in value.items()}),
    ((list, tuple), lambda value: [plain(item) for item in value]),
)
