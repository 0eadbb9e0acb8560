"""Output tensors: what may be asked for, and the columns of decisions as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.oip import inference_pb2 as pb
from steersman.serving.decision import REASONS, SOURCES, Decisions
from steersman.serving.errors import CallError, Code, invalid
from steersman.serving.rpc.oip.datatypes import BYTES, DATATYPE_OF, LENGTH_BYTES, frame

_SOURCES = tuple(map(str, SOURCES))
_REASONS = tuple(map(str, REASONS))
_REFUSED = frozenset({"classification", "shared_memory_region"})
"""Parameters of outputs that would change what comes back."""


class Column(Protocol):
    """An output: its datatype, its shape with N first, and its elements in either kind of contents."""

    @property
    def datatype(self) -> str:
        """Its datatype."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        ...

    def raw(self) -> bytes:
        """The elements as raw contents."""
        ...

    def typed(self) -> Sequence[Any]:
        """The elements as typed contents."""
        ...


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of any shape."""

    array: NDArray[Any]

    @property
    def datatype(self) -> str:
        """That of the array."""
        return DATATYPE_OF[self.array.dtype]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.array.shape

    def raw(self) -> bytes:
        """As they lie in memory."""
        return self.array.tobytes()

    def typed(self) -> Sequence[Any]:
        """Row-major."""
        elements: Sequence[Any] = self.array.ravel().tolist()
        return elements


@dataclass(frozen=True, slots=True)
class Texts:
    """BYTES [N]."""

    elements: Sequence[bytes]
    datatype = BYTES

    @property
    def shape(self) -> tuple[int, ...]:
        """[N]."""
        return (len(self.elements),)

    def raw(self) -> bytes:
        """Each after its length."""
        return frame(self.elements)

    def typed(self) -> Sequence[bytes]:
        """As they are."""
        return self.elements


@dataclass(frozen=True, slots=True)
class Names:
    """BYTES [N] out of a small vocabulary."""

    elements: Sequence[str]
    datatype = BYTES

    @property
    def shape(self) -> tuple[int, ...]:
        """[N]."""
        return (len(self.elements),)

    def raw(self) -> bytes:
        """Each after its length."""
        return b"".join(map(_framed, self.elements))

    def typed(self) -> Sequence[bytes]:
        """In UTF-8."""
        return [element.encode() for element in self.elements]


@dataclass(frozen=True, slots=True)
class Ids:
    """BYTES [N] of the same length, from an array [N, length]."""

    array: NDArray[np.uint8]
    datatype = BYTES

    @property
    def shape(self) -> tuple[int, ...]:
        """[N]."""
        return (len(self.array),)

    def raw(self) -> bytes:
        """Each after its length."""
        rows, length = self.array.shape
        framed = np.empty((rows, LENGTH_BYTES + length), np.uint8)
        framed[:, :LENGTH_BYTES] = np.frombuffer(length.to_bytes(LENGTH_BYTES, "little"), np.uint8)
        framed[:, LENGTH_BYTES:] = self.array
        return framed.tobytes()

    def typed(self) -> Sequence[bytes]:
        """Row by row."""
        return [row.tobytes() for row in self.array]


@lru_cache(maxsize=256)
def _framed(text: str) -> bytes:
    return frame([text.encode()])


def _tokens(decisions: Decisions) -> Column:
    return Texts(decisions.episode_tokens or [b""] * len(decisions.actions))


def _optional(column: NDArray[Any] | None, rows: int) -> Column:
    """What the policy does not have is no columns wide."""
    return Numbers(np.empty((rows, 0), np.float32) if column is None else column)


COLUMNS: Mapping[str, Callable[[Decisions], Column]] = {
    "action": lambda decisions: Numbers(decisions.actions),
    "source": lambda decisions: Names([_SOURCES[code] for code in decisions.sources.tolist()]),
    "reason": lambda decisions: Names([_REASONS[code] for code in decisions.reasons.tolist()]),
    "version": lambda decisions: Numbers(decisions.versions),
    "lane": lambda decisions: Names(decisions.lanes),
    "decision_id": lambda decisions: Ids(decisions.decision_ids),
    "log_prob": lambda decisions: Numbers(decisions.log_probs),
    "propensity": lambda decisions: Numbers(decisions.propensities),
    "episode_token": _tokens,
    "value": lambda decisions: _optional(decisions.values, len(decisions.actions)),
    "entropy": lambda decisions: _optional(decisions.entropies, len(decisions.actions)),
    "distribution": lambda decisions: _optional(decisions.distribution, len(decisions.actions)),
}
"""Every output by name."""

EVIDENCE = frozenset({"value", "entropy", "distribution"})
"""Outputs that cost something, and are computed when they are asked for."""

USUAL = tuple(name for name in COLUMNS if name not in EVIDENCE)
"""Outputs of a request that names none."""


def check_outputs(request: pb.ModelInferRequest) -> tuple[str, ...]:
    """Names of the outputs wanted.

    Raises:
        CallError: One is unknown, named twice, or wanted in a form that is not offered.
    """
    if not request.outputs:
        return USUAL
    names = tuple(output.name for output in request.outputs)
    if unknown := [name for name in names if name not in COLUMNS]:
        message = f"output {unknown[0][:64]!r} is unknown; expected some of {', '.join(COLUMNS)}"
        raise invalid("outputs", message)
    if len(set(names)) < len(names):
        raise invalid("outputs", "an output is named twice; expected each once")
    for output in request.outputs:
        if output.parameters and (refused := _REFUSED.intersection(output.parameters)):
            message = f"output {output.name}: {min(refused)} is not offered"
            raise CallError(Code.UNIMPLEMENTED, min(refused), message)
    return names
