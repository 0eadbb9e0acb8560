"""A worker's transports over an engine, in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

from steersman.serving.deciding.engine import Engine
from steersman.serving.dispatching.dispatcher import Dispatcher
from steersman.serving.errors import Code
from steersman.serving.limits import Limits
from steersman.serving.messages import TransportKind
from steersman.serving.rpc.admission import Admission
from steersman.serving.rpc.methods import Method
from steersman.serving.rpc.policy import policy_methods
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.server import Address
from steersman.serving.rpc.transports import Transports
from steersman.serving.supervising.ports import HeldPort

LIMITS = Limits(max_rows=64, max_message_bytes=1 << 20)


@dataclass(slots=True)
class Served:
    """A server that answers.

    Attributes:
        address: Where, host:port.
        transports: What answers.
        reception: What becomes of calls.
        counted: Answers by method and failure.
    """

    address: str
    transports: Transports
    reception: Reception
    counted: Counter[tuple[str, Code | None]] = field(default_factory=Counter)


@asynccontextmanager
async def serving(
    engine: Engine, kind: TransportKind, limits: Limits = LIMITS, more: Sequence[Method] = ()
) -> AsyncIterator[Served]:
    """Serves `PolicyService`, and more if asked; drained at the end."""
    counted: Counter[tuple[str, Code | None]] = Counter()

    def count(method: str, code: Code | None, calls: int = 1) -> None:
        counted[method, code] += calls

    reception = Reception(
        dispatcher=Dispatcher(engine, limits),
        admission=Admission(limits.max_calls, limits.max_bytes_in_flight),
        count=count,
        limits=limits,
    )
    methods = (*policy_methods(engine, limits.max_stream_episodes), *more)
    with closing(HeldPort("127.0.0.1", 0)) as held:
        transports = Transports(kind, methods, reception, Address("127.0.0.1", held.port))
        await transports.start(engine.routing)
        try:
            yield Served(f"127.0.0.1:{held.port}", transports, reception, counted)
        finally:
            await transports.drain(0.0, 2.0)
