"""What came of decisions, reported back: rewards, ends of episodes, actions that were really taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from numpy.typing import ArrayLike

from steersman.client.description import ActionSpec, nanos_from_time
from steersman.client.errors import InvalidRequestError
from steersman.client.tensors import cast, encode
from steersman.v1 import policy_pb2 as pb

EpisodeEnd = Literal["terminated", "truncated"]
"""How an episode ended: in a terminal state, or cut short from outside."""

_ENDS: dict[str | None, pb.EpisodeEnd.ValueType] = {
    None: pb.EPISODE_END_UNSPECIFIED,
    "terminated": pb.EPISODE_END_TERMINATED,
    "truncated": pb.EPISODE_END_TRUNCATED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One thing that came of a decision or an episode.

    Attributes:
        policy: Policy of the decision or the episode.
        decision_id: The decision that this belongs to; may be empty if `episode_id` is given.
        episode_id: The episode that this belongs to.
        name: What was measured, such as "reward"; empty when only the other fields are reported.
        value: The measured value, in the environment's own unit.
        observed: When it was measured; None if unknown.
        episode_end: Set when the episode ended with this.
        episode_steps: Number of steps of the episode, when it ended.
        action_taken: The action that was really taken, if it was not the decided one.
        action_taken_by: Who took it, such as "operator" or "actuator-limit".
        idempotency_key: Reported twice with the same key, it counts once. Empty: the client makes one.

    Example:
        >>> Outcome(policy="cartpole", episode_id="7", name="return", value=500.0).value
        500.0
    """

    policy: str
    decision_id: bytes = b""
    episode_id: str = ""
    name: str = ""
    value: float = 0.0
    observed: datetime | None = None
    episode_end: EpisodeEnd | None = None
    episode_steps: int = 0
    action_taken: ArrayLike | None = None
    action_taken_by: str = ""
    idempotency_key: bytes = b""


@dataclass(frozen=True, slots=True)
class OutcomeError:
    """Why one outcome was not taken.

    Attributes:
        index: Its place in what was reported, counted from 0.
        reason: Machine-readable reason, lower_snake_case.
        message: What was wrong, where, what was expected.
    """

    index: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """What the server made of a report.

    Attributes:
        accepted: Outcomes that were taken, duplicates not counted.
        duplicates: Outcomes that had been reported before.
        errors: Those that were not taken.
    """

    accepted: int
    duplicates: int
    errors: tuple[OutcomeError, ...] = ()


def write_outcome(outcome: Outcome, spec: ActionSpec | None, fresh_key: bytes) -> pb.Outcome:
    """The outcome on the wire.

    Args:
        outcome: What is reported.
        spec: The policy's actions; needed only for `action_taken`.
        fresh_key: Used if the outcome has no idempotency key.

    Raises:
        InvalidRequestError: A field cannot be right.
    """
    if outcome.episode_end not in _ENDS:
        known = ", ".join(str(end) for end in _ENDS)
        raise InvalidRequestError(
            f"episode_end is {outcome.episode_end!r}; expected one of {known}", reason="episode_end"
        )
    message = pb.Outcome(
        decision_id=outcome.decision_id,
        episode_id=outcome.episode_id,
        policy=outcome.policy,
        name=outcome.name,
        value=outcome.value,
        observed_unix_nanos=nanos_from_time(outcome.observed),
        idempotency_key=outcome.idempotency_key or fresh_key,
        episode_end=_ENDS[outcome.episode_end],
        action_taken_by=outcome.action_taken_by,
        episode_steps=outcome.episode_steps,
    )
    if outcome.action_taken is not None and spec is not None:
        message.action_taken.CopyFrom(_write_action(outcome.action_taken, spec))
    return message


def _write_action(action: ArrayLike, spec: ActionSpec) -> pb.Tensor:
    array = cast(action, spec.dtype, "action_taken")
    if array.shape != spec.shape:
        raise InvalidRequestError(
            f"action_taken has shape {list(array.shape)}; expected {list(spec.shape)}", reason="action_shape"
        )
    return encode(array)


def read_report(answer: pb.ReportOutcomeResponse) -> OutcomeReport:
    """The server's answer."""
    errors = tuple(OutcomeError(error.index, error.reason, error.message) for error in answer.errors)
    return OutcomeReport(answer.accepted, answer.duplicates, errors)
