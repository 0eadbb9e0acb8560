"""What every transport of a worker shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from steersman.serving.dispatching.dispatcher import Dispatcher
from steersman.serving.errors import Code
from steersman.serving.limits import Limits
from steersman.serving.rpc.admission import Admission


class CountCalls(Protocol):
    """Counts answers by method and failure; `code` is None for success."""

    def __call__(self, method: str, code: Code | None, calls: int = 1) -> None:
        """So many calls were answered like this."""
        ...


@dataclass(frozen=True, slots=True)
class Reception:
    """What becomes of calls that come.

    Attributes:
        dispatcher: Decides them.
        admission: Whether there is room for one more.
        count: Is told how they ended.
        limits: How much is taken.
    """

    dispatcher: Dispatcher
    admission: Admission
    count: CountCalls
    limits: Limits
