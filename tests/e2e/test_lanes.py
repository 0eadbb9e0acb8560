"""Lanes moved by hand on a real server: what an operator types, what callers get, and what survives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.client import PolicyClient, VersionState
from steersman.serving.rollout.assignment import bucket, canary_buckets
from steersman.serving.testing import RunningServer, running_server
from support.scrape import scrape, value, wait_until
from support.toy_bundle import WEIGHTS, discrete_contract, publish_toy

OBSERVATION = [1.0, 3.0, 2.0, 0.0]
EPISODES = [f"episode-{number}" for number in range(200)]
DEPLOYMENT = "policy: toy\nlanes:\n  stable: {version: 1}\n  canary: {version: 2, share: 0.25}\n"


class Setting:
    """Two versions of a policy, a state folder that outlives servers, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundles = folder / "bundles"
        self.state = folder / "state"
        self.file = folder / "toy.yaml"
        self.file.write_text(DEPLOYMENT)
        for _ in range(2):
            publish_toy(self.bundles)

    def serving(self, **options: Any) -> Any:
        """A server with two workers that looks at its repository every half second."""
        arguments = options.pop("arguments", ["--poll", "0.5"])
        return running_server(self.bundles, workers=2, state_dir=self.state, arguments=arguments, **options)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


@pytest.fixture
def server(setting: Setting) -> Iterator[RunningServer]:
    with setting.serving() as running:
        yield running


def deploy(server: RunningServer, *words: str, status: int = 0) -> str:
    """What `steersman deploy WORDS` prints."""
    command = [sys.executable, "-P", "-m", "steersman.cli", "deploy", *words]
    environment = {**os.environ, "STEERSMAN_CONTROL": server.control}
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert finished.returncode == status, finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stdout if status == 0 else finished.stderr


def shown(server: RunningServer) -> dict[str, Any]:
    (status,) = json.loads(deploy(server, "show", "toy", "--json"))["deployments"]
    return dict(status)


def lanes(server: RunningServer) -> dict[str, int]:
    """Version of every lane that takes episodes."""
    return {lane["lane"]: int(lane["version"]) for lane in shown(server)["lanes"] if not lane["draining"]}


def answers(server: RunningServer) -> dict[str, tuple[int, str]]:
    """Version and lane of each episode's first decision; each call may meet either worker."""
    found = {}
    for _ in range(4):  # a connection stays with one worker, and the kernel picks it
        with PolicyClient(server.grpc) as client:
            for episode in EPISODES:
                decision = client.act("toy", OBSERVATION, episode_id=episode)
                found.setdefault(episode, (decision.version, decision.lane))
                assert found[episode] == (decision.version, decision.lane)
    return found


def test_a_canary_reaches_every_worker_at_once_and_takes_its_share(
    setting: Setting, server: RunningServer
) -> None:
    deploy(server, "apply", str(setting.file), "--reason", "try version 2")
    status = shown(server)
    assert (status["workers_current"], status["workers"]) == (2, 2)
    assert {(lane["lane"], lane["workers_ready"]) for lane in status["lanes"]} == {
        ("stable", 2),
        ("canary", 2),
    }
    first, end = canary_buckets(canary=0.25)["canary"]
    expected = {
        episode: (2, "canary") if first <= bucket(status["rollout_id"], episode) < end else (1, "stable")
        for episode in EPISODES
    }
    assert answers(server) == expected
    counted = scrape(server.http)
    assert value(counted, "steersman_lane_share_ratio", policy="toy", lane="canary", version="2") == 0.25
    assert value(counted, "steersman_deployment_revision", policy="toy") == 1


def test_a_change_is_in_all_workers_within_the_time_that_is_promised(
    setting: Setting, server: RunningServer
) -> None:
    deploy(server, "apply", str(setting.file))
    deadline = time.monotonic() + 2.0
    deploy(server, "set-share", "toy", "canary", "1.0")
    while shown(server)["workers_current"] < 2:
        assert time.monotonic() < deadline
    assert set(answers(server).values()) == {(2, "canary")}


