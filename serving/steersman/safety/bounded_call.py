"""Calls of other people's code that are waited for only so long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Literal


@dataclass(slots=True, eq=False)
class Call:
    """One call of a function.

    Attributes:
        argument: What it is called with.
        done: Set once it has ended.
        result: What it returned.
        error: What it raised instead.
    """

    argument: Any
    done: Event
    result: Any = None
    error: BaseException | None = None


class BoundedCaller:
    """Calls a function on a daemon thread of its own, which is started when it is first needed.

    Args:
        function: The function, of one argument.
        name: Name of the thread.
    """

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        self._function = function
        self._name = name
        self._waiting: SimpleQueue[Call] = SimpleQueue()
        self._lock = Lock()
        self._last: Call | None = None
        self._thread: Thread | None = None

    def call(self, argument: Any, timeout_s: float) -> Call | Literal["late", "busy"]:
        """The call, ended; else why it is not: late, or not begun because the one before still runs."""
        with self._lock:
            if self._last is not None and not self._last.done.is_set():
                return "busy"
            if self._thread is None:
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._last = call = Call(argument, Event())
            self._waiting.put(call)
        return call if call.done.wait(timeout_s) else "late"

    def _run(self) -> None:
        while True:
            call = self._waiting.get()
            try:
                call.result = self._function(call.argument)
            except BaseException as error:  # noqa: BLE001  the thread must outlive whatever it calls
                call.error = error
            call.done.set()
