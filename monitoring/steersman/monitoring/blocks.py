"""Blocks: what is counted for one policy version in one lane, and where in a slot it lies.

A `BlockSpec` names everything that is counted; a `PlacedBlock` adds the offset that the supervisor chose.
Both are plain data and travel to the workers in the routing snapshot. A `BlockView` is the numbers: named
int64 views of one worker's slot, or of the sum of all slots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from steersman.bundle.reference import CELLS
from steersman.bundle.specs import Contract, Spec
from steersman.monitoring.columns import Dimension, action_dimensions, watched_features
from steersman.monitoring.errors import CountersFullError

Counts = NDArray[np.int64]

PHASES: tuple[str, ...] = ("queue", "infer", "protect", "total")
"""Where the time of a decision goes: waiting for the engine, the model, mask and constraints; all of it."""

SHADOW_OUTCOMES: tuple[str, ...] = ("agreed", "disagreed", "incomparable", "dropped")
"""What came of a row that a shadow lane was offered: the same action, another one, no action to compare with,
or no time left in its share of the processor."""

LATENCY_EDGES: tuple[float, ...] = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3),
    1.0,
)
"""Upper edges of the latency buckets in seconds, inclusive; one more bucket holds everything above. An SLO is
stated on one of these edges, and histograms of different edges do not add up: never change them lightly."""


MARGIN_EDGES: tuple[float, ...] = (-10.0, -1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0)
"""Upper edges of the margin buckets in the constraint's own unit, inclusive; one more bucket holds everything
above. Whatever the unit, they tell the sign, and how far an action is from its limit to a power of ten. Never
change them lightly either."""

MARGIN_CELLS = len(MARGIN_EDGES) + 2
"""The buckets, and a last cell for rows that the constraint does not apply to."""

BREAKER_STATES: tuple[str, ...] = ("closed", "half_open", "open")
"""The states of a version's breaker."""

BREAKER_TRANSITIONS: tuple[tuple[str, str], ...] = (
    ("closed", "open"),
    ("open", "half_open"),
    ("half_open", "open"),
    ("half_open", "closed"),
)
"""What its state can change from, and to."""