def test_episodes_end_where_they_began_when_their_canary_is_promoted(
    setting: Setting, server: RunningServer
) -> None:
    deploy(server, "apply", str(setting.file))
    with PolicyClient(server.grpc) as client:
        begun = {name: client.policy("toy").episode(name) for name in EPISODES[:40]}
        before = {name: episode.act(OBSERVATION).version for name, episode in begun.items()}
        deploy(server, "promote", "toy", "--reason", "no harm seen")
        after = {name: episode.act(OBSERVATION).version for name, episode in begun.items()}
        assert after == before
        assert set(Counter(before.values())) == {1, 2}
        assert client.act("toy", OBSERVATION, episode_id="another").version == 2
    assert lanes(server) == {"stable": 2}


def test_a_rollback_cuts_the_canary_s_episodes(setting: Setting, server: RunningServer) -> None:
    deploy(server, "apply", str(setting.file))
    deploy(server, "set-share", "toy", "canary", "1.0")
    with PolicyClient(server.grpc) as client:
        episode = client.policy("toy").episode("one")
        assert episode.act(OBSERVATION).version == 2
        deploy(server, "rollback", "toy", "--reason", "falls over")
        decision = episode.act(OBSERVATION)
        assert (decision.version, decision.reason) == (1, "episode_cut")
    assert lanes(server) == {"stable": 1}


def test_deployments_and_their_history_survive_a_restart(setting: Setting) -> None:
    with setting.serving(deployments=[setting.file]) as server:
        deploy(server, "set-share", "toy", "canary", "0.5", "--reason", "no harm at 25 %", "--actor", "ann")
        before = shown(server)
        found = answers(server)
    with setting.serving(deployments=[setting.file]) as server:
        after = shown(server)
        for key in ("revision", "document", "rollout_id", "epoch"):
            assert after[key] == before[key]
        assert int(after["generation"]) > int(before["generation"])
        assert answers(server) == found
        newest, oldest = json.loads(deploy(server, "history", "toy", "--json"))["entries"]
        assert (newest["actor"], newest["reason"]) == ("ann", "no harm at 25 %")
        assert (oldest["actor"], oldest["reason"]) == ("serve", "toy.yaml")
        assert newest["changes"] == ["canary: share 25 % -> 50 %"]
    setting.file.write_text(DEPLOYMENT.replace("0.25", "0.75"))
    with setting.serving(deployments=[setting.file]) as server:
        assert int(shown(server)["revision"]) == 3


def test_a_server_whose_store_is_away_goes_on_with_what_it_had(setting: Setting, tmp_path: Path) -> None:
    with setting.serving() as server:
        deploy(server, "apply", str(setting.file))
        before = shown(server)
    (setting.state / "store.db").rename(tmp_path / "away")
    (setting.state / "store.db").mkdir()
    log = tmp_path / "log"
    with setting.serving(log=log) as server:
        assert shown(server)["rollout_id"] == before["rollout_id"]
        assert lanes(server) == {"stable": 1, "canary": 2}
        assert "store" in deploy(server, "promote", "toy", status=1)
        assert "store" in deploy(server, "history", status=1)
        (setting.state / "store.db").rmdir()
        (tmp_path / "away").rename(setting.state / "store.db")
        deploy(server, "promote", "toy")
    assert "THE STORE CANNOT BE USED" in log.read_text()


