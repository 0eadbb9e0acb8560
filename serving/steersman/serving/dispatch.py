"""From transports to the engine: what is decided now, and what waits for a model on a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steersman.serving.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.engine import Engine
from steersman.serving.errors import CallError
from steersman.serving.limits import Limits

Outcome = Decisions | CallError
Reply = Callable[[Sequence[Call], Sequence[Outcome]], None]
"""Is given calls and their outcomes, some or all at a time, on any thread; every call once."""


class Dispatcher:
    """Takes calls from any thread.

    Args:
        engine: The decision core.
        limits: How much may wait.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self._limits = limits

    def submit(self, calls: Sequence[Call], reply: Reply) -> None:
        """Decides what is micro-sized before it returns, and the rest when its turn has come."""
        reply(calls, self.engine.decide(calls))
