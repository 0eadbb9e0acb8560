"""Dwell: a choice that was made is kept for some time, or for some decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, DiscreteAction
from steersman.safety.columns import Array, Rows
from steersman.safety.constraints.batch import Batch, Numbers, Remembering
from steersman.safety.constraints.naming import choice_column, element_indices
from steersman.safety.constraints.settings import DwellSettings
from steersman.safety.errors import SafetyError
from steersman.safety.memory import Fields, Memory


class Dwell(Remembering):
    """`dwell`. A margin is how much longer than needed the choices given up were kept; NaN where none was.

    Remembered is for each dimension since when (Unix seconds, 0 for long ago) or for how many decisions its
    choice has been the same.
    """

    remembers = True

    def __init__(self, name: str, settings: DwellSettings, action: ActionSpec, where: str) -> None:
        self._action = action
        self._dimensions = _dimensions(settings, action, where)
        self._assumed = _assumed(settings, self._dimensions, action, where)
        self._hold = settings.start == "hold" or settings.assumed is not None
        self._steps = settings.min_s is None
        self._least: float = settings.min_steps or 0 if settings.min_s is None else settings.min_s
        self.unit = "decisions" if self._steps else "s"
        self._field = f"{name}.{'steps' if self._steps else 'since'}"
        self.fields: Fields = {self._field: ("<i4" if self._steps else "<f8", (len(self._dimensions),))}

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """How long the choices that change were kept, less what is needed; infinite where none changes."""
        before, held, bound = self._before(batch)
        left = np.where(bound & (self._own(actions) != before), held - self._least, np.inf)
        margin: Numbers = np.minimum.reduce(left, axis=1)
        return margin

    def clear(self, batch: Batch, actions: Array) -> bool:
        """Nothing has to be kept, or everything is."""
        memory = batch.memory
        if memory is None or (self._assumed is not None and batch.remembered is None):
            return self._assumed is None
        cells = memory.cells[self._field]
        held = cells if self._steps else memory.now_s[:, None] - cells
        if int(np.count_nonzero(held >= self._least)) == held.size:
            return True
        return not np.count_nonzero(actions != memory.previous)

    def clear_one(self, batch: Batch, action: Sequence[int]) -> bool:
        """Nothing has to be kept, or everything is."""
        memory = batch.memory
        if memory is None or not memory.known.item():
            return self._assumed is None
        before, now = memory.previous.ravel().tolist(), memory.now_s.item()
        cells = memory.cells[self._field].ravel().tolist()
        for dimension, cell in zip(self._dimensions, cells, strict=True):
            if action[dimension] != before[dimension]:
                held = cell if self._steps else now - cell
                if not held >= self._least:
                    return False
        return True

    def allowed(self, batch: Batch) -> NDArray[np.bool_]:
        """The choice before, in dimensions where it was not kept for long enough; else all."""
        segments = self._action.mask_segments
        allowed = np.ones((batch.rows, sum(segments)), np.bool_)
        before, held, bound = self._before(batch)
        bound = bound & (held < self._least)
        start = self._action.start if isinstance(self._action, DiscreteAction) else 0
        for i, dimension in enumerate(self._dimensions):
            first, width = sum(segments[:dimension]), segments[dimension]
            same = np.arange(start, start + width) == before[:, i, None]
            allowed[:, first : first + width] = same | ~bound[:, i, None]
        return allowed

    def holds_any(self, constants: Sequence[Array]) -> bool:
        """Whether for every choice that may have to be kept one of these actions keeps it."""
        if len(self._dimensions) > 1:  # of several dimensions any may have to be kept beside any other
            return False
        dimension = self._dimensions[0]
        offered = {int(constant.ravel()[dimension]) for constant in constants}
        return len(offered) == self._action.mask_segments[dimension]

    def update(self, memory: Memory, actions: Array, answered: Rows) -> None:
        """Goes on counting where the choice is the same, and begins anew where it is not."""
        cells = memory.cells[self._field]
        before = self._own(memory.previous)
        same = (self._own(actions) == before) & memory.known[:, None]
        if self._steps:
            first = np.where(memory.known, 1, 1 if self._hold else int(self._least))
            found = np.where(same, np.minimum(cells, 2**31 - 2) + 1, first[:, None])
        else:
            first = np.where(memory.known | self._hold, memory.now_s, 0.0)
            found = np.where(same, cells, first[:, None])
        cells[answered] = found[answered]

    def _own(self, actions: Array) -> Array:
        """The choices of the dimensions meant, [N, dimensions]."""
        table = actions if actions.ndim == 2 else actions[:, None]
        return table[:, self._dimensions]

    def _before(self, batch: Batch) -> tuple[Array, Numbers, Rows]:
        """The choices before, how long they were kept, and whether that is known or assumed."""
        shape = (batch.rows, len(self._dimensions))
        memory, assumed = batch.memory, self._assumed
        known = batch.known[:, None]
        if memory is None:
            before, held = np.zeros(shape, np.int64), np.zeros(shape)
        else:
            before = self._own(memory.previous)
            cells = memory.cells[self._field]
            held = cells.astype(np.float64) if self._steps else memory.now_s[:, None] - cells
        if assumed is None:
            return before, held, np.broadcast_to(known, shape)
        bound = known | ~np.isnan(assumed)
        return np.where(known, before, assumed), np.where(known, held, 0.0), np.broadcast_to(bound, shape)


def _dimensions(settings: DwellSettings, action: ActionSpec, where: str) -> list[int]:
    if settings.dimensions is None:
        return list(range(len(action.mask_segments)))
    if isinstance(action, DiscreteAction):
        raise SafetyError("the action has no dimensions", where=f"{where}.dimensions", hint="Leave it out.")
    at = f"{where}.dimensions"
    found = {i for name in settings.dimensions for i in element_indices(name, action, at)}
    if not found:
        raise SafetyError("no dimension is listed", where=at, expected="at least one")
    return sorted(found)


def _assumed(
    settings: DwellSettings, dimensions: list[int], action: ActionSpec, where: str
) -> Numbers | None:
    """The choice of each dimension that is taken to have been made, [1, dimensions], NaN for none."""
    given, at = settings.assumed, f"{where}.assumed"
    if given is None:
        return None
    assumed = np.full((1, len(dimensions)), np.nan)
    if isinstance(action, DiscreteAction):
        if isinstance(given, Mapping):
            raise SafetyError("the action has no dimensions", where=at, expected="a choice")
        assumed[0, 0] = choice_column(given, 0, action, at) + action.start
        return assumed
    if not isinstance(given, Mapping):
        raise SafetyError("the choice is of no dimension", where=at, expected="a mapping by dimension")
    for name, choice in given.items():
        for i in element_indices(name, action, f"{at}.{name}"):
            if i not in dimensions:
                raise SafetyError(f"{name!r} is not among the dimensions", where=at)
            column = choice_column(choice, i, action, f"{at}.{name}")
            assumed[0, dimensions.index(i)] = column - sum(action.mask_segments[:i])
    return assumed
