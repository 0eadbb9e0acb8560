"""Deployments as documents on a real server: what comes out is what went in, and nothing is lost unsaid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from steersman.client import PolicyClient
from steersman.serving.testing import RunningServer, running_server
from support.toy_bundle import publish_toy

DEPLOYMENT = """\
policy: toy
lanes:
  stable: {version: 1}
  canary: {version: latest, share: 0.25}
  shadow: {version: 1, share: 0.1, tolerance: 1.0e-05}
labels: {champion: 1, "on": 2}
serve: {specific: [1, 2]}
batching: {run: inline, preferred_rows: [8]}
safety:
  guard:
    bounds: off
    ranges: {left: {low: -3.0}}
  fallback:
    - name: "yes"
      rules:
        - {when: left > 1.0e+3 && right < -0.5, then: 1}
    - preference: [0, 1]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("documents")
    for _ in range(2):
        publish_toy(folder / "bundles")
    with running_server(folder / "bundles", state_dir=folder / "state") as running:
        yield running


def steersman(server: RunningServer, *words: str) -> subprocess.CompletedProcess[str]:
    """`steersman WORDS`, as it is typed."""
    command = [sys.executable, "-P", "-m", "steersman.cli", *words]
    environment = {**os.environ, "STEERSMAN_CONTROL": server.control, "STEERSMAN_TARGET": server.grpc}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def applied(server: RunningServer, file: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`steersman deploy apply` of a file with this text."""
    file.write_text(text)
    return steersman(server, "deploy", "apply", str(file), *words)


def test_what_is_in_force_is_printed_as_it_can_be_applied(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    first = applied(server, file, DEPLOYMENT)
    assert first.returncode == 0, first.stderr
    printed = steersman(server, "deploy", "show", "toy", "--yaml")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert "version: latest" not in printed.stdout, "a canary is a number since it was applied"
    before = steersman(server, "deploy", "show", "toy", "--json").stdout
    again = applied(server, file, printed.stdout)
    assert again.stdout.splitlines()[0] == "toy: nothing to change"
    after = steersman(server, "deploy", "show", "toy", "--json").stdout
    assert json.loads(after) == json.loads(before)
    assert steersman(server, "deploy", "show", "toy", "--yaml").stdout == printed.stdout


def test_a_file_without_safety_is_refused_until_it_says_so(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    assert applied(server, file, DEPLOYMENT).returncode == 0
    bare = DEPLOYMENT.partition("safety:")[0]
    for words in ([], ["--dry-run"]):
        refused = applied(server, file, bare, *words)
        assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (1, "", 1)
        assert "fallback chain of 2 members (yes, preference)" in refused.stderr
        assert "the line `safety: {}`, which removes it" in refused.stderr
        assert "`steersman deploy show POLICY --yaml` prints it." in refused.stderr
    dry = applied(server, file, bare + "safety: {}\n", "--dry-run")
    removed = (
        "safety: removed: fallback chain of 2 members (yes, preference), guard {ranges: {left: {low: -3.0}}}"
    )
    assert f"would change toy: {removed}" in dry.stdout
    assert dry.stdout.splitlines()[-1] == "dry run: nothing was changed; the same without --dry-run does it"
    done = applied(server, file, bare + "safety: {}\n")
    assert f"toy: {removed}" in done.stdout


def test_labels_are_shown(server: RunningServer, tmp_path: Path) -> None:
    done = applied(server, tmp_path / "toy.yaml", DEPLOYMENT)
    assert done.returncode == 0, done.stderr
    for command in (["deploy", "show", "toy"], ["policies"]):
        header, *rows = steersman(server, *command).stdout.splitlines()[-3 if len(command) == 1 else -4 :]
        assert "labels" in header
        assert any(" champion" in row for row in rows), rows
        assert any(" on" in row for row in rows), rows
    with PolicyClient(server.grpc) as client:
        assert client.act("toy", [1.0, 3.0, 2.0, 0.0], version="on").version == 2


def test_history_has_as_many_entries_as_were_asked_for(server: RunningServer, tmp_path: Path) -> None:
    for share in ("0.1", "0.2", "0.3"):
        document = DEPLOYMENT.replace("0.25", share)
        assert applied(server, tmp_path / "toy.yaml", document, "--reason", share).returncode == 0
    found = steersman(server, "deploy", "history", "toy", "--limit", "2")
    assert [reason in found.stdout for reason in ("0.3", "0.2")] == [True, True]
    assert "there is more: --before" in found.stderr
    entries = json.loads(steersman(server, "deploy", "history", "toy", "--limit", "5000", "--json").stdout)
    numbers = [entry["id"] for entry in entries["entries"]]
    assert numbers == list(range(len(numbers), 0, -1))
    assert entries["next_before_id"] == 0


def test_mistakes_in_a_file_are_one_line(server: RunningServer, tmp_path: Path) -> None:
    for text, said in (
        ("policy: toy\nlanes:\n  stable: {version: 1\n", "not YAML: line 4, column 1: expected ',' or '}'"),
        ("policy: toy\nlanes: {canary: {versoin: 2}}\n", "lanes.canary.versoin: unknown field"),
    ):
        wrong = applied(server, tmp_path / "toy.yaml", text, "--dry-run")
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
        assert said in wrong.stderr
