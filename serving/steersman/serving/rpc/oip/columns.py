"""Inputs with one element per row: who each row is, beside what it observes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from steersman.serving.errors import invalid
from steersman.serving.rpc.oip.datatypes import BYTES
from steersman.serving.rpc.oip.tensors import Tensor


class PerRow(NamedTuple):
    """An input [N], or [N, 1].

    Attributes:
        field: The field of `Call` that it fills.
        datatype: Its datatype.
        convert: From its elements to the field.
    """

    field: str
    datatype: str
    convert: Callable[[Any], Sequence[Any]]

    def read(self, tensor: Tensor) -> Sequence[Any]:
        """The field.

        Raises:
            CallError: The tensor has another datatype or shape, or is not text where text is expected.
        """
        if tensor.datatype != self.datatype:
            message = f"{tensor.name} has datatype {tensor.datatype}; expected {self.datatype}"
            raise invalid("datatype", message)
        if len(tensor.shape) != 1 and (len(tensor.shape) != 2 or tensor.shape[1] != 1):
            raise invalid(
                "tensor", f"{tensor.name} has shape {list(tensor.shape)}; expected [N], one per row"
            )
        try:
            return self.convert(tensor.elements)
        except UnicodeDecodeError:
            raise invalid("tensor", f"{tensor.name} is not UTF-8 text") from None


def _texts(elements: Sequence[bytes]) -> Sequence[str]:
    return [element.decode() for element in elements]


def _numbers(elements: Any) -> Sequence[Any]:
    return elements.tolist()  # type: ignore[no-any-return]  # a numpy array's


PER_ROW: Mapping[str, PerRow] = {
    "episode_id": PerRow("episode_ids", BYTES, _texts),
    "episode_token": PerRow("episode_tokens", BYTES, list),
    "episode_start": PerRow("episode_starts", "BOOL", _numbers),
    "step": PerRow("steps", "INT64", _numbers),
    "observation_time": PerRow("observation_times", "INT64", _numbers),
    "idempotency_key": PerRow("idempotency_keys", BYTES, list),
}
"""By name; as the fields of `ActRequest` with the same meaning."""
