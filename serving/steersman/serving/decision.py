"""The vocabulary of a decision. Read this first.

A decision is an action together with who made it (`Source`) and, when that is not the policy itself, why
(`Reason`). A fallback is a decision like any other, never an error; a row that has no action has a
`RowError`, whose `reason` is from the same vocabulary. The engine keeps decisions as columns; the
position of a member in its enum is its code there and in the counters, so new members go at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Source(StrEnum):
    """Who made the action."""

    NONE = "none"
    """Nobody: the row failed."""
    POLICY = "policy"
    """The policy, greedily."""
    EXPLORATION = "exploration"
    """The policy, sampled."""
    FALLBACK = "fallback"
    """The fallback chain."""
    SHIELD = "shield"
    """The policy's action, changed so that it keeps the constraints."""
    OVERRIDE = "override"
    """A person's override."""
    SAFE_ACTION = "safe_action"
    """The declared safe action, exempt from the mask."""


class Reason(StrEnum):
    """Why the source is not the policy, why a row has no action, or what its caller should know beside it."""

    NONE = ""
    """The policy answered."""
    OBSERVATION_NON_FINITE = "observation_non_finite"
    """The observation holds NaN or an infinity."""
    OBSERVATION_OUT_OF_BOUNDS = "observation_out_of_bounds"
    """The observation is outside the bounds that the policy or the deployment declares."""
    OBSERVATION_OUT_OF_TRAINING_RANGE = "observation_out_of_training_range"
    """The observation is further from what the policy was trained on than the deployment allows."""
    MODEL_ERROR = "model_error"
    """The model could not be run."""
    MODEL_NON_FINITE = "model_non_finite"
    """The model's output holds NaN or an infinity."""
    ACTION_MASKED = "action_masked"
    """The model's action is not allowed by the mask."""
    MASK_ALL_FALSE = "mask_all_false"
    """The mask forbids every choice of a segment."""
    NO_FEASIBLE_ACTION = "no_feasible_action"
    """Nothing that the fallback chain offers is allowed."""
    DEADLINE_TOO_NEAR = "deadline_too_near"
    """The caller's deadline leaves the model no time."""
    OVERLOAD = "overload"
    """More rows wait than the server may keep waiting."""
    EPISODE_TOKEN_INVALID = "episode_token_invalid"  # noqa: S105  a reason, no password
    """The episode token was not made by this server or its replicas, or was changed."""
    EPISODE_TOKEN_EXPIRED = "episode_token_expired"  # noqa: S105
    """The episode token is too old."""
    EPISODE_TOKEN_MISMATCH = "episode_token_mismatch"  # noqa: S105
    """The episode token belongs to another policy, episode or step."""
    EPISODE_CUT = "episode_cut"
    """The version of the episode's token is no longer served; another one answered, beginning anew."""
    EPISODE_STATE_MISSING = "episode_state_missing"
    """A recurrent policy was asked in mid-episode without a token; it answered, beginning anew."""
    OBSERVATION_STUCK = "observation_stuck"
    """A feature has had the same value for longer than the deployment allows."""
    OBSERVATION_STALE = "observation_stale"
    """The observation is older than the deployment allows, or does not say how old it is."""
    OBSERVATION_FAR_FROM_TRAINING = "observation_far_from_training"
    """The features together are further from what was seen in training than the deployment allows."""
    LOW_CONFIDENCE = "low_confidence"
    """The policy is less sure of its action than the deployment asks for."""
    CONSTRAINT_VIOLATED = "constraint_violated"
    """The policy's action would violate a constraint: it was changed, or a fallback answered."""
    BREAKER_OPEN = "breaker_open"
    """The version's breaker is open, or half-open and this row was not among those let through."""
    LATCHED = "latched"
    """A fallback answered the episode lately, and the policy has not yet been healthy for long enough."""
    RETURNING = "returning"
    """After a fallback the action goes over to the policy's gradually."""
    OVERRIDE_PINNED = "override_pinned"
    """A person pinned the action."""
    OVERRIDE_FALLBACK = "override_fallback"
    """A person asked for the fallback."""
    KILL_SWITCH = "kill_switch"
    """The kill switch is on: no policy answers."""
    LEASE_EXPIRED = "lease_expired"
    """Nobody has renewed the lease on autonomous operation."""
    ACTION_OUT_OF_SPACE = "action_out_of_space"
    """The model's action is not in the action space."""


