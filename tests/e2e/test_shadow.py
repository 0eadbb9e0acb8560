"""A shadow lane on a real server: deployed by hand, compared beside the calls, seen in the metrics alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from steersman.client import PolicyClient
from steersman.serving.testing import RunningServer, running_server
from support.scrape import scrape, value, wait_until
from support.toy_bundle import WEIGHTS, publish_toy

ROWS = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
OTHER = WEIGHTS[:, [1, 0, 2]]
DEPLOYMENT = "policy: toy\nlanes:\n  stable: {version: 1}\n  shadow: {version: 2, share: 1.0, cpu: 0.5}\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    publish_toy(tmp_path / "bundles")
    publish_toy(tmp_path / "bundles", weights=OTHER)
    (tmp_path / "toy.yaml").write_text(DEPLOYMENT)
    with running_server(tmp_path / "bundles", workers=2, log=tmp_path / "log") as running:
        yield running
    assert '"error"' not in (tmp_path / "log").read_text()


def deploy(server: RunningServer, *words: str) -> None:
    """`steersman deploy WORDS`."""
    command = [sys.executable, "-P", "-m", "steersman.cli", "deploy", *words]
    environment = {**os.environ, "STEERSMAN_CONTROL": server.control}
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert finished.returncode == 0, finished.stderr


def rows(server: RunningServer, outcome: str = "") -> float:
    """Rows that the shadow was offered, by what came of them."""
    labels = {"outcome": outcome} if outcome else {}
    found = scrape(server.http)
    return value(found, "steersman_shadow_rows_total", policy="toy", version="2", lane="shadow", **labels)


def test_a_shadow_is_compared_and_never_returned(server: RunningServer, tmp_path: Path) -> None:
    deploy(server, "apply", str(tmp_path / "toy.yaml"), "--reason", "look at version 2")
    with PolicyClient(server.grpc) as client:
        answered = client.act_batch("toy", ROWS)
        sampled = client.act_batch("toy", ROWS, mode="sampled")
    assert set(answered.versions.tolist()) == set(sampled.versions.tolist()) == {1}
    assert set(answered.lanes) == set(sampled.lanes) == {"stable"}
    wanted = (ROWS @ OTHER).argmax(axis=1)
    assert np.array_equal(answered.actions, (ROWS @ WEIGHTS).argmax(axis=1))
    wait_until(lambda: rows(server) == 100, "the comparison of all rows")
    assert rows(server, "agreed") + rows(server, "disagreed") == 100
    assert rows(server, "disagreed") >= np.count_nonzero(answered.actions != wanted)
    counted = scrape(server.http)
    assert value(counted, "steersman_decisions_total", policy="toy", lane="shadow") == 100
    assert value(counted, "steersman_decisions_total", policy="toy", lane="stable") == 100


def test_a_shadow_s_share_is_moved_and_it_is_taken_away(server: RunningServer, tmp_path: Path) -> None:
    deploy(server, "apply", str(tmp_path / "toy.yaml"))
    deploy(server, "set-share", "toy", "shadow", "0.25")
    with PolicyClient(server.grpc) as client:
        ids = [number for _ in range(4) for number in client.act_batch("toy", ROWS).decision_ids]
        seen = sum(int.from_bytes(number[:4], "little") < 2**30 for number in ids)
        wait_until(lambda: rows(server) == seen, "the comparison of a quarter")
        deploy(server, "rollback", "toy")
        assert rows(server) == 0
        client.act_batch("toy", ROWS)
    deploy(server, "apply", str(tmp_path / "toy.yaml"))
    assert rows(server) == seen
