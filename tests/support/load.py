"""Load on real servers that keeps account of every call, and a scraper that sees whether counters go back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.error import URLError

import grpc

from steersman.client import ClientError, PolicyClient
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.scrape import Samples, scrape

OBSERVATION = (1.0, 3.0, 2.0, 0.0)
STEPS = 20
"""Steps of an episode."""
TIMEOUT_S = 30.0
SCRAPE_S = 0.1
COUNTERS = ("_total", "_count", "_bucket")
"""Ends of the names of what must never go down."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    Attributes:
        began: When it was made, `time.monotonic`.
        seconds: Until its answer.
        code: Status; "OK" or what it failed with.
        episode: Whose step it was; empty for none.
        version: Who answered.
        why: Source and reason, and of a failure the message.
    """

    began: float
    seconds: float
    code: str
    episode: str = ""
    version: int = 0
    why: str = ""


Step = Callable[[], Answer]


@dataclass(slots=True)
class Load:
    """Callers in threads, each with one call in flight, until `stop`.

    Attributes:
        answers: All that came of it so far.
    """

    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Another caller, who makes one call after the other."""
        thread = threading.Thread(target=self._live, args=(step,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> list[Answer]:
        """Ends when every call that was made has its answer. Returns all."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
            assert not thread.is_alive(), "a call hangs beyond its deadline"
        return self.answers

    def failures(self) -> list[Answer]:
        """The calls that failed."""
        return [answer for answer in self.answers if answer.code != "OK"]

    def codes(self) -> Counter[str]:
        """How calls ended."""
        return Counter(answer.code for answer in self.answers)

    def wait_for(self, calls: int, timeout_s: float = TIMEOUT_S) -> None:
        """Waits for so many more answers."""
        wanted, deadline = len(self.answers) + calls, time.monotonic() + timeout_s
        while len(self.answers) < wanted:
            assert time.monotonic() < deadline, f"{calls} calls were not answered within {timeout_s:g} s"
            time.sleep(0.01)

    def _live(self, step: Step) -> None:
        try:
            while not self._over.is_set():
                self.answers.append(step())
        except BaseException as error:
            self.answers.append(Answer(time.monotonic(), 0.0, "BROKEN", why=repr(error)))
            raise


@contextmanager
def steersman_load(targets: Sequence[str], callers: int, policy: str = "toy") -> Iterator[Load]:
    """Episodes from one Steersman client, which watches its replicas' health."""
    load = Load()
    with PolicyClient(list(targets), timeout=TIMEOUT_S) as client:
        try:
            for _ in range(callers):
                load.add(_episodes(client, policy))
            yield load
        finally:
            load.stop()


def _episodes(client: PolicyClient, policy: str) -> Step:
    """Steps of one episode after another."""
    handle = client.policy(policy)
    steps, episode = count(), handle.episode()

    def step() -> Answer:
        nonlocal episode
        if next(steps) % STEPS == 0:
            episode = handle.episode()
        name, began = episode.state.id, time.monotonic()
        try:
            decision = episode.act(OBSERVATION)
        except ClientError as error:
            return Answer(began, time.monotonic() - began, error.code.name, name, why=str(error))
        why = f"{decision.source} {decision.reason}".strip()
        return Answer(began, time.monotonic() - began, "OK", name, decision.version, why)

    return step


@contextmanager
def plain_load(
    target: str, callers: int, policy: str = "toy", timeout_s: float = TIMEOUT_S
) -> Iterator[Load]:
    """Single calls from plain grpcio clients, each with a connection of its own, without retries."""
    load = Load()
    options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    with ExitStack() as stack:
        for _ in range(callers):
            channel = stack.enter_context(grpc.insecure_channel(target, options))
            load.add(single_calls(channel, policy, timeout_s))
        try:
            yield load
        finally:
            load.stop()


def single_calls(channel: grpc.Channel, policy: str, timeout_s: float) -> Step:
    """Calls over a channel, one after the other."""
    stub = rpc.PolicyServiceStub(channel)
    request = pb.ActRequest(policy=policy, observation=pb.Tensor(values=OBSERVATION))

    def step() -> Answer:
        began = time.monotonic()
        try:
            answer = stub.Act(request, timeout=timeout_s)
        except grpc.RpcError as error:
            failed: Any = error
            seconds = time.monotonic() - began
            time.sleep(0.02)  # nobody hammers a server that has just refused
            return Answer(began, seconds, failed.code().name, why=failed.details() or "")
        why = f"{pb.Source.Name(answer.sources[0])} {answer.reasons[0]}".strip()
        return Answer(began, time.monotonic() - began, "OK", version=answer.versions[0], why=why)

    return step


@dataclass(slots=True)
class Scraper:
    """Reads a server's metrics over and over. Series end with their version; what is there never goes down.

    Attributes:
        url: Where.
        scrapes: How often it has.
        last: What it read last.
        backward: What went down though it only counts.
    """

    url: str
    scrapes: int = 0
    last: Samples = field(default_factory=dict)
    backward: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> Samples:
        """Reads once more, and compares with the time before."""
        samples = scrape(self.url)
        for key, before in self.last.items():
            if key[0].endswith(COUNTERS) and samples.get(key, before) < before:
                self.backward.append(f"{key[0]} {dict(key[1])}: {before:g}, then {samples[key]:g}")
        self.last = samples
        self.scrapes += 1
        return samples

    def follow(self) -> None:
        """Reads until `stop`, or until nobody answers there."""
        try:
            while not self._over.wait(SCRAPE_S):
                self.look()
        except (URLError, ConnectionError, TimeoutError):
            return

    def stop(self) -> None:
        """No more."""
        self._over.set()


@contextmanager
def scraping(url: str) -> Iterator[Scraper]:
    """A scraper at work; afterwards it has looked once more."""
    scraper = Scraper(url)
    scraper.look()
    thread = threading.Thread(target=scraper.follow, daemon=True)
    thread.start()
    try:
        yield scraper
    finally:
        scraper.stop()
        thread.join(TIMEOUT_S)


def versions_by_episode(answers: Sequence[Answer]) -> dict[str, list[int]]:
    """The versions that each episode met, in the order of its steps."""
    found: dict[str, list[int]] = {}
    for answer in sorted((a for a in answers if a.code == "OK"), key=lambda a: a.began):
        found.setdefault(answer.episode, []).append(answer.version)
    return found
