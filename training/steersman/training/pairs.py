"""Read repeated ``key=value`` options, with values written as JSON or Python literals."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

from steersman.training.errors import TrainingUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_pairs(texts: Sequence[str], option: str) -> dict[str, Any]:
    """Turn ``["gamma=0.98", "policy_kwargs={'net_arch': [32]}"]`` into a dictionary of JSON values.

    A value that is neither JSON nor a Python literal stays a string, as in ``learning_rate=lin_0.001``.

    Raises:
        TrainingUsageError: a text has no ``=``, a key comes twice, or a value is not plain data.
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        key, value = _parse_pair(text, option)
        if key in pairs:
            raise TrainingUsageError(f"{key} is given twice", where=option, hint="Keep one of them.")
        pairs[key] = value
    return pairs


def _parse_pair(text: str, option: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise TrainingUsageError(f"cannot read {text!r}", where=option, expected="key=value")
    try:
        return key.strip(), _as_json(_literal(value.strip()))
    except (TypeError, ValueError) as error:
        raise TrainingUsageError(
            f"{value!r} is not a usable value for {key}",
            where=option,
            expected="a finite number, text, true, false, null, a list or a dictionary",
        ) from error


def _literal(text: str) -> object:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def _as_json(value: object) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))
