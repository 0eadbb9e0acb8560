"""Decisions made up, without an engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from steersman.serving.decision import SOURCE_CODE, Decisions, Reason, RowError, Source


def decisions(count: int = 2, **columns: Any) -> Decisions:
    """Decisions of `count` rows by version 3 of a policy, greedily."""
    made = {
        "actions": np.arange(count),
        "sources": np.full(count, SOURCE_CODE[Source.POLICY], np.int8),
        "reasons": np.zeros(count, np.int8),
        "versions": np.full(count, 3, np.int64),
        "lanes": ["stable"] * count,
        "decision_ids": np.arange(16 * count, dtype=np.uint8).reshape(count, 16),
        "log_probs": np.full(count, np.nan, np.float32),
        "propensities": np.full(count, 0.5),
    }
    return Decisions(**{**made, **columns})


def failed(row: int, reason: Reason = Reason.MASK_ALL_FALSE, *, retryable: bool = False) -> RowError:
    """A row without an action."""
    return RowError(row, reason, "nothing is allowed", retryable)
