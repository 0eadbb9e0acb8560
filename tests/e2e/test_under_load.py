"""Swaps, kills, drains and overload under load: what each kind of client loses, and what the metrics say.

How quick all this is depends on the machine and is measured by `make soak`; here is what must hold on any.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from steersman.client import PolicyClient
from steersman.serving.testing import RunningServer, running_server
from support.load import OBSERVATION, Load, plain_load, scraping, steersman_load, versions_by_episode
from support.scrape import scrape, value, wait_until
from support.toy_bundle import publish_toy

pytestmark = pytest.mark.slow
CALLERS = 4
KINDS = ["grpcio", "native"]


class Setting:
    """Versions of a policy, some of them not yet where servers look, and servers that share their keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundles = folder / "bundles"
        self.drafts = folder / "drafts"
        for _ in range(4):  # made before the load begins, which has the machine to itself then
            publish_toy(self.drafts)
        self.release(1)

    def release(self, version: int) -> None:
        """Puts a version where servers look, whole."""
        (self.bundles / "toy").mkdir(parents=True, exist_ok=True)
        beside = self.bundles / "toy" / f".{version}"
        shutil.copytree(self.drafts / "toy" / str(version), beside)
        beside.rename(self.bundles / "toy" / str(version))

    @contextmanager
    def serving(
        self, kind: str, replicas: int = 2, workers: int = 1, arguments: Sequence[str] = ()
    ) -> Iterator[list[RunningServer]]:
        """Replicas that look at their repository ten times a second."""
        options = ["--keyring", str(self.folder / "keyring.json"), "--transport", kind, "--poll", "0.1"]
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    running_server(
                        self.bundles,
                        workers=workers,
                        arguments=[*options, *arguments],
                        log=self.log(number),
                    )
                )
                for number in range(replicas)
            ]

    def log(self, number: int) -> Path:
        """A replica's log."""
        return self.folder / f"{number}.log"


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def served(server: RunningServer, workers: int) -> set[int]:
    """Versions that the stable lane has in all workers; none while some are behind."""
    counted = scrape(server.http)
    if value(counted, "steersman_workers_current") < workers:
        return set()
    return {
        int(dict(labels)["version"])
        for (name, labels), share in counted.items()
        if name == "steersman_lane_share_ratio" and share and dict(labels)["lane"] == "stable"
    }


def workers_of(server: RunningServer) -> set[int]:
    """Process ids of a server's workers."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return set(map(int, children.read_text().split()))


def until_served(servers: Sequence[RunningServer], version: int, workers: int = 1) -> None:
    wait_until(lambda: all(served(s, workers) == {version} for s in servers), f"version {version}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_under_load_costs_no_call_of_any_client(setting: Setting, kind: str) -> None:
    with (
        setting.serving(kind) as servers,
        plain_load(servers[0].grpc, 2) as plain,
        steersman_load([server.grpc for server in servers], CALLERS) as load,
    ):
        for version in (2, 3, 4):
            load.wait_for(100)
            setting.release(version)
            until_served(servers, version)
        load.wait_for(100)
        load.stop()
        plain.stop()
        assert load.failures() == plain.failures() == []
        assert {answer.version for answer in plain.answers} == {1, 2, 3, 4}
        assert_versions_only_rise(load)
        assert load.answers[-1].version == 4


def assert_versions_only_rise(load: Load) -> None:
    """An episode stays on its version, unless it says that it was cut: by a replica that is behind."""
    cut = {answer.episode for answer in load.answers if "episode_cut" in answer.why}
    for episode, versions in versions_by_episode(load.answers).items():
        assert episode in cut or len(set(versions)) == 1, (episode, versions)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_costs_only_what_it_had_in_flight(setting: Setting, kind: str) -> None:
    callers = 8
    with (
        setting.serving(kind, workers=2) as servers,
        scraping(servers[0].http) as scraper,
        plain_load(servers[0].grpc, callers) as plain,
        steersman_load([server.grpc for server in servers], CALLERS) as load,
    ):
        load.wait_for(200)
        before = workers_of(servers[0])
        os.kill(min(before), signal.SIGKILL)
        setting.release(2)
        wait_until(lambda: len(workers_of(servers[0]) - before) == 1, "the worker's successor")
        until_served(servers, 2, workers=2)
        load.wait_for(200)
        load.stop()
        plain.stop()
        assert load.failures() == []
        assert plain.codes()["UNAVAILABLE"] <= callers  # each has one call in flight
        assert set(plain.codes()) <= {"OK", "UNAVAILABLE"}
        counted = scraper.look()
        assert scraper.backward == []
        assert scraper.scrapes > 5
        assert value(counted, "steersman_worker_starts_total") == 3
        mine = len(plain.answers) - len(plain.failures())
        assert value(counted, "steersman_calls_total", method="Act", code="ok") >= mine


@pytest.mark.parametrize("lame_duck_s", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_sigterm_under_load_costs_no_call_and_does_not_wait_for_who_only_watches(
    setting: Setting, kind: str, lame_duck_s: float
) -> None:
    grace_s = 60.0  # far more than the test takes
    arguments = ["--lame-duck", str(lame_duck_s), "--grace", str(grace_s)]
    with (
        setting.serving(kind, arguments=arguments) as servers,
        plain_load(servers[0].grpc, 2, timeout_s=5.0) as plain,
        steersman_load([server.grpc for server in servers], CALLERS) as load,
    ):
        load.wait_for(200)
        servers[0].process.send_signal(signal.SIGTERM)
        assert servers[0].process.wait(30) == 0
        load.wait_for(100)
        load.stop()
        plain.stop()
        assert load.failures() == []
        assert {(a.version, a.why) for a in load.answers} == {(1, "policy")}
        # CANCELLED is grpcio's own word for calls that it had not begun when it stopped.
        assert set(plain.codes()) <= {"OK", "UNAVAILABLE", *({"CANCELLED"} if kind == "grpcio" else ())}
    assert_quiet(setting.log(0))


@pytest.mark.parametrize("overload", ["fallback", "reject"])
@pytest.mark.parametrize("kind", KINDS)
def test_three_times_too_much_is_answered_as_the_deployment_says(
    tmp_path: Path, kind: str, overload: str
) -> None:
    setting, deployment, config = Setting(tmp_path), tmp_path / "toy.yaml", tmp_path / "server.yaml"
    deployment.write_text(
        f"policy: toy\nbatching: {{run: thread, preferred_rows: [1]}}\noverload: {overload}\n"
        "safety: {fallback: [{preference: [0, 1, 2]}]}\n"
    )
    config.write_text("max_waiting_rows: 2\n")
    arguments = ["--deployment", str(deployment), "--config", str(config)]
    with (
        setting.serving(kind, replicas=1, arguments=arguments) as (server,),
        plain_load(server.grpc, 12, timeout_s=20.0) as plain,
    ):
        plain.wait_for(600)
        plain.stop()
        whys = {answer.why for answer in plain.answers}
        expected = {"fallback": "SOURCE_FALLBACK overload", "reject": "too much is waiting; try again later"}
        assert expected[overload] in whys
        assert set(plain.codes()) <= {"OK", *(() if overload == "fallback" else ("RESOURCE_EXHAUSTED",))}
        assert max(answer.seconds for answer in plain.answers) < 20.0
        with PolicyClient(server.grpc) as client:  # which obeys the hint
            assert client.act("toy", OBSERVATION, timeout=20).source == "policy"
    assert_quiet(setting.log(0))


def assert_quiet(log: Path) -> None:
    text = log.read_text()
    for word in ("defect", "Traceback", "worker ended", "hangs"):
        assert word not in text, text[-3000:]
