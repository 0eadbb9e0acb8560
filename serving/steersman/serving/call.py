"""One call as a transport hands it over: decoded, but not yet checked against the policy's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from steersman.bundle.specs import Mode

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class RawTensor:
    """A tensor as it came.

    Attributes:
        elements: The elements, one axis.
        shape: The shape given; None where it was left out.
        typed: False for plain numbers (float64 here), which are cast to the declared type.
    """

    elements: Array
    shape: tuple[int, ...] | None
    typed: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        policy: Name of the policy.
        observations: By key; the key of a plain space is empty.
        action_mask: The mask; None allows everything.
        mode: Greedy or sampled, for all rows.
        version: Version asked for; 0 lets routing choose.
        evidence: Outputs wanted beside the action: `value`, `entropy`, `distribution`.
        episode_ids: One per row, or empty.
        idempotency_keys: One per row, or empty; an empty key lets the server choose the decision id.
        starts: Number of rows that begin an episode.
        per_row: Lengths of the request's other per-row fields, by name, to be checked.
        arrived_ns: When the transport had the call, `time.perf_counter_ns`.
    """

    policy: str
    observations: Mapping[str, RawTensor]
    action_mask: RawTensor | None = None
    mode: Mode = "greedy"
    version: int = 0
    evidence: frozenset[str] = frozenset()
    episode_ids: Sequence[str] = ()
    idempotency_keys: Sequence[bytes] = ()
    starts: int = 0
    per_row: Mapping[str, int] = field(default_factory=dict)
    arrived_ns: int = 0
