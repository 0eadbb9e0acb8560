"""How hard a server is called: connections, and calls in flight on each."""

from __future__ import annotations

from dataclasses import dataclass

CLIENT = "client"
"""Name of the load that the Python client makes: one connection, one call in flight."""


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop: every answer is followed by the next call.

    Attributes:
        name: As the tables call it.
        connections: Number of connections.
        streams: Calls in flight on each.
    """

    name: str
    connections: int
    streams: int = 1

    @property
    def in_flight(self) -> int:
        """Calls in flight, all connections together."""
        return self.connections * self.streams


BATCH_ROWS = 64
BATCH = "64 rows"
"""Name of the load that asks for 64 rows a call, one call in flight."""
STREAM_IN_FLIGHT = 64
STREAM = "stream"
"""Name of the load over one `ActStream`, 64 calls in flight."""

SATURATED = Load("saturated", 8, 16)
LOADS: tuple[Load, ...] = (Load("c1", 1), Load("c8", 8), Load("c64", 64), SATURATED)