SOURCES: tuple[Source, ...] = tuple(Source)
REASONS: tuple[Reason, ...] = tuple(Reason)
SOURCE_CODE: dict[Source, int] = {source: code for code, source in enumerate(SOURCES)}
REASON_CODE: dict[Reason, int] = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row has no action.

    Attributes:
        row: The row, counted from 0 within its call.
        reason: Machine-readable reason.
        message: What was wrong, where, what was expected.
        retryable: True when the same row may succeed if it is sent again.
    """

    row: int
    reason: Reason
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Intervention:
    """A change that a safety layer made to one row's action.

    Attributes:
        row: The row, counted from 0 within its call.
        layer: fallback, safe_action, constraint, return or override.
        name: Name of the fallback member, constraint or override.
        reason: Why.
        before: The action before, [*action shape]; None where there was none that is usable.
        after: The action after.
        margin: How far the action before was from the constraint's limit, in its unit; negative when it was
            violated, NaN where there is no constraint.
    """

    row: int
    layer: str
    name: str
    reason: Reason
    before: Array | None
    after: Array
    margin: float = math.nan


N = TypeVar("N", RowError, Intervention)


@dataclass(slots=True)
class Decisions:
    """The decisions of one call, as columns. N rows; entry i of every column belongs to row i.

    Attributes:
        actions: [N, *action shape], as the environment takes them; zeros where the row failed.
        sources: [N] int8 codes of `Source`.
        reasons: [N] int8 codes of `Reason`.
        versions: [N] int64.
        lanes: One name per row.
        decision_ids: [N, 16] uint8.
        log_probs: [N] float32, log probability of the unclipped sampled action; NaN where none was.
        propensities: [N] float64, probability with which the whole stack takes this action; NaN for none.
        values: [N] float32, or None when not asked for.
        entropies: [N] float32 in nats, or None when not asked for.
        distribution: [N, P] float32, or None when not asked for.
        episode_tokens: One per row, empty where there is none; empty altogether where no row has one.
        errors: Rows without an action, in row order.
        interventions: What the safety layers changed, in row order.
    """

    actions: Array
    sources: NDArray[np.int8]
    reasons: NDArray[np.int8]
    versions: NDArray[np.int64]
    lanes: list[str]
    decision_ids: NDArray[np.uint8]
    log_probs: NDArray[np.float32]
    propensities: NDArray[np.float64]
    values: NDArray[np.float32] | None = None
    entropies: NDArray[np.float32] | None = None
    distribution: NDArray[np.float32] | None = None
    episode_tokens: list[bytes] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    interventions: list[Intervention] = field(default_factory=list)

    def rows(self, start: int, end: int, evidence: frozenset[str]) -> Decisions:
        """Rows `start` to `end`, with the evidence named; row numbers count from `start`."""
        part = slice(start, end)
        return Decisions(
            actions=self.actions[part],
            sources=self.sources[part],
            reasons=self.reasons[part],
            versions=self.versions[part],
            lanes=self.lanes[part],
            decision_ids=self.decision_ids[part],
            log_probs=self.log_probs[part],
            propensities=self.propensities[part],
            values=_part(self.values, part, wanted="value" in evidence),
            entropies=_part(self.entropies, part, wanted="entropy" in evidence),
            distribution=_part(self.distribution, part, wanted="distribution" in evidence),
            episode_tokens=self.episode_tokens[part],
            errors=_within(self.errors, start, end),
            interventions=_within(self.interventions, start, end),
        )


def _within(noted: Sequence[N], start: int, end: int) -> list[N]:
    """What was noted of rows `start` to `end`, counted from `start`."""
    if not noted:
        return []
    return [replace(note, row=note.row - start) for note in noted if start <= note.row < end]


def _part(column: NDArray[np.float32] | None, part: slice, *, wanted: bool) -> NDArray[np.float32] | None:
    return column[part] if wanted and column is not None else None
