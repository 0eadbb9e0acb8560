"""A world for the client's steps in which time is a number: many calls at once, in any order.

Steps are performed as the drivers perform them, one event after the other. A server is a function that says
what it answers and after how many seconds; it has no health service.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from grpc import StatusCode

from steersman.client.effects import Ambient, Next, Open, Park, Send, Spawn, Start, Steps, Tools, Wait
from steersman.client.failures import Failure

Server = Callable[[Send], tuple[Any, float]]
LATE = Failure(StatusCode.DEADLINE_EXCEEDED)
NO_SUCH_SERVICE = Failure(StatusCode.UNIMPLEMENTED)


@dataclass(eq=False)
class SimulatedSignal:
    """A flag; those who wait for it are resumed when it is raised."""

    raised: bool = False
    waiters: list[Callable[[], None]] = field(default_factory=list)

    def set(self) -> None:
        self.raised = True
        waiters, self.waiters = self.waiters, []
        for wake in waiters:
            wake()

    def clear(self) -> None:
        self.raised = False

    def is_set(self) -> bool:
        return self.raised


@dataclass(eq=False)
class SimulatedAttempt:
    """A call under way."""

    answer: Any = None
    ended: bool = False
    cancelled: bool = False

    def done(self) -> bool:
        return self.ended

    def reply(self) -> Any:
        return self.answer

    def cancel(self) -> None:
        self.cancelled = not self.ended


@dataclass
class Task:
    """A call and how it ended: its result or its error, or neither if it was cancelled."""

    steps: Steps[Any]
    result: Any = None
    error: BaseException | None = None
    ended_at: float | None = None
    cancelled: bool = False
    turn: int = 0


@dataclass
class Simulation:
    """Performs the steps of many calls.

    Attributes:
        server: Says what a request is answered, and after how many seconds.
        now: The time.
        sent: All that was sent, with its time.
        attempts: All calls that were started.
    """

    server: Server
    now: float = 0.0
    sent: list[tuple[float, Send]] = field(default_factory=list)
    attempts: list[SimulatedAttempt] = field(default_factory=list)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: Any = field(default_factory=count)
    drawn: int = 0

    def ambient(self) -> Ambient:
        return Ambient(clock=lambda: self.now, uniform=lambda: 0.5, random_bytes=self._random_bytes)

    def tools(self) -> Tools:
        return Tools(SimulatedSignal, lambda: None)  # type: ignore[arg-type, return-value]

    def _random_bytes(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(16, "big") * (size // 16)

    def at(self, time: float, event: Callable[[], None]) -> None:
        """Something happens then."""
        heapq.heappush(self.events, (time, next(self.numbers), event))

    def start(self, steps: Steps[Any], at: float = 0.0) -> Task:
        """A call begins then."""
        task = Task(steps)
        self.at(at, lambda: self._go_on(task, None))
        return task

    def cancel(self, task: Task, at: float) -> None:
        """Its caller gives it up then."""

        def give_up() -> None:
            if task.ended_at is None:
                task.cancelled, task.ended_at = True, self.now
                task.turn += 1
                task.steps.close()

        self.at(at, give_up)

    def run(self, until: float = 1e6) -> None:
        """Until nothing more happens."""
        while self.events and self.events[0][0] <= until:
            self.now, _, event = heapq.heappop(self.events)
            event()

    def _go_on(self, task: Task, reply: Any) -> None:
        if task.ended_at is not None:
            return
        task.turn += 1
        try:
            effect = task.steps.send(reply)
        except StopIteration as end:
            task.result, task.ended_at = end.value, self.now
        except Exception as error:  # noqa: BLE001  as a caller would see it
            task.error, task.ended_at = error, self.now
        else:
            self._perform(task, effect)

    def _later(self, task: Task, at: float, reply: Callable[[], Any]) -> None:
        turn = task.turn

        def resume() -> None:
            if task.turn == turn:
                self._go_on(task, reply())

        self.at(at, resume)

    def _perform(self, task: Task, effect: Any) -> None:
        match effect:
            case Send():
                reply, after = self._answer(effect)
                self._later(task, self.now + after, lambda: reply)
            case Wait(seconds):
                self._later(task, self.now + seconds, lambda: None)
            case Park():
                self._park(task, effect)
            case Start():
                attempt = self._begin(effect)
                self._later(task, self.now, lambda: attempt)
            case Spawn(steps):
                self.start(steps, self.now)
                self._later(task, self.now, lambda: None)
            case Open():
                self._later(task, self.now, lambda: NO_SUCH_SERVICE)
            case Next():
                raise NotImplementedError("streams are tested with a server")

    def _answer(self, send: Send) -> tuple[Any, float]:
        self.sent.append((self.now, replace(send)))
        reply, after = self.server(send)
        late = send.timeout is not None and after >= send.timeout
        return (LATE, send.timeout) if late else (reply, after)

    def _park(self, task: Task, effect: Park) -> None:
        signal: Any = effect.signal
        if signal.is_set():
            self._later(task, self.now, lambda: True)
            return
        signal.waiters.append(lambda turn=task.turn: self._wake(task, turn))
        if effect.seconds is not None:
            self._later(task, self.now + effect.seconds, signal.is_set)

    def _wake(self, task: Task, turn: int) -> None:
        if task.turn == turn:
            self._later(task, self.now, lambda: True)

    def _begin(self, effect: Start) -> SimulatedAttempt:
        attempt = SimulatedAttempt()
        self.attempts.append(attempt)
        reply, after = self._answer(effect.send)

        def end() -> None:
            if not attempt.cancelled:
                attempt.answer, attempt.ended = reply, True
                effect.signal.set()

        self.at(self.now + after, end)
        return attempt
