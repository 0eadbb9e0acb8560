"""The client and two real servers, of which one goes away under load: no call may be lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from steersman.client import AsyncPolicyClient, Coalesce, Decision, Health, PolicyClient
from steersman.serving.testing import RunningServer, running_server

OBSERVATION = [1.0, 3.0, 2.0, 0.0]
CALLERS = 2
"""Threads or tasks of each client: one makes single calls, one uses a stream."""

CLIENTS: list[dict[str, Any]] = [{}, {"coalesce": Coalesce()}, {"hedge_after": 0.05}]

Ended = Callable[[], bool]


@pytest.fixture(params=["grpcio", "native"])
def pair(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Iterator[list[RunningServer]]:
    """Two servers that share their keys, and say NOT_SERVING for a while before they end."""
    arguments = [
        "--keyring",
        str(tmp_path / "keyring.json"),
        "--lame-duck",
        "1",
        "--transport",
        request.param,
    ]
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_server(repository, arguments=arguments, log=tmp_path / f"{name}.log"))
            for name in "ab"
        ]


def drain(server: RunningServer) -> Ended:
    """Asks a server to end. Tells when it has, for as many calls as may still be on their way to it."""
    server.process.send_signal(signal.SIGTERM)
    return lambda: server.process.poll() is not None


def episodes(act: Callable[[str], Decision], ended: Ended) -> list[Decision]:
    """Decisions until the server has ended and fifty more."""
    decisions: list[Decision] = []
    after = 0
    while after < 50:
        decisions.append(act(f"episode-{len(decisions) // 10}"))
        after += ended()
    return decisions


async def async_episodes(act: Callable[[str], Any], ended: Ended) -> list[Decision]:
    """The same, awaited."""
    decisions: list[Decision] = []
    after = 0
    while after < 50:
        decisions.append(await act(f"episode-{len(decisions) // 10}"))
        after += ended()
    return decisions


def load_of_threads(targets: list[str], ended: Ended, **options: Any) -> list[Decision]:
    """What the threads of a blocking client got, half of them over a stream."""
    with PolicyClient(targets, **options) as client, client.stream() as stream, ThreadPoolExecutor() as pool:

        def caller(number: int) -> list[Decision]:
            over: Any = stream if number % 2 else client
            name = f"{number}-"
            return episodes(lambda e: over.act("toy", OBSERVATION, episode_id=name + e), ended)

        return [decision for found in pool.map(caller, range(CALLERS)) for decision in found]


async def load_of_tasks(targets: list[str], ended: Ended, **options: Any) -> list[Decision]:
    """What the tasks of an asyncio client got, half of them over a stream."""
    async with AsyncPolicyClient(targets, **options) as client, client.stream() as stream:

        def caller(number: int) -> Any:
            over: Any = stream if number % 2 else client
            name = f"{number}-"
            return async_episodes(lambda e: over.act("toy", OBSERVATION, episode_id=name + e), ended)

        found = await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        return [decision for decisions in found for decision in decisions]


def run_tasks(targets: list[str], ended: Ended, options: dict[str, Any]) -> list[Decision]:
    """The same, in an event loop of its own."""
    return asyncio.run(load_of_tasks(targets, ended, **options))


@pytest.mark.slow
def test_a_server_that_drains_costs_no_call(pair: list[RunningServer]) -> None:
    targets = [server.grpc for server in pair]
    with ThreadPoolExecutor() as pool, PolicyClient(targets) as client:
        for _ in range(20):
            client.act("toy", OBSERVATION)
        ended = drain(pair[0])
        loads = [pool.submit(load_of_threads, targets, ended, **options) for options in CLIENTS]
        loads += [pool.submit(run_tasks, targets, ended, options) for options in CLIENTS]
        decisions = [decision for load in loads for decision in load.result(120)]
        for _ in range(5):
            client.act("toy", OBSERVATION)
        assert client.replicas[0].health in {Health.NOT_SERVING, Health.BROKEN}
    assert len(decisions) >= len(loads) * CALLERS * 50
    assert {decision.action for decision in decisions} == {decisions[0].action}
    assert {(decision.source, decision.reason) for decision in decisions} == {("policy", "")}
    assert pair[0].process.wait(30) == 0


def test_an_episode_goes_on_at_another_replica(pair: list[RunningServer]) -> None:
    with PolicyClient([server.grpc for server in pair]) as client:
        with client.policy("toy").episode() as episode:
            decisions = [episode.act(OBSERVATION) for _ in range(10)]
        assert {(d.version, d.lane, d.reason) for d in decisions} == {(1, "stable", "")}
        assert episode.state.token
