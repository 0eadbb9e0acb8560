"""Rules that can never decide, found when they are loaded.

Where rules only compare features with numbers, the numbers cut each feature's line into points and the
intervals between them, and every condition is constant on each cell of the grid that they make. One value
from each cell is as good as all: the rules are tried on those, and a rule that decides none of them never
decides. A rule that does more, such as arithmetic, is left alone, and is not held against those after it.

Any finite value that a feature's type can hold counts as possible, not only those within declared bounds:
what is outside of them is just what falls back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, feature_names
from steersman.safety.columns import Features
from steersman.safety.errors import SafetyError
from steersman.safety.expressions import Condition
from steersman.safety.expressions.parts import thresholds

MOST_CELLS = 4096
"""Larger grids are not tried: loading must stay fast."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A feature's line: its lowest and highest value, and whether only integers are on it."""

    low: float
    high: float
    whole: bool

    def values(self, cuts: Sequence[float]) -> NDArray[np.float64]:
        """One value from each cell that the cuts make; integers may come from several."""
        inner = [cut for cut in cuts if self.low <= cut <= self.high]
        ends = [self.low, *inner, self.high]
        between = [low / 2 + high / 2 for low, high in pairwise(ends)]
        values = np.unique(np.array([*ends, *between]))
        if self.whole:
            near = np.concatenate(
                [np.floor(values), np.ceil(values), np.array(inner) - 1, np.array(inner) + 1]
            )
            values = np.unique(near[(near >= self.low) & (near <= self.high)])
        return values


def refuse_unreachable(
    conditions: Sequence[Condition], contract: Contract, *, has_default: bool, where: str
) -> None:
    """Refuse rules that can never decide.

    Args:
        conditions: Of the rules, in order.
        contract: The policy's contract.
        has_default: Whether there is a default after them. One that is never needed does no harm, unless a
            rule before it is written to be always true.
        where: What errors call the rules.

    Raises:
        SafetyError: A condition is never true, or earlier ones are true wherever it is.
    """
    for i, condition in enumerate(conditions):
        at = f"{where}[{i}].when"
        if condition.constant is False:
            raise SafetyError("this condition is never true", where=at, expected="one that can be true")
        if condition.constant is True and (has_default or i < len(conditions) - 1):
            after = f"{where}[{i + 1}]" if i < len(conditions) - 1 else f"{where}.default"
            hint = "Make the last rule the default, or remove what comes after it."
            raise SafetyError(
                f"this condition is always true, so {after} is never reached", where=at, hint=hint
            )
    _refuse_covered(conditions, contract, where)


def _refuse_covered(conditions: Sequence[Condition], contract: Contract, where: str) -> None:
    names, lines = feature_names(contract), _lines(contract)
    cuts = [thresholds(condition, names) for condition in conditions]
    for i, (condition, own) in enumerate(zip(conditions, cuts, strict=True)):
        if own is None:
            continue
        known = [k for k in range(i) if (there := cuts[k]) is not None and set(there) <= set(own)]
        grid = _grid([own, *(cuts[k] or {} for k in known)], lines)
        if grid is None:
            continue
        true = condition(grid)
        if not true.any():
            raise SafetyError(
                "this condition is never true", where=f"{where}[{i}].when", expected="one that can be true"
            )
        earlier = {k: conditions[k](grid) & true for k in known}
        covering = _covering(earlier, true)
        if covering:
            rules = " and ".join(f"{where}[{k}]" for k in covering)
            verb = "is" if len(covering) == 1 else "are"
            raise SafetyError(
                f"this rule never decides: wherever it is true, {rules} {verb}, too",
                where=f"{where}[{i}].when",
                hint="Put it before, or remove it.",
            )


def _covering(earlier: dict[int, NDArray[np.bool_]], true: NDArray[np.bool_]) -> list[int]:
    """The rules that together are true wherever `true` is, in order; none where they are not."""
    alone = [k for k, cells in earlier.items() if cells.sum() == true.sum()]
    if alone:
        return alone[:1]
    open_cells, needed = true.copy(), []
    for k, cells in earlier.items():
        if (cells & open_cells).any():
            needed.append(k)
            open_cells &= ~cells
    return [] if open_cells.any() else needed


def _grid(cuts: Sequence[Mapping[int, frozenset[float]]], lines: Sequence[_Line]) -> Features | None:
    """A row from every cell, zero in features that are not cut; None where there are too many."""
    joined: dict[int, set[float]] = {}
    for each in cuts:
        for column, numbers in each.items():
            joined.setdefault(column, set()).update(numbers)
    values = {column: lines[column].values(sorted(numbers)) for column, numbers in joined.items()}
    cells = prod(len(each) for each in values.values())
    if cells > MOST_CELLS:
        return None
    grid = np.zeros((cells, len(lines)))
    for column, mesh in zip(values, np.meshgrid(*values.values(), indexing="ij"), strict=True):
        grid[:, column] = mesh.ravel()
    return grid


def _lines(contract: Contract) -> list[_Line]:
    lines: list[_Line] = []
    for spec in contract.observations:
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "b":
            line = _Line(0.0, 1.0, whole=True)
        elif dtype.kind in "iu":
            limits = np.iinfo(dtype)
            line = _Line(float(limits.min), float(limits.max), whole=True)
        else:
            largest = float(np.finfo(dtype).max)
            line = _Line(-largest, largest, whole=False)
        lines += [line] * spec.size
    return lines
