"""What comes back: an action that explains itself.

`Source` is the server's vocabulary; `reason` is a plain string, so that a newer server may know more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from steersman.client.errors import RowFailedError

Array = NDArray[Any]
Action = int | Array
"""What `env.step` takes: a plain int for Discrete spaces, an array for all others."""


class Source(StrEnum):
    """Who made the action."""

    NONE = "none"
    """Nobody: the row failed."""
    POLICY = "policy"
    """The policy, greedily."""
    EXPLORATION = "exploration"
    """The policy, sampled."""
    FALLBACK = "fallback"
    """The fallback chain; `reason` says why it was needed."""
    SHIELD = "shield"
    """The policy's action, changed so that it keeps the constraints."""
    OVERRIDE = "override"
    """A person's override."""
    SAFE_ACTION = "safe_action"
    """The declared safe action, exempt from the mask."""
    LOCAL_FALLBACK = "local_fallback"
    """The client's own fallback chain: its check was against the server's action, or nobody answered."""
    UNKNOWN = "unknown"
    """A source that a newer server knows and this client does not."""


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """A change that a safety layer made to one row's action.

    Attributes:
        row: The row, counted from 0.
        layer: Layer that changed it: fallback, constraint, breaker or override.
        name: Fallback member, constraint or override, as the deployment calls it.
        reason: Why, lower_snake_case.
        before: Action that the model wanted; None where it gave none that is usable.
        after: Action after.
        margin: How far the constraint was from its limit, in its own unit; negative when violated.
    """

    row: int
    layer: str
    name: str
    reason: str
    before: Array | None
    after: Array | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row of a batch has no action.

    Attributes:
        row: The row, counted from 0.
        reason: Machine-readable reason, lower_snake_case.
        message: What was wrong, where, what was expected.
        code: Status that a call with this row alone would have had.
        retryable: True when the same row may succeed if it is sent again.
    """

    row: int
    reason: str
    message: str
    code: StatusCode = StatusCode.FAILED_PRECONDITION
    retryable: bool = False

    def as_exception(self) -> RowFailedError:
        """The same as an exception."""
        return RowFailedError(self.message, code=self.code, reason=self.reason, retryable=self.retryable)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One action, who made it and why.

    Attributes:
        action: As the environment takes it: `env.step(decision.action)`.
        source: Who made the action.
        reason: Why the source is not the policy itself; empty where it is.
        version: Version that the call was routed to; 0 where no server answered, but a local check did.
        lane: stable, control, canary, shadow or the name of an arm.
        decision_id: 16 bytes, for `report` and the logs, which write `decision_id.hex()`.
        log_prob: Log probability (density for Box) of the unclipped sampled action; None if none was sampled.
        propensity: Probability with which the whole stack takes this action; None where it has none.
        value: The policy's estimate of the return; None if not asked for, or where there is none.
        entropy: Entropy of the policy's distribution in nats; None likewise.
        distribution: Its parameters, shape [P]; None likewise.
        interventions: What the safety layers changed.
        episode_token: To be sent with the episode's next step; handles of episodes do that by themselves.
    """

    action: Action
    source: Source
    reason: str
    version: int
    lane: str
    decision_id: bytes
    log_prob: float | None = None
    propensity: float | None = None
    value: float | None = None
    entropy: float | None = None
    distribution: Array | None = None
    interventions: tuple[Intervention, ...] = ()
    episode_token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """The decisions of a batch, as columns: entry i of every column belongs to row i.

    `decisions[i]` is row i as a `Decision`, and iteration gives them in order. A row that failed raises its
    `RowFailedError` there, so that its zeros are never taken for an action; see `errors` and `failed` first
    where rows may fail.

    Attributes:
        actions: [N, *action shape], as `VectorEnv.step` takes them; zeros where the row failed.
        sources: Who made each action.
        reasons: Why, where the source is not the policy itself.
        versions: [N] int64.
        lanes: One per row.
        decision_ids: 16 bytes each.
        log_probs: [N] float32, NaN where there is none.
        propensities: [N] float64, NaN where there is none.
        values: [N] float32, NaN where there is none; None if not asked for.
        entropies: [N] float32 in nats, likewise.
        distribution: [N, P], likewise.
        episode_tokens: One per row; empty where the server keeps no state for it.
        errors: Rows without an action, in row order.
        interventions: What the safety layers changed, in row order.
    """

    actions: Array
    sources: tuple[Source, ...]
    reasons: tuple[str, ...]
    versions: NDArray[np.int64]
    lanes: tuple[str, ...]
    decision_ids: tuple[bytes, ...]
    log_probs: NDArray[np.float32]
    propensities: NDArray[np.float64]
    values: NDArray[np.float32] | None = None
    entropies: NDArray[np.float32] | None = None
    distribution: Array | None = None
    episode_tokens: tuple[bytes, ...] = field(default=(), repr=False)
    errors: tuple[RowError, ...] = ()
    interventions: tuple[Intervention, ...] = ()

    @property
    def failed(self) -> NDArray[np.bool_]:
        """[N], true where the row has no action."""
        failed = np.zeros(len(self), bool)
        failed[[error.row for error in self.errors]] = True
        return failed

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[Decision]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Decision:
        """Row `row`, counted from 0, or from the end if negative.

        Raises:
            IndexError: There is no such row.
            RowFailedError: The row has no action.
        """
        row = range(len(self))[row]
        for error in self.errors:
            if error.row == row:
                raise error.as_exception()
        return Decision(
            action=action_of_row(self.actions, row),
            source=self.sources[row],
            reason=self.reasons[row],
            version=int(self.versions[row]),
            lane=self.lanes[row],
            decision_id=self.decision_ids[row],
            log_prob=_entry(self.log_probs, row),
            propensity=_entry(self.propensities, row),
            value=_entry(self.values, row),
            entropy=_entry(self.entropies, row),
            distribution=None if self.distribution is None else self.distribution[row],
            interventions=tuple(item for item in self.interventions if item.row == row),
            episode_token=self.episode_tokens[row],
        )


def action_of_row(actions: Array, row: int) -> Action:
    """One row's action: a plain int for Discrete, an array for all others."""
    action: Array = actions[row, ...]
    if action.ndim == 0 and action.dtype.kind in "iu":
        return int(action)
    return action


def _entry(column: NDArray[np.floating[Any]] | None, row: int) -> float | None:
    return None if column is None else not_nan(column[row].item())


def not_nan(number: float) -> float | None:
    """The number, a zero without its sign; None for NaN, which on the wire means that there is none."""
    return number + 0.0 if number == number else None  # noqa: PLR0124, the quickest test for NaN