class BlockSpec(Spec):
    """What is counted for one policy version in one lane. Positions are codes: new members go at the end.

    Attributes:
        policy: Name of the policy.
        version: Its version.
        lane: Lane that it serves in.
        sources: Who can make an action; a code is a position in here.
        reasons: Why a fallback answered or a row failed, likewise; the empty string means no reason.
        assigned_by: How rows can find their lane, likewise.
        modes: Modes that have a reference: only their observations and actions are binned.
        features: Names of the binned observation features.
        dimensions: Name of each action dimension with the names of its cells.
        constraints: Names of the constraints on actions, in their order.
        members: Names of the members of the fallback chain, in their order.
    """

    policy: str
    version: Annotated[int, Field(ge=1)]
    lane: str
    sources: tuple[str, ...]
    reasons: tuple[str, ...]
    assigned_by: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    constraints: tuple[str, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def action_cells(self) -> int:
        """Cells of the widest action dimension."""
        return max((len(labels) for _, labels in self.dimensions), default=0)

    def watching(self, contract: Contract, modes: Sequence[str]) -> BlockSpec:
        """The same spec that also bins observations and actions in `modes`, as the contract names them."""
        return self.model_copy(
            update={
                "modes": tuple(modes),
                "features": watched_features(contract),
                "dimensions": action_dimensions(contract),
            }
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array of the block, in the order in which they lie."""
        modes, phases, constraints = len(self.modes), len(PHASES), len(self.constraints)
        return {
            "sources": (len(self.sources),),
            "fallback_reasons": (len(self.reasons),),
            "error_reasons": (len(self.reasons),),
            "assignments": (len(self.assigned_by),),
            "shadow": (len(SHADOW_OUTCOMES),),
            "modes": (modes,),
            "episodes": (modes,),
            "latency": (phases, len(LATENCY_EDGES) + 1),
            "latency_ns": (phases,),
            "observation_cells": (modes, len(self.features), CELLS),
            "action_cells": (modes, len(self.dimensions), self.action_cells),
            "margins": (constraints, MARGIN_CELLS),
            "shielded": (constraints,),
            "constraint_fallbacks": (constraints,),
            "assumed": (1,),
            "members": (len(self.members),),
            "breaker_transitions": (len(BREAKER_TRANSITIONS),),
            "breaker_states": (len(BREAKER_STATES),),
        }

    @property
    def cells(self) -> int:
        """Size of the block in int64 cells."""
        return sum(math.prod(shape) for shape in self.shapes().values())


class PlacedBlock(Spec):
    """A block and its offset in every slot, in int64 cells."""

    spec: BlockSpec
    offset: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class BlockView:
    """The numbers of one block, as int64 views.

    Attributes:
        spec: What they count.
        sources: [S] rows by who made the action.
        fallback_reasons: [R] rows by why a fallback answered; rows that no fallback answered count at "".
        error_reasons: [R] rows by why they failed; rows that did not fail count at "".
        assignments: [A] rows by how they found this lane.
        shadow: [O] rows that a shadow lane was offered, by what came of it.
        modes: [M] rows whose observation was binned.
        episodes: [M] rows among those that began an episode.
        latency: [P, B + 1] rows by phase and latency bucket, not cumulated.
        latency_ns: [P] nanoseconds, added up over rows.
        observation_cells: [M, F, CELLS] rows by feature and cell.
        action_cells: [M, D, A] rows by action dimension and cell; a dimension uses its first cells.
        margins: [C, MARGIN_CELLS] rows by constraint and margin bucket, not cumulated.
        shielded: [C] rows whose action was changed for the constraint.
        constraint_fallbacks: [C] rows that the policy did not answer for the constraint.
        assumed: [1] rows of whose episode nothing was known.
        members: [K] rows by the member of the fallback chain that answered.
        breaker_transitions: [T] changes of the breaker's state, by `BREAKER_TRANSITIONS`.
        breaker_states: [B] 1 for the state that the breaker is in, all 0 where there is none; added up over
            workers, in how many it is there. The only numbers that are set instead of added to.
    """

    spec: BlockSpec
    sources: Counts
    fallback_reasons: Counts
    error_reasons: Counts
    assignments: Counts
    shadow: Counts
    modes: Counts
    episodes: Counts
    latency: Counts
    latency_ns: Counts
    observation_cells: Counts
    action_cells: Counts
    margins: Counts
    shielded: Counts
    constraint_fallbacks: Counts
    assumed: Counts
    members: Counts
    breaker_transitions: Counts
    breaker_states: Counts

    @classmethod
    def of(cls, cells: Counts, placed: PlacedBlock) -> BlockView:
        """Views of `cells` [slot capacity] where the block lies; they write through."""
        start, views = placed.offset, {}
        for name, shape in placed.spec.shapes().items():
            end = start + math.prod(shape)
            views[name] = cells[start:end].reshape(shape)
            start = end
        return cls(placed.spec, **views)


class Allocator:
    """Chooses where blocks lie. The supervisor has one per segment.

    A spec that was placed before gets its old place again, so that a version that comes back goes on
    counting; nothing is ever freed, so counters never go backwards.

    Args:
        first: First free cell of a slot.
        capacity: Cells of a slot.
    """

    def __init__(self, first: int, capacity: int) -> None:
        self._next = first
        self._capacity = capacity
        self._placed: dict[BlockSpec, PlacedBlock] = {}

    def trial(self) -> Allocator:
        """Another one that goes on from here: what it places is forgotten with it."""
        other = Allocator(self._next, self._capacity)
        other._placed = dict(self._placed)
        return other

    @property
    def placed(self) -> tuple[PlacedBlock, ...]:
        """Every block that was ever placed, oldest first."""
        return tuple(self._placed.values())

    def place(self, spec: BlockSpec) -> PlacedBlock:
        """The block's place: the old one, or the next that is free.

        Raises:
            CountersFullError: There is no room.
        """
        found = self._placed.get(spec)
        if found is not None:
            return found
        if self._next + spec.cells > self._capacity:
            raise CountersFullError(
                f"no room for the {spec.cells} counters of {spec.policy}/{spec.version} in lane {spec.lane}",
                expected=f"at most {self._capacity - self._next} more of {self._capacity}",
                hint="Restart the server to forget retired versions, or give each worker more counters.",
            )
        placed = PlacedBlock(spec=spec, offset=self._next)
        self._next += spec.cells
        self._placed[spec] = placed
        return placed
