"""One call as a transport hands it over: decoded, but not yet checked against the policy's contract.

Nobody changes a call. The classes are not frozen all the same: some are made for every call, and a frozen one
takes ten times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.serving.decision import Reason

Array = NDArray[Any]


@dataclass(slots=True, eq=False)
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


@dataclass(slots=True, eq=False)
class Call:
    """One call.

    Attributes:
        policy: Name of the policy.
        observations: By key; the key of a plain space is empty.
        action_mask: The mask; None allows everything.
        mode: Greedy or sampled, for all rows.
        version: Version asked for; 0 lets routing choose.
        version_label: Label asked for instead of a version; empty lets routing choose.
        evidence: Outputs wanted beside the action: `value`, `entropy`, `distribution`.
        episode_ids: One per row, or empty.
        idempotency_keys: One per row, or empty; an empty key lets the server choose the decision id.
        episode_tokens: One per row, or empty; an empty token is none.
        steps: Steps of the episode before this one, one per row, or empty.
        episode_starts: Whether the row begins its episode, one per row, or empty.
        observation_times: Unix nanoseconds, one per row, or empty.
        arrived_ns: When the transport had the call, `time.perf_counter_ns`.
        deadline_ns: When its caller stops waiting, on the same clock; 0 for never.
        refused: Why the policy shall not answer, so that the fallback does; NONE where it shall.
        tag: Whatever the transport wants to find again beside the outcome.
    """

    policy: str
    observations: Mapping[str, RawTensor]
    action_mask: RawTensor | None = None
    mode: Mode = "greedy"
    version: int = 0
    version_label: str = ""
    evidence: frozenset[str] = frozenset()
    episode_ids: Sequence[str] = ()
    idempotency_keys: Sequence[bytes] = ()
    episode_tokens: Sequence[bytes] = ()
    steps: Sequence[int] = ()
    episode_starts: Sequence[bool] = ()
    observation_times: Sequence[int] = ()
    arrived_ns: int = 0
    deadline_ns: int = 0
    refused: Reason = Reason.NONE
    tag: Any = None
