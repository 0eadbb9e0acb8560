"""What people order in place of a policy, on a real server: typed, obeyed, kept over a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.client import Decision, PolicyClient
from steersman.serving.testing import RunningServer, running_server
from support.scrape import scrape, value, wait_until
from support.toy_bundle import publish_toy

OBSERVATION = [1.0, 3.0, 2.0, 0.0]
DEPLOYMENT = """\
policy: toy
lanes: {stable: {version: 1}}
serve: {specific: [2]}
safety:
  lease: {within_s: 60}
  fallback: [{constant: 0}]
"""


class Setting:
    """Two versions, a state folder that outlives servers, and the command."""

    def __init__(self, folder: Path) -> None:
        self.bundles, self.state, self.file = folder / "bundles", folder / "state", folder / "toy.yaml"
        self.file.write_text(DEPLOYMENT)
        for _ in range(2):
            publish_toy(self.bundles)

    def serving(self, **options: Any) -> Any:
        options = {"deployments": [self.file], "workers": 2, **options}
        return running_server(self.bundles, state_dir=self.state, **options)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


@pytest.fixture
def server(setting: Setting) -> Iterator[RunningServer]:
    with setting.serving() as running:
        yield running


def run(server: RunningServer, *words: str, status: int = 0) -> str:
    """What `steersman WORDS` prints."""
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "steersman.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "STEERSMAN_CONTROL": server.control},
        check=False,
    )
    assert finished.returncode == status, finished.stderr + finished.stdout
    assert "Traceback" not in finished.stderr
    return finished.stdout if status == 0 else finished.stderr


def act(server: RunningServer, episode: str = "", **more: Any) -> Decision:
    with PolicyClient(server.grpc) as client:
        handle = client.policy("toy")
        return (
            handle.act(OBSERVATION, episode_id=episode, **more)
            if episode
            else handle.act(OBSERVATION, **more)
        )


def told(decision: Decision) -> tuple[int, str, str, int]:
    return int(decision.action), str(decision.source), decision.reason, decision.version


def test_what_is_ordered_is_done_for_as_long_as_it_is_in_force(
    setting: Setting, server: RunningServer
) -> None:
    usual = told(act(server))
    assert usual == (1, "policy", "", 1)
    said = run(server, "override", "set", "toy", "--pin", "2", "--for", "1h", "--reason", "inspection")
    assert "2 of 2 workers follow" in said
    pinned = act(server)
    assert told(pinned) == (2, "override", "override_pinned", 1)
    (change,) = pinned.interventions
    assert (change.layer, int(change.after)) == ("override", 2)
    assert told(act(server, mask=[True, True, False])) == (0, "fallback", "override_pinned", 1)
    run(server, "override", "set", "toy", "--freeze", "2", "--episode", "e", "--for", "2h", "--reason", "r")
    run(server, "override", "set", "toy", "--fallback", "--episode", "f", "--for", "2h", "--reason", "r")
    assert told(act(server, "e")) == (1, "policy", "", 2)
    assert told(act(server, "f")) == (0, "fallback", "override_fallback", 1)
    listed = json.loads(run(server, "override", "list", "toy", "--json"))["overrides"]
    assert [each["kind"] for each in listed] == [
        "OVERRIDE_KIND_PIN",
        "OVERRIDE_KIND_FREEZE",
        "OVERRIDE_KIND_FALLBACK",
    ]
    assert "inspection" in run(server, "override", "list")
    run(server, "override", "clear", listed[0]["id"], "--reason", "done")
    assert told(act(server)) == usual
    history = run(server, "deploy", "history", "toy")
    assert "set_override" in history
    assert "clear_override" in history
    series = scrape(server.http)
    assert value(series, "steersman_overrides", policy="toy", scope="episode", kind="freeze") == 1
    assert value(series, "steersman_decisions_total", policy="toy", source="override", version="1") >= 1


def test_orders_outlive_the_server_and_end_by_themselves(setting: Setting) -> None:
    with setting.serving() as server:
        run(server, "override", "set", "toy", "--pin", "2", "--for", "1h", "--reason", "r")
        run(server, "override", "set", "toy", "--fallback", "--episode", "f", "--for", "2s", "--reason", "r")
        assert told(act(server, "f"))[1] == "fallback"
        wait_until(lambda: told(act(server, "f"))[1] == "override", "it is obeyed")
    with setting.serving() as server:
        assert told(act(server)) == (2, "override", "override_pinned", 1)


def test_the_kill_switch_stops_every_policy_and_survives(setting: Setting) -> None:
    with setting.serving() as server:
        assert "2 of 2 workers follow" in run(server, "halt", "--yes", "--reason", "smoke")
        assert told(act(server)) == (0, "fallback", "kill_switch", 1)
        assert value(scrape(server.http), "steersman_kill_switch") == 1
        assert "smoke" in run(server, "override", "list")
    with setting.serving() as server:
        assert told(act(server))[2] == "kill_switch"
        assert "answer again" in run(server, "resume", "--reason", "out")
        assert told(act(server)) == (1, "policy", "", 1)
        (setting.state / "kill-switch").touch()  # nobody has to be asked
        wait_until(lambda: told(act(server))[2] == "kill_switch", "it is obeyed")
        (setting.state / "kill-switch").unlink()
        wait_until(lambda: told(act(server))[2] == "", "it is obeyed")
        run(server, "halt", "--yes", "--state", str(setting.state), "--reason", "offline")
        wait_until(lambda: told(act(server))[2] == "kill_switch", "it is obeyed")


def test_without_a_heartbeat_the_policy_ends_by_rule(setting: Setting) -> None:
    setting.file.write_text(DEPLOYMENT.replace("60", "2"))
    with setting.serving() as server:
        wait_until(lambda: told(act(server))[2] == "lease_expired", "it is obeyed")
        assert "good until" in run(server, "heartbeat", "toy")
        assert told(act(server))[2] == ""
        wait_until(lambda: told(act(server))[2] == "lease_expired", "it is obeyed")


def test_a_breaker_that_opens_is_in_the_answers_the_metrics_and_the_history(setting: Setting) -> None:
    setting.file.write_text(
        "policy: toy\nsafety:\n  breaker: {guarded: 0.5, least: 5, open_s: 600}\n"
        "  fallback: [{constant: 0}]\n"
    )
    with setting.serving(workers=1) as server:
        with PolicyClient(server.grpc) as client:
            for _ in range(8):
                client.policy("toy").act([float("nan")] * 4)
        assert told(act(server))[1:3] == ("fallback", "breaker_open")
        wait_until(lambda: "closed -> open" in run(server, "deploy", "history", "toy"), "it is written down")
        moved = {"policy": "toy", "from": "closed", "to": "open"}
        assert value(scrape(server.http), "steersman_breaker_transitions_total", **moved) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("toy", "--pin", "9", "--for", "1h", "--reason", "r"), "9 is not an action"),
        (("toy", "--freeze", "7", "--for", "1h", "--reason", "r"), "version 7 is not loaded"),
        (("toy", "--pin", "1", "--for", "1h"), "no reason"),
        (("toy", "--pin", "1", "--for", "8d", "--reason", "r"), "expected 1 to 604800"),
        (("toy", "--pin", "1", "--for", "1h", "--lane", "x", "--reason", "r"), "no lane 'x'"),
        (("nobody", "--fallback", "--for", "1h", "--reason", "r"), "no policy 'nobody'"),
    ],
)
def test_what_does_not_fit_is_refused(server: RunningServer, words: tuple[str, ...], said: str) -> None:
    status = 1 if "--freeze" in words else 2
    assert said in run(server, "override", "set", *words, status=status)
    assert told(act(server))[1] == "policy"
