"""Decisions of one call that were made in several lanes, put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.serving.decision import Decisions

Array = NDArray[Any]


def gather(parts: Sequence[tuple[NDArray[np.intp], Decisions]]) -> Decisions:
    """The decisions of a call from those of its parts, each with the places of its rows in the call.

    Evidence that one of the parts lacks, or has in another shape, is left out: a column is of one meaning.
    """
    places = np.concatenate([rows for rows, _ in parts])
    order = np.argsort(places)
    found = [decisions for _, decisions in parts]
    numbers = [rows.tolist() for rows, _ in parts]
    return Decisions(
        actions=np.concatenate([each.actions for each in found])[order],
        sources=np.concatenate([each.sources for each in found])[order],
        reasons=np.concatenate([each.reasons for each in found])[order],
        versions=np.concatenate([each.versions for each in found])[order],
        lanes=_ordered([each.lanes for each in found], order),
        decision_ids=np.concatenate([each.decision_ids for each in found])[order],
        log_probs=np.concatenate([each.log_probs for each in found])[order],
        propensities=np.concatenate([each.propensities for each in found])[order],
        values=_evidence([each.values for each in found], order),
        entropies=_evidence([each.entropies for each in found], order),
        distribution=_evidence([each.distribution for each in found], order),
        episode_tokens=_ordered([each.episode_tokens for each in found], order),
        errors=sorted(
            (replace(e, row=rows[e.row]) for rows, d in zip(numbers, found, strict=True) for e in d.errors),
            key=lambda error: error.row,
        ),
        interventions=sorted(
            (
                replace(i, row=rows[i.row])
                for rows, d in zip(numbers, found, strict=True)
                for i in d.interventions
            ),
            key=lambda intervention: intervention.row,
        ),
    )


def _ordered(lists: Sequence[list[Any]], order: NDArray[np.intp]) -> list[Any]:
    joined = [item for part in lists for item in part]
    return [joined[place] for place in order]


def _evidence(columns: Sequence[Array | None], order: NDArray[np.intp]) -> Array | None:
    there = [column for column in columns if column is not None]
    if len(there) < len(columns) or len({column.shape[1:] for column in there}) != 1:
        return None
    return np.concatenate(there)[order]