def test_a_new_version_is_served_and_a_broken_one_leaves_the_old_one_and_says_why(
    setting: Setting, server: RunningServer
) -> None:
    publish_toy(setting.bundles)
    wait_until(lambda: lanes(server) == {"stable": 3}, "the new version")
    copy_damaged(setting.bundles / "toy" / "3", setting.bundles / "toy" / "4")
    wait_until(lambda: bool(shown(server)["problems"]), "the problem")
    assert lanes(server) == {"stable": 3}
    assert set(answers(server).values()) == {(3, "stable")}
    with PolicyClient(server.grpc) as client:
        (summary,) = [found for found in client.policies() if found.policy == "toy"]
    newest = summary.versions[0]
    assert (newest.version, newest.state) == (4, VersionState.FAILED)
    assert newest.detail.startswith("policy.onnx: content was changed")
    assert newest.detail.endswith(
        "Copy the bundle of version 4 here again, or export the policy as a new version."
    )
    assert shown(server)["problems"] == [f"stable: version 4: {newest.detail}"]
    assert value(scrape(server.http), "steersman_version_refused", policy="toy", version="4") == 1


def test_a_version_whose_certificate_fails_in_the_workers_leaves_the_old_one(
    setting: Setting, server: RunningServer
) -> None:
    deploy(server, "apply", str(setting.file))
    publish_toy(setting.bundles, certified=-WEIGHTS)
    setting.file.write_text(DEPLOYMENT.replace("version: 2", "version: 3"))
    deploy(server, "apply", str(setting.file))
    wait_until(lambda: lanes(server) == {"stable": 1, "canary": 2}, "the old canary's return")
    (problem,) = shown(server)["problems"]
    assert "certificate" in problem
    assert {version for version, _ in answers(server).values()} == {1, 2}


def test_a_worker_that_was_restarted_serves_what_is_in_force_now(
    setting: Setting, server: RunningServer
) -> None:
    deploy(server, "apply", str(setting.file))
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    victims = [int(pid) for pid in children.read_text().split()]
    for victim in victims:
        os.kill(victim, 9)
    wait_until(lambda: not set(victims) & set(map(int, children.read_text().split())), "the workers' end")
    wait_until(lambda: shown(server)["workers_current"] == 2, "the new workers")
    assert {version for version, _ in answers(server).values()} == {1, 2}


def test_what_cannot_be_changed_is_one_line(setting: Setting, server: RunningServer) -> None:
    publish_toy(setting.bundles, contract=discrete_contract(start=5))
    other = setting.folder / "other.yaml"
    other.write_text(DEPLOYMENT.replace("version: 2", "version: 3"))
    assert "start 0 and 5" in deploy(server, "apply", str(other), status=1)
    other.write_text("policy: toy\nlanez: {}\n")
    assert "Did you mean lanes?" in deploy(server, "apply", str(other), status=2)
    assert "nowhere.yaml" in deploy(server, "apply", "nowhere.yaml", status=2)
    assert lanes(server) == {"stable": 2}


def copy_damaged(source: Path, target: Path) -> None:
    """The next version, all at once, with a byte too many in its graph."""
    beside = target.with_name(".on-its-way")
    shutil.copytree(source, beside)
    manifest = (beside / "manifest.json").read_text()
    number = f'"version": {source.name}'
    assert number in manifest
    (beside / "manifest.json").write_text(manifest.replace(number, f'"version": {target.name}'))
    with (beside / "policy.onnx").open("ab") as file:
        file.write(b"x")
    beside.rename(target)


def test_a_label_stays_where_it_answered_when_its_new_version_cannot_be_loaded(
    setting: Setting, server: RunningServer
) -> None:
    labelled = "policy: toy\nlanes: {stable: {version: 1}}\nlabels: {champion: NUMBER}\n"
    setting.file.write_text(labelled.replace("NUMBER", "2"))
    deploy(server, "apply", str(setting.file))
    publish_toy(setting.bundles, certified=-WEIGHTS)
    setting.file.write_text(labelled.replace("NUMBER", "3"))
    deploy(server, "apply", str(setting.file))
    wait_until(lambda: bool(shown(server)["problems"]), "the workers' refusal")
    with PolicyClient(server.grpc) as client:
        assert client.act("toy", OBSERVATION, version="champion").version == 2
