"""What safety costs when nothing is violated: eight features guarded, three constraints, masks on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from benchmarks.timing import Action, time_in_turn
from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, ObservationSpec
from steersman.safety.masks import all_false_segments, permits
from steersman.safety.memory import Memory
from steersman.safety.safeguards import Safeguards
from steersman.safety.settings import SafetySettings

FEATURES = 8
BATCHES = (1, 64)
PATH, MARGINS = "path", "margins"
_OBSERVATION = ObservationSpec(
    dtype="float32",
    shape=(FEATURES,),
    low=(-10.0,),
    high=(10.0,),
    feature_names=tuple(f"f{i}" for i in range(FEATURES)),
)
_GUARD = {"ranges": {f"f{i}": {"low": -5.0, "high": 5.0} for i in range(FEATURES)}}
_CHOICES: tuple[dict[str, Any], ...] = (
    {"name": "never", "forbid": [4]},
    {"name": "not_when_high", "when": "f0 > 4.0", "forbid": [2]},
    {"name": "few", "budget": {"actions": [3], "most": 3, "window_s": 60, "assumed_used": 0}},
)
_CONTINUOUS: tuple[dict[str, Any], ...] = (
    {"name": "limits", "box": {"low": -0.9, "high": 0.9}},
    {"name": "slew", "rate": {"max_per_s": 100.0, "start": 0.0, "assumed_step_s": 0.05, "longest_s": 1.0}},
    {
        "name": "power",
        "linear": [{"terms": {"action[0]": 1.0, "action[1]": 0.5, "f0": 0.01}, "at_most": 2.0}],
    },
)


@dataclass(frozen=True, slots=True)
class SafetyFigures:
    """CPU microseconds per row of one kind of actions at one batch size, least disturbed round.

    Attributes:
        actions: Kind of the actions.
        rows: Rows decided together.
        path_us: Guard, masks and constraints, on the way of the answer.
        margins_us: Margins of the constraints for their histograms, after the answer.
    """

    actions: str
    rows: int
    path_us: float
    margins_us: float


def measure_safety(*, rounds: int, seconds: float) -> list[SafetyFigures]:
    """Times the path for choices and for continuous actions.

    Raises:
        BenchmarkError: Something is violated after all.
    """
    found = []
    for name, contract, constraints in _subjects():
        for rows in BATCHES:
            times = time_in_turn(_actions(contract, constraints, rows), rounds=rounds, seconds=seconds)
            best = {part: min(each) / rows for part, each in times.items()}
            found.append(SafetyFigures(name, rows, best[PATH], best[MARGINS]))
    return found


def _subjects() -> Sequence[tuple[str, Contract, Sequence[dict[str, Any]]]]:
    choices = Contract(
        observations=(_OBSERVATION,),
        action=DiscreteAction(n=5),
        distribution="categorical",
        outputs=("action", "distribution"),
    )
    continuous = Contract(
        observations=(_OBSERVATION,),
        action=BoxAction(shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0)),
        distribution="deterministic",
        outputs=("action",),
    )
    return (("choices", choices, _CHOICES), ("continuous", continuous, _CONTINUOUS))


def _actions(contract: Contract, constraints: Sequence[dict[str, Any]], rows: int) -> Mapping[str, Action]:
    document = {"guard": _GUARD, "constraints": list(constraints), "unanswered": "fail"}
    safeguards = Safeguards.compile(SafetySettings.model_validate(document), contract)
    observed = np.random.default_rng(0).normal(size=(rows, FEATURES)).astype(np.float32)
    features = observed.astype(np.float64)
    actions, mask = _answers(contract, rows)
    memory = Memory(
        np.ones(rows, np.bool_),
        np.full(rows, 1000.0),
        np.full(rows, 0.05),
        actions.copy(),
        safeguards.layout.blank(rows),
    )
    rules = safeguards.constraints
    if rules is None:
        raise BenchmarkError("there are no constraints", where="safety")

    def path() -> bool:
        clean = safeguards.guard.check({"obs": observed}, features, memory).clean
        if mask is not None:
            clean &= not np.count_nonzero(all_false_segments(mask, contract.action.mask_segments))
            clean &= bool(np.count_nonzero(permits(mask, actions, contract.action)) == rows)
        violated = rules.bind(features, memory, rows).violated(actions)
        return clean and not np.count_nonzero(violated >= 0)

    if not path():
        raise BenchmarkError("something is violated", where="safety")
    return {PATH: path, MARGINS: lambda: rules.bind(features, memory, rows).margins(actions)}


def _answers(contract: Contract, rows: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    if isinstance(contract.action, BoxAction):
        return np.full((rows, 2), 0.3, np.float32), None
    return np.ones(rows, np.int64), np.ones((rows, 5), np.bool_)
