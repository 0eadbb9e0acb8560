"""The examples of docs/client.md, run as they stand against a toy server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.client import PolicyClient
from steersman.v1 import policy_pb2 as pb
from support.certificates import Authority
from support.toy_policies import DECIDERS, POLICIES, decide_gate
from support.toy_server import Toy, toy_server

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


class Environment:
    """Takes actions."""

    def __init__(self) -> None:
        self.actions: list[Any] = []

    def step(self, action: Any) -> None:
        self.actions.append(action)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two servers with a policy of CartPole's shapes."""
    cartpole = pb.PolicyDescription()
    cartpole.CopyFrom(POLICIES["gate"])
    cartpole.policy = "cartpole"
    cartpole.action_mask.segments[:] = [2]
    monkeypatch.setitem(POLICIES, "cartpole", cartpole)
    monkeypatch.setitem(DECIDERS, "cartpole", _decide)
    with toy_server(Toy()) as first, toy_server(Toy()) as second:
        yield [first, second]


def _decide(request: pb.ActRequest, rows: dict[str, np.ndarray], answer: pb.ActResponse) -> np.ndarray:
    request.ClearField("action_mask")
    return decide_gate(request, rows, answer) - 10


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(
    number: int, targets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    authority.issue("client").write(tmp_path, "client")
    (tmp_path / "cartpole.yaml").write_text("policy: cartpole\nsafety: {fallback: [{constant: stay}]}\n")
    monkeypatch.chdir(tmp_path)
    environment = Environment()
    batch = np.eye(4, dtype=np.float32)
    names = {
        "PolicyClient": PolicyClient,
        "observations": batch,
        "batch": batch,
        "env": environment,
        "vector_env": environment,
    }
    example = EXAMPLES[number].replace("127.0.0.1:50051", targets[0]).replace("127.0.0.1:50061", targets[1])
    exec(compile(example, f"{PAGE.name}, example {number + 1}", "exec"), names)
    if "env.step" in example:
        assert environment.actions


def test_the_errors_of_the_table_are_there() -> None:
    import steersman.client

    for name in re.findall(r"`(\w+Error)`", PAGE.read_text(encoding="utf-8")):
        assert name in steersman.client.__all__
