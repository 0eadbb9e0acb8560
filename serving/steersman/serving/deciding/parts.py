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

    Rows of a part that lacks some evidence have NaN there: their version offers none, or no model was run for
    them. A column that parts have in different shapes is left out, for it is of one meaning.
    """
    places = np.concatenate([rows for rows, _ in parts])
    order = np.argsort(places)
    found = [decisions for _, decisions in parts]
    numbers = [rows.tolist() for rows, _ in parts]
    rows = [len(of_part) for of_part in numbers]
    return Decisions(
        actions=np.concatenate([each.actions for each in found])[order],
        sources=np.concatenate([each.sources for each in found])[order],
        reasons=np.concatenate([each.reasons for each in found])[order],
        versions=np.concatenate([each.versions for each in found])[order],
        lanes=_ordered([each.lanes for each in found], order),
        decision_ids=np.concatenate([each.decision_ids for each in found])[order],
        log_probs=np.concatenate([each.log_probs for each in found])[order],
        propensities=np.concatenate([each.propensities for each in found])[order],
        values=_evidence([each.values for each in found], rows, order),
        entropies=_evidence([each.entropies for each in found], rows, order),
        distribution=_evidence([each.distribution for each in found], rows, order),
        episode_tokens=_ordered([each.episode_tokens for each in found], order),
        errors=sorted(
            (replace(e, row=of[e.row]) for of, d in zip(numbers, found, strict=True) for e in d.errors),
            key=lambda error: error.row,
        ),
        interventions=sorted(
            (
                replace(i, row=of[i.row])
                for of, d in zip(numbers, found, strict=True)
                for i in d.interventions
            ),
            key=lambda intervention: intervention.row,
        ),
    )


def _ordered(lists: Sequence[list[Any]], order: NDArray[np.intp]) -> list[Any]:
    joined = [item for part in lists for item in part]
    return [joined[place] for place in order]


def _evidence(columns: Sequence[Array | None], rows: Sequence[int], order: NDArray[np.intp]) -> Array | None:
    """A column of all rows from those of the parts, which have that many `rows` each."""
    shapes = {column.shape[1:] for column in columns if column is not None}
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    filled = [
        np.full((count, *shape), np.nan, np.float32) if column is None else column
        for column, count in zip(columns, rows, strict=True)
    ]
    return np.concatenate(filled)[order]
