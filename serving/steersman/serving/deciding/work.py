"""The rows of a batch on their way through the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.safety.constraints import Bound
from steersman.safety.memory import Memory
from steersman.safety.overrides import Orders
from steersman.serving.deciding.batch import Columns
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.decision import REASON_CODE, Intervention, Reason

Array = NDArray[Any]


class Terms(NamedTuple):
    """How rows are to be decided.

    Attributes:
        mode: Greedy or sampled.
        ids: [N, 16] decision ids.
        salt: Secret that noise is made from.
        evidence: Outputs wanted beside the action.
        now_s: Unix seconds.
        orders: What people ordered for these rows; None for nothing.
        refused: Why the policy shall not answer; NONE where it shall.
    """

    mode: Mode
    ids: NDArray[np.uint8]
    salt: bytes
    evidence: frozenset[str] = frozenset()
    now_s: float = 0.0
    orders: Orders | None = None
    refused: Reason = Reason.NONE


@dataclass(slots=True)
class Work:
    """The rows of a batch on their way. N rows.

    Attributes:
        lane: Where they are decided.
        mode: Greedy or sampled.
        columns: What came in.
        features: [N, F] float64, or None when there are too many to name.
        actions: [N, *action shape].
        sources: [N] codes of `Source`. This and the next three are shared and read-only while `clean`.
        reasons: [N] codes of `Reason`.
        unanswered: [N], rows that the policy may not answer.
        failed: [N], rows that shall not be answered at all.
        clean: Whether nothing went wrong with any row so far, as with nearly all batches.
        proposed: [N, *action shape], what the model wanted; None where it was not, or could not be, run.
        causes: [N] codes of `Reason`, why the fallback was asked; None where that is `reasons`.
        outputs: The model's outputs by name; None where the model was not, or could not be, run.
        shown: [N], rows whose observation the model saw; None for all, where it was run.
        state: By name, [N, *shape], the recurrent state before; None where there is none.
        memory: What safety remembers of the rows' episodes; None for nothing.
        orders: What people ordered for these rows; None for nothing.
        bound: What constraints ask of the rows; None where there are none, or they were not reached.
        guarded: [N], rows that the guard did not let pass; None for no row.
        admitted: [N], rows that the breaker let through; None for all.
        healthy: [N], rows on which nothing was wrong with the policy; None where nobody asks.
        eased: [N], rows whose action is still going over to the policy's; None for no row.
        violated: [N] position of the first constraint that the policy's action violated, -1 for none; None
            for no row.
        shielded_by: [N] likewise, where the action was changed for it.
        members: [N] position of the member of the fallback chain that answered, -1 for none; None for no row.
        now_s: Unix seconds.
        interventions: What was changed, by row and then in the order of the changes, once all is done.
        infer_s: Seconds that the model took.
        protect_s: Seconds that what came after it took.
    """

    lane: LaneRuntime
    mode: Mode
    columns: Columns
    features: NDArray[np.float64] | None
    actions: Array
    sources: NDArray[np.int8]
    reasons: NDArray[np.int8]
    unanswered: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    clean: bool = True
    proposed: Array | None = None
    causes: NDArray[np.int8] | None = None
    outputs: Mapping[str, Array] | None = None
    shown: NDArray[np.bool_] | None = None
    state: Mapping[str, Array] | None = None
    memory: Memory | None = None
    orders: Orders | None = None
    bound: Bound | None = None
    guarded: NDArray[np.bool_] | None = None
    admitted: NDArray[np.bool_] | None = None
    healthy: NDArray[np.bool_] | None = None
    eased: NDArray[np.bool_] | None = None
    violated: NDArray[np.int8] | None = None
    shielded_by: NDArray[np.int8] | None = None
    members: NDArray[np.int8] | None = None
    now_s: float = 0.0
    interventions: list[Intervention] = field(default_factory=list)
    infer_s: float = 0.0
    protect_s: float = 0.0

    def edit(self) -> None:
        """Lets what went wrong be written down: from now on the columns are this batch's own."""
        if self.clean:
            self.clean = False
            self.sources, self.reasons = self.sources.copy(), self.reasons.copy()
            self.unanswered, self.failed = self.unanswered.copy(), self.failed.copy()

    @property
    def refused(self) -> int:
        """Number of rows that the policy may not answer."""
        return 0 if self.clean else int(np.count_nonzero(self.unanswered))

    def refuse(self, rows: NDArray[np.bool_], reason: Reason) -> None:
        """Marks rows as not to be answered by the policy; the first reason stays."""
        self.edit()
        self.reasons[rows & (self.reasons == 0)] = REASON_CODE[reason]
        self.unanswered |= rows


@lru_cache(maxsize=256)
def column(rows: int, value: float, dtype: str) -> Array:
    """[rows] of one value. Made once per number of rows, so nobody may write to it."""
    made = np.full(rows, value, dtype)
    made.setflags(write=False)
    return made
