"""One kit for every test: a toy server, and a client to it, once blocking and once with asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from steersman.client import Ambient, AsyncPolicyClient, PolicyClient
from support.toy_server import Toy, toy_server


@dataclass
class FakeWorld:
    """Time that passes only in sleeps, and chance that is none."""

    now: float = 100.0
    sleeps: list[float] = field(default_factory=list)
    drawn: int = 0

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        self.drawn += 1
        return bytes([self.drawn % 256]) * count

    def ambient(self) -> Ambient:
        return Ambient(
            clock=lambda: self.now,
            sleep=self.sleep,
            async_sleep=self.async_sleep,
            uniform=lambda: 0.5,
            random_bytes=self.random_bytes,
        )


class Kit:
    """The server, the client's world, and the client; `wait` gives the result of either client's call."""

    def __init__(self, kind: str, toy: Toy, target: str) -> None:
        self.kind = kind
        self.toy = toy
        self.target = target
        self.world = FakeWorld()
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []
        self.client = self.connect()

    def connect(self, target: str | list[str] | None = None, **options: Any) -> Any:
        """A client of this kind."""
        make: Any = PolicyClient if self.kind == "blocking" else AsyncPolicyClient
        client = make(
            self.target if target is None else target, **{"ambient": self.world.ambient(), **options}
        )
        self._clients.append(client)
        return client

    def wait(self, call: Any) -> Any:
        """The result of a call."""
        return self._runner.run(call) if inspect.iscoroutine(call) else call

    def enter(self, manager: Any) -> Any:
        """`with` or `async with`."""
        return manager.__enter__() if self.kind == "blocking" else self.wait(manager.__aenter__())

    def leave(self, manager: Any) -> None:
        """The end of the block."""
        if self.kind == "blocking":
            manager.__exit__(None, None, None)
        else:
            self.wait(manager.__aexit__(None, None, None))

    def close(self) -> None:
        """Closes all clients."""
        for client in self._clients:
            self.wait(client.close())
        self._runner.close()


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def target(toy: Toy) -> Iterator[str]:
    with toy_server(toy) as address:
        yield address


@pytest.fixture(params=["blocking", "asyncio"])
def kit(request: pytest.FixtureRequest, toy: Toy, target: str) -> Iterator[Kit]:
    kit = Kit(request.param, toy, target)
    yield kit
    kit.close()
