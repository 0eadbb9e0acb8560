"""What the supervisor does about workers that are not well, beside starting the dead ones again."""

from __future__ import annotations

from pathlib import Path

from steersman.client import ClientError, PolicyClient
from steersman.serving.testing import running_server
from support.scrape import scrape, value, wait_until


def test_a_worker_that_has_grown_too_large_is_drained_and_replaced(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "steersman.yaml"
    config.write_text("max_worker_bytes: 1000000\n")  # every worker is larger than that
    log = tmp_path / "log"
    with running_server(repository, arguments=["--config", str(config)], log=log) as running:
        wait_until(
            lambda: value(scrape(running.http), "steersman_worker_starts_total") >= 2,
            "the worker's successor",
        )
        with PolicyClient(running.grpc, timeout=20) as client:
            wait_until(lambda: _answers(client), "an answer")
    text = log.read_text()
    assert "worker has grown too large; replacing it" in text
    assert '"status": 0' in text  # it ended in good order


def _answers(client: PolicyClient) -> bool:
    try:
        return client.act("toy", [1.0, 3.0, 2.0, 0.0]).version == 1
    except ClientError:
        return False
