"""Hosts that share a PostgreSQL: what one changes, all do; who wins of two; and how they do without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
import pytest

from steersman.client import PolicyClient
from steersman.serving.errors import ServingError
from steersman.serving.testing import RunningServer, running_server
from steersman.v1 import control_pb2 as pb
from steersman.v1.control_pb2_grpc import ControlServiceStub
from support.postgres import Postgres
from support.scrape import scrape, value, wait_until
from support.toy_bundle import publish_toy

OBSERVATION = [1.0, 3.0, 2.0, 0.0]
DEPLOYMENT = "policy: toy\nlanes:\n  stable: {version: 1}\n  canary: {version: 2, share: 0.25}\n"
PROMISED_S = 2.0
"""Within which a change is in force on every host."""


class Hosts:
    """Two versions of a policy, a database, a keyring, and hosts with state folders of their own."""

    def __init__(self, folder: Path, database: Postgres) -> None:
        self.folder = folder
        self.database = database
        self.url = database.new_database()
        self.bundles = folder / "bundles"
        self.file = folder / "toy.yaml"
        self.file.write_text(DEPLOYMENT)
        for _ in range(2):
            publish_toy(self.bundles)

    def serving(self, name: str, *, seeded: bool = False) -> Any:
        """A server on a host of this name, which finds its store in the environment."""
        return running_server(
            self.bundles,
            deployments=[self.file] if seeded else [],
            state_dir=self.folder / name,
            log=self.log(name),
            arguments=["--keyring", str(self.folder / "keyring"), "--log-level", "debug"],
        )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path_factory.mktemp("hosts"), postgres)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEERSMAN_STORE", hosts.url)
        yield hosts


@pytest.fixture(scope="module")
def pair(hosts: Hosts) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two hosts that were started at the same moment, with the same deployment file and an empty store."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        servers = [hosts.serving(name, seeded=True) for name in ("one", "two")]
        yield tuple(threads.map(stack.enter_context, servers))


def control(server: RunningServer) -> ControlServiceStub:
    """The control service of a server."""
    return ControlServiceStub(grpc.insecure_channel(server.control))


def revision(server: RunningServer) -> int:
    """The deployment that its worker has."""
    counted = scrape(server.http)
    current = value(counted, "steersman_workers_current")
    return int(value(counted, "steersman_deployment_revision", policy="toy")) if current else -1


def wait_for(server: RunningServer, made: int) -> None:
    """Waits until a revision is in force there, as long as is promised."""
    wait_until(lambda: revision(server) == made, f"revision {made}", PROMISED_S)


def share(server: RunningServer, canary: float, **asked: Any) -> pb.DeploymentChange:
    change = pb.Change(actor="ann", **asked)
    return control(server).SetShare(
        pb.SetShareRequest(policy="toy", lane="canary", share=canary, change=change), timeout=30
    )


def test_hosts_that_start_together_apply_their_file_once(
    pair: tuple[RunningServer, RunningServer],
) -> None:
    one, two = pair
    assert (revision(one), revision(two)) == (1, 1)
    (entry,) = control(two).GetHistory(pb.GetHistoryRequest()).entries
    assert (entry.actor, entry.revision) == ("serve", 1)


def test_a_change_at_one_host_is_in_force_at_the_other_within_the_time_that_is_promised(
    pair: tuple[RunningServer, RunningServer],
) -> None:
    one, two = pair
    for server, other, canary in ((one, two, 1.0), (two, one, 0.5), (one, two, 1.0)):
        made = share(server, canary).deployment.revision
        wait_for(other, made)
    with PolicyClient(two.grpc) as client:
        assert client.act("toy", OBSERVATION, episode_id="anybody").lane == "canary"


def test_a_rollback_at_one_host_cuts_the_episodes_of_all(
    hosts: Hosts, pair: tuple[RunningServer, RunningServer]
) -> None:
    one, two = pair
    share(one, 1.0)
    wait_for(two, revision(one))
    with PolicyClient(two.grpc) as client:
        episode = client.policy("toy").episode("somebody")
        assert episode.act(OBSERVATION).version == 2
        made = control(one).Rollback(pb.RollbackRequest(policy="toy")).deployment.revision
        wait_for(two, made)
        decision = episode.act(OBSERVATION)
    assert (decision.version, decision.reason) == (1, "episode_cut")


def test_of_changes_at_both_hosts_at_once_none_is_lost(
    pair: tuple[RunningServer, RunningServer],
) -> None:
    one, two = pair
    document = pb.ApplyDeploymentRequest(document=DEPLOYMENT)
    begun = control(one).ApplyDeployment(document).deployment.revision
    together = threading.Barrier(2)

    def move(server: RunningServer, offset: float) -> list[str]:
        stub, said = control(server), []
        for step in range(15):
            request = pb.SetShareRequest(policy="toy", lane="canary", share=offset + step / 100)
            together.wait()
            try:
                stub.SetShare(request, timeout=30)
                said.append("made")
            except grpc.RpcError as error:
                said.append(error.code().name)
        return said

    with ThreadPoolExecutor(2) as threads:
        answers = list(chain.from_iterable(threads.map(move, pair, (0.1, 0.5))))
    assert set(answers) <= {"made", "ABORTED"}
    made = answers.count("made")
    assert made >= 15
    history = control(two).GetHistory(pb.GetHistoryRequest(policy="toy", limit=200)).entries
    assert [entry.revision for entry in history] == list(range(begun + made, 0, -1))
    for server in pair:
        wait_for(server, begun + made)


def test_while_the_store_is_away_decisions_go_on_and_changes_wait(
    hosts: Hosts, pair: tuple[RunningServer, RunningServer]
) -> None:
    one, two = pair
    known = revision(one)
    hosts.database.stop()
    try:
        for server in pair:
            wait_until(partial(away, server), "the notice")
        check_without_store(one, known)
        shutil.copytree(hosts.folder / "one", hosts.folder / "three")
        with hosts.serving("three") as three:
            check_without_store(three, known)
            assert "serving what was deployed last" in hosts.log("three").read_text()
            check_that_a_new_host_does_not_start(hosts)
            hosts.database.start()
            check_recovery((one, two, three))
    finally:
        if not hosts.database.running:
            hosts.database.start()


def check_without_store(server: RunningServer, known: int) -> None:
    """It decides, says what ails it where people look, and refuses changes."""
    with PolicyClient(server.grpc) as client:
        assert client.act("toy", OBSERVATION).source == "policy"
    assert revision(server) == known
    assert away(server)
    with urllib.request.urlopen(f"{server.http}/readyz", timeout=10) as answer:
        assert "the store cannot be used since 20" in answer.read().decode()
    with pytest.raises(grpc.RpcError) as refused:
        share(server, 0.9)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the store of deployments cannot be used now" in refused.value.details()


def check_that_a_new_host_does_not_start(hosts: Hosts) -> None:
    """What it would have to serve, nobody knows."""
    with pytest.raises(ServingError, match="ended with status 1"), hosts.serving("four"):
        pass
    assert "the store cannot be used: OperationalError" in hosts.log("four").read_text()


def check_recovery(servers: tuple[RunningServer, ...]) -> None:
    """All know that it is back, and follow a change at any."""
    for server in servers:
        wait_until(lambda server=server: not away(server), "the return")
    made = share(servers[0], 0.8).deployment.revision
    for server in servers:
        wait_for(server, made)


def away(server: RunningServer) -> bool:
    """Whether it cannot use its store."""
    return value(scrape(server.http), "steersman_store_up") == 0


def test_the_password_of_the_store_is_nowhere(hosts: Hosts) -> None:
    command = [sys.executable, "-P", "-m", "steersman.cli", "serve", "--repository", "x", "--print-config"]
    printed = subprocess.run(command, capture_output=True, check=True, env=os.environ).stdout.decode()
    assert "store: postgresql://steersman:***@" in printed
    logs = [file.read_text() for file in hosts.folder.glob("*.log")]
    assert all("THE STORE CANNOT BE USED" in log for log in logs if "the store is back" in log)
    for text in (printed, *logs):
        assert "hunter2" not in text
