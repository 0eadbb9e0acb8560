"""Models that fail in every way that a model can: whose rows suffer, who answers, and by when."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest

from steersman.serving.deciding.call import Call
from steersman.serving.decision import Decisions, Reason, Source
from steersman.serving.dispatching.dispatcher import Dispatcher, Outcome
from steersman.serving.limits import Limits
from support.safety_kit import LEFT, NAN, RIGHT, Outputs, SafetyKit, raises, reason, told

CHAIN: dict[str, Any] = {"fallback": [{"constant": 2}]}
TIMEOUT_S = 20.0
FELL = (Source.FALLBACK, 2)
ANSWERED = (Source.POLICY, 0)


def spoils(row: int, value: float, *names: str) -> Any:
    """A model that gives one row of some outputs this value."""

    def spoiling(outputs: Outputs) -> None:
        for name in names or outputs:
            if name in outputs:
                outputs[name][row] = value

    return spoiling


@pytest.fixture
def kit(safety_root: Path) -> SafetyKit:
    return SafetyKit(safety_root, CHAIN)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (spoils(1, np.nan, "distribution"), Reason.MODEL_NON_FINITE),
        (spoils(1, -1, "action", "sampled_action"), Reason.ACTION_OUT_OF_SPACE),
        (spoils(1, 3, "action", "sampled_action"), Reason.ACTION_OUT_OF_SPACE),
        (spoils(1, -(2**63), "action", "sampled_action"), Reason.ACTION_OUT_OF_SPACE),
        (spoils(1, 1, "action", "sampled_action"), Reason.ACTION_MASKED),
    ],
)
@pytest.mark.parametrize("mode", ["greedy", "sampled"])
def test_a_row_that_fails_does_not_touch_its_neighbours(
    kit: SafetyKit, behaviour: Any, why: Reason, mode: Any
) -> None:
    mask = [[True, False, True]] * 3
    sound = kit.ask([LEFT] * 3, mask, mode=mode, idempotency_keys=[b"a", b"b", b"c"])
    with kit.model(behaviour):
        decisions = kit.ask([LEFT] * 3, mask, mode=mode, idempotency_keys=[b"a", b"b", b"c"])
    assert told(decisions, 1) == (Source.FALLBACK, why, 2)
    assert np.isnan(decisions.propensities[1])
    for row in (0, 2):
        assert told(decisions, row) == told(sound, row)
        assert decisions.propensities[row] == pytest.approx(sound.propensities[row], nan_ok=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.001, -3e38])
@pytest.mark.parametrize("spoilt", [("action",), ("action", "distribution")])
def test_continuous_actions_that_are_none_do_not_leave(
    safety_root: Path, value: float, spoilt: tuple[str, ...]
) -> None:
    kit = SafetyKit(safety_root, {"fallback": [{"constant": [0.25, -0.25]}]}, "cont")
    with kit.model(spoils(0, value, *spoilt)):
        decisions = kit.ask([LEFT, (0.25, 0.0, 0.5, 0.0)])
    assert decisions.actions.tolist() == [[0.25, -0.25], [0.25, 0.5]]
    assert reason(decisions) in {Reason.MODEL_NON_FINITE, Reason.ACTION_OUT_OF_SPACE}


def test_outputs_that_are_missing_are_a_fault_like_any_other(kit: SafetyKit) -> None:
    with kit.model(lambda _: {}):
        assert told(kit.ask(LEFT)) == (Source.FALLBACK, Reason.MODEL_ERROR, 2)
    assert told(kit.ask(LEFT)) == (Source.POLICY, Reason.NONE, 0)


def test_a_recurrent_state_without_a_number_is_not_kept(safety_root: Path) -> None:
    """Else the episode could never again be answered by its policy."""
    kit = SafetyKit(safety_root, CHAIN, "memory")
    sound, broken = kit.episodes("e"), kit.episodes("e")
    for episode in (sound, broken):
        episode.step(LEFT)
    with kit.model(spoils(0, np.nan, "distribution", "next_state/total")):
        assert told(broken.step(RIGHT)) == (Source.FALLBACK, Reason.MODEL_NON_FINITE, 2)
    with kit.model(spoils(0, np.nan, "next_state/total")):
        assert told(broken.step((0.0, 0.0, 0.0, 9.0)))[0] is Source.POLICY
    assert told(broken.step(RIGHT)) == told(sound.step(RIGHT))


@dataclass
class Caller:
    """A sink that remembers, and by when."""

    outcomes: list[Outcome] = field(default_factory=list)
    at_ns: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        del places
        self.outcomes += outcomes
        self.at_ns = perf_counter_ns()
        self.done.set()

    def wanted(self, place: int) -> bool:
        return place >= 0

    def decisions(self) -> Decisions:
        assert self.done.wait(TIMEOUT_S)
        (outcome,) = self.outcomes
        assert isinstance(outcome, Decisions)
        return outcome


@dataclass
class Hanging:
    """A model that hangs until it is let go, and says when it began to."""

    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, outputs: Outputs) -> None:
        del outputs
        self.begun.set()
        assert self.go.wait(TIMEOUT_S)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.go.set()


def submitted(to: Dispatcher, call: Call) -> Caller:
    caller = Caller()
    to.submit([call], caller)
    return caller


def threaded(root: Path, **safety: Any) -> tuple[SafetyKit, Dispatcher]:
    """A policy whose model has a thread of its own."""
    batching = {"run": "thread", "max_delay_ms": 0.0}
    kit = SafetyKit(root, {**CHAIN, **safety}, batching=batching)
    return kit, Dispatcher(kit.engine, Limits())


@pytest.mark.parametrize("observation", [LEFT, NAN])
def test_a_model_that_hangs_is_answered_for_before_the_deadline(
    safety_root: Path, hanging: Hanging, observation: Any
) -> None:
    kit, dispatcher = threaded(safety_root)
    with kit.model(hanging):
        stuck = submitted(dispatcher, kit.call(LEFT))
        assert hanging.begun.wait(TIMEOUT_S)
        deadline = perf_counter_ns() + 500_000_000
        caller = submitted(dispatcher, kit.call(observation, deadline_ns=deadline, episode_ids=["e"]))
        decisions = caller.decisions()
        why = Reason.DEADLINE_TOO_NEAR if observation is LEFT else Reason.OBSERVATION_NON_FINITE
        assert told(decisions) == (Source.FALLBACK, why, 2)
        assert caller.at_ns < deadline
        assert decisions.episode_tokens[0], "the episode can go on"
        hanging.go.set()
        assert told(stuck.decisions())[0] is Source.POLICY
    assert len(caller.outcomes) == 1, "the late answer went nowhere"


def test_constraints_and_masks_hold_for_answers_in_haste(safety_root: Path, hanging: Hanging) -> None:
    constraints = [{"name": "never", "forbid": [2]}]
    chain = [{"constant": 2}, {"preference": [1, 0]}]
    kit, dispatcher = threaded(safety_root, constraints=constraints, fallback=chain)
    with kit.model(hanging):
        submitted(dispatcher, kit.call(LEFT))
        assert hanging.begun.wait(TIMEOUT_S)
        deadline = perf_counter_ns() + 300_000_000
        call = kit.call(LEFT, [[True, False, True]], deadline_ns=deadline)
        decisions = submitted(dispatcher, call).decisions()
        hanging.go.set()
    assert told(decisions) == (Source.FALLBACK, Reason.DEADLINE_TOO_NEAR, 0)


def test_what_hung_opens_the_breaker_once_it_ends(safety_root: Path, hanging: Hanging) -> None:
    """Its callers have been answered by then; the version was late all the same."""
    late = {"after_ms": 100, "rate": 0}
    kit, dispatcher = threaded(safety_root, breaker={"late": late, "window": 1, "least": 1})
    with kit.model(hanging):
        deadline = perf_counter_ns() + 300_000_000
        caller = submitted(dispatcher, kit.call(LEFT, deadline_ns=deadline))
        assert told(caller.decisions())[1] is Reason.DEADLINE_TOO_NEAR
        waiting = submitted(dispatcher, kit.call(LEFT))
        hanging.go.set()
        assert told(waiting.decisions()) == (Source.FALLBACK, Reason.BREAKER_OPEN, 2)
    counted = kit.counts()
    assert counted.sources.sum() == counted.sources[list(Source).index(Source.FALLBACK)] == 2


def test_a_model_that_raises_on_its_thread_is_answered_for(safety_root: Path) -> None:
    kit, dispatcher = threaded(safety_root)
    with kit.model(raises):
        assert told(submitted(dispatcher, kit.call(LEFT)).decisions())[1] is Reason.MODEL_ERROR
    assert told(submitted(dispatcher, kit.call(LEFT)).decisions())[0] is Source.POLICY
