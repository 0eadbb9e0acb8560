"""A client that holds the server's answers against a deployment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steersman.client import PolicyClient, ServerUnavailableError, Source, UnsafeActionError
from steersman.local_check import LocalCheck
from steersman.serving.testing import RunningServer, running_server
from support.toy_bundle import publish_toy

WANTS_ONE = [1.0, 3.0, 2.0, 0.0]
WANTS_TWO = [1.0, 0.0, 3.0, 0.0]
STRICTER = """\
policy: toy
safety:
  constraints:
    - {name: never_one, forbid: [1]}
  fallback: [{constant: 0}]
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("local-check")
    publish_toy(root)
    return root


@pytest.fixture(scope="module")
def server(bundles: Path) -> Iterator[RunningServer]:
    with running_server(bundles) as running:
        yield running


@pytest.fixture
def stricter(tmp_path: Path) -> Path:
    file = tmp_path / "toy.yaml"
    file.write_text(STRICTER)
    return file


def test_an_action_that_the_caller_ruled_out_is_not_handed_out(server: RunningServer, stricter: Path) -> None:
    with PolicyClient(server.grpc) as client:
        assert int(client.policy("toy").act(WANTS_ONE).action) == 1
        policy = client.policy("toy", check=LocalCheck.from_deployment(stricter))
        with pytest.raises(UnsafeActionError, match="never_one"):
            policy.act(WANTS_ONE)
        allowed = policy.act(WANTS_TWO)
    assert (int(allowed.action), allowed.source) == (2, Source.POLICY)


def test_or_the_callers_own_fallback_answers(server: RunningServer, stricter: Path) -> None:
    check = LocalCheck.from_deployment(stricter, unsafe="fallback")
    with PolicyClient(server.grpc) as client:
        answer = client.policy("toy", check=check).act(WANTS_ONE)
    assert (int(answer.action), answer.source) == (0, Source.LOCAL_FALLBACK)


def test_with_no_server_there_is_an_answer_all_the_same(bundles: Path, stricter: Path) -> None:
    check = LocalCheck.from_deployment(stricter, bundle=bundles / "toy" / "1", offline="fallback")
    with running_server(bundles) as server, PolicyClient(server.grpc, retries=0) as client:
        policy = client.policy("toy", check=check)
        assert policy.act(WANTS_TWO).source is Source.POLICY
        server.process.terminate()
        server.process.wait()
        answer = policy.act(WANTS_TWO)
        assert (int(answer.action), answer.source) == (0, Source.LOCAL_FALLBACK)
        with pytest.raises(ServerUnavailableError):
            client.policy("toy").act(WANTS_TWO)
