"""A server that serves only what a trusted key has signed, from the command that signs to the call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from steersman.bundle.bundle import Bundle
from steersman.client import PolicyClient, VersionState
from steersman.serving.testing import running_server
from support.toy_bundle import publish_toy


def steersman(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    command = [sys.executable, "-P", "-m", "steersman.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def signed(tmp_path: Path) -> Bundle:
    """A signed bundle `toy` and an unsigned one `other`, in one repository."""
    bundle = publish_toy(tmp_path / "bundles")
    publish_toy(tmp_path / "bundles", "other")
    assert steersman("keys", "generate", tmp_path / "release").returncode == 0
    assert steersman("sign", bundle.path, "--key", tmp_path / "release.private.pem").returncode == 0
    return bundle


def test_only_what_a_trusted_key_signed_is_served(signed: Bundle, tmp_path: Path) -> None:
    key, log = tmp_path / "release.public.pem", tmp_path / "log"
    with (
        running_server(tmp_path / "bundles", arguments=["--trusted-key", str(key)], log=log) as server,
        PolicyClient(server.grpc) as client,
    ):
        assert client.act("toy", [1.0, 3.0, 2.0, 0.0]).action == 1
        versions = {summary.policy: summary.versions[0] for summary in client.policies()}
    assert versions["toy"].state is VersionState.READY
    assert (versions["other"].state, versions["other"].detail) == (
        VersionState.FAILED,
        "the bundle is not signed",
    )
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    (why,) = [entry["why"] for entry in entries if entry["message"] == "policy refused"]
    assert "not signed" in why


def test_a_server_that_may_serve_nothing_says_why(signed: Bundle, tmp_path: Path) -> None:
    steersman("keys", "generate", tmp_path / "stranger")
    key = tmp_path / "stranger.public.pem"
    finished = steersman("serve", "--repository", tmp_path / "bundles", "--trusted-key", key, "--port", 0)
    assert finished.returncode == 1
    assert "signature by" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
