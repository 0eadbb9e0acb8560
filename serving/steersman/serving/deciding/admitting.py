"""Before the model: which rows may be shown to the policy, by overrides, guard, masks and breaker.

And after it: what the breaker is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steersman.safety.guard_settings import GUARD_REASONS
from steersman.safety.masks import all_false_segments
from steersman.safety.overrides import ORDER_REASONS
from steersman.serving.deciding.batch import EpisodeRow
from steersman.serving.deciding.recurrent import unpack_state
from steersman.serving.deciding.remembering import ages_s
from steersman.serving.deciding.work import Work
from steersman.serving.decision import REASON_CODE, Reason

ORDER_CODES = np.array([REASON_CODE[Reason(reason)] for reason in ORDER_REASONS], np.int8)
"""Codes of `Reason` by the codes that orders have."""
_GUARD_CODES = np.array([REASON_CODE[Reason(reason)] for reason in GUARD_REASONS], np.int8)
_ERRORS = np.array(
    [
        REASON_CODE[reason]
        for reason in (
            Reason.MODEL_ERROR,
            Reason.MODEL_NON_FINITE,
            Reason.ACTION_MASKED,
            Reason.ACTION_OUT_OF_SPACE,
        )
    ],
    np.int8,
)
"""What the model is to blame for."""
SAY_NOTHING = np.array(
    [
        REASON_CODE[reason]
        for reason in (
            Reason.BREAKER_OPEN,
            Reason.DEADLINE_TOO_NEAR,
            Reason.OVERLOAD,
            Reason.MASK_ALL_FALSE,
            Reason.EPISODE_TOKEN_INVALID,
            Reason.EPISODE_TOKEN_EXPIRED,
            Reason.EPISODE_TOKEN_MISMATCH,
            Reason.OVERRIDE_PINNED,
            Reason.OVERRIDE_FALLBACK,
            Reason.KILL_SWITCH,
            Reason.LEASE_EXPIRED,
        )
    ],
    np.int8,
)
"""Reasons of rows that say nothing of the version."""


def take_episodes(work: Work, episodes: Sequence[EpisodeRow]) -> None:
    """Recurrent state, and the rows that fail for what is wrong with their tokens."""
    if work.lane.contract.state:
        work.state = unpack_state(work.lane.contract, [row.state for row in episodes])
    if any(row.failed for row in episodes):
        work.edit()
        failed = np.array([row.failed for row in episodes])
        work.reasons[failed] = [row.reason for row in episodes if row.failed]
        work.failed |= failed
        work.unanswered |= failed


def heed(work: Work) -> None:
    """Rows that people keep from the policy: the fallback answers them, or the pinned action does."""
    orders = work.orders
    if orders is None:
        return
    kept = orders.refused & ~orders.pinned & ~work.unanswered
    if np.count_nonzero(kept):
        work.edit()
        work.reasons[kept] = ORDER_CODES[orders.codes[kept]]
        work.unanswered |= kept


def guard(work: Work) -> None:
    """Judges observations. Rows whose tokens are bad keep that reason; those with orders, their answer."""
    verdicts = work.lane.safeguards.guard.check(
        work.columns.observations, work.features, work.memory, ages_s(work.columns, work.now_s)
    )
    if verdicts.clean:
        return
    known = work.failed if work.clean else work.failed.copy()
    work.edit()
    caught = ~verdicts.passed & ~known
    told = caught if work.orders is None else caught & ~work.orders.refused
    work.reasons[told] = _GUARD_CODES[verdicts.codes[told]]
    work.guarded = caught
    work.unanswered |= ~verdicts.passed
    work.failed |= verdicts.rejected & told


def check_masks(work: Work) -> None:
    """A mask that forbids everything leaves nothing to answer with, but perhaps the declared safe action."""
    mask = work.columns.action_mask
    if mask is None:
        return
    closed = all_false_segments(mask, work.lane.contract.action.mask_segments)
    if np.count_nonzero(closed):
        known = work.failed if work.clean else work.failed.copy()
        work.edit()
        work.reasons[closed & ~known] = REASON_CODE[Reason.MASK_ALL_FALSE]
        work.unanswered |= closed
        if work.lane.safeguards.safe_action is None:
            work.failed |= closed


def ask_breaker(work: Work) -> None:
    """Rows that the version's breaker does not let through."""
    breaker = work.lane.breaker
    if breaker is None or work.lane.apart:
        return
    admitted = work.admitted = breaker.admits(work.columns.rows)
    if admitted is not None:
        work.refuse(~admitted & ~work.unanswered, Reason.BREAKER_OPEN)


def tell_breaker(work: Work, seconds: float) -> None:
    """What became of the rows that the breaker let through. What people ordered says nothing of the version.

    Args:
        work: The rows, decided.
        seconds: What that took.
    """
    breaker = work.lane.breaker
    if breaker is None or work.lane.apart:
        return
    late_after_s = breaker.late_after_s
    is_late = late_after_s is not None and seconds > late_after_s
    if work.clean:
        breaker.note(work.columns.rows, late=work.columns.rows if is_late else 0)
        return
    asked = ~np.isin(work.reasons, SAY_NOTHING)
    if work.admitted is not None:
        asked &= work.admitted
    rows = int(np.count_nonzero(asked))
    errors = int(np.count_nonzero(asked & np.isin(work.reasons, _ERRORS)))
    guarded = 0 if work.guarded is None else int(np.count_nonzero(asked & work.guarded))
    breaker.note(rows, errors=errors, guarded=guarded, late=rows if is_late else 0)
