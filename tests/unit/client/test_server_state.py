"""What a client learns of a server and tells it: descriptions, lists, readiness, outcomes."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from grpc import StatusCode

from steersman.client import (
    ActionKind,
    ClientError,
    DistributionKind,
    Outcome,
    OutcomeReport,
    ServerUnavailableError,
    VersionState,
)
from steersman.client.description import nanos_from_time, time_from_nanos
from steersman.v1 import policy_pb2 as pb
from support.toy_server import CREATED_NANOS, POLICIES
from unit.client.conftest import Kit


def test_a_description_says_all_that_a_caller_must_know(kit: Kit) -> None:
    gate = kit.wait(kit.client.describe("gate"))
    (observation,) = gate.observations
    assert (observation.key, observation.dtype, observation.shape) == ("", np.float32, (4,))
    assert observation.feature_names == ("a", "b", "c", "d")
    assert observation.low.tolist() == [float("-inf")]
    assert (gate.action.kind, gate.action.dtype, gate.action.shape) == (ActionKind.DISCRETE, np.int64, ())
    assert (gate.action.nvec, gate.action.start, gate.action.names) == ((3,), 10, ("left", "stay", "right"))
    assert (gate.mask_width, gate.is_dict, gate.recurrent, gate.modes) == (
        3,
        False,
        False,
        ("greedy", "sampled"),
    )
    assert (gate.algorithm, gate.environment) == ("PPO", "Gate-v0")
    assert (gate.distribution, gate.contract_digest) == (DistributionKind.CATEGORICAL, "cd" * 32)
    newest, broken = gate.versions
    assert (newest.labels, broken.labels) == (("champion",), ())
    assert (newest.version, newest.state, newest.variant, newest.lanes) == (
        7,
        VersionState.READY,
        "int8",
        ("stable",),
    )
    assert newest.created == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)
    assert (broken.state, broken.detail, broken.created) == (
        VersionState.FAILED,
        "its certificate does not hold",
        None,
    )
    arm = kit.wait(kit.client.describe("arm"))
    assert (arm.is_dict, arm.mask_width, arm.action.low.tolist()) == (True, 0, [-5, -5])
    assert (arm.distribution, arm.contract_digest) == (DistributionKind.GAUSSIAN, "")
    memory = kit.wait(kit.client.describe("memory"))
    assert (memory.mask_segments, memory.distribution) == ((2, 3), DistributionKind.Q_VALUES)


def test_describing_asks_afresh(kit: Kit) -> None:
    for _ in range(2):
        kit.wait(kit.client.describe("gate"))
    assert len(kit.toy.of(pb.GetPolicyRequest)) == 2


def test_what_a_newer_server_knows_does_not_break_an_older_client(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = pb.PolicyDescription()
    newer.CopyFrom(POLICIES["gate"])
    newer.action.kind = 99  # type: ignore[assignment]
    newer.versions[0].state = 99  # type: ignore[assignment]
    newer.modes.append(99)  # type: ignore[arg-type]
    newer.distribution = 99  # type: ignore[assignment]
    monkeypatch.setitem(POLICIES, "gate", newer)
    description = kit.wait(kit.client.describe("gate"))
    assert description.action.kind == ActionKind.UNKNOWN
    assert description.versions[0].state == VersionState.UNKNOWN
    assert description.modes == ("greedy", "sampled")
    assert description.distribution == DistributionKind.UNKNOWN
    newer.observations[0].dtype = 99  # type: ignore[assignment]
    with pytest.raises(ClientError, match="unknown dtype 99"):
        kit.wait(kit.client.describe("gate"))


def test_policies_are_listed_by_name_and_prefix(kit: Kit) -> None:
    assert [summary.policy for summary in kit.wait(kit.client.policies())] == ["arm", "gate", "memory"]
    (gate,) = kit.wait(kit.client.policies("ga"))
    assert [version.version for version in gate.versions] == [7, 6]
    assert kit.wait(kit.client.policies("zebra")) == ()


def test_a_ready_server_keeps_nobody_waiting(kit: Kit) -> None:
    assert kit.wait(kit.client.wait_until_ready()) is None
    assert kit.wait(kit.client.wait_until_ready(1.0, policy="gate")) is None
    assert kit.world.sleeps == []


def test_a_server_that_is_not_ready_is_asked_again(kit: Kit) -> None:
    kit.toy.fail(StatusCode.UNAVAILABLE, times=5)
    kit.wait(kit.client.wait_until_ready())
    assert len(kit.toy.of(pb.ListPoliciesRequest)) == 6
    assert kit.world.sleeps == [0.025, 0.05, 0.1, 0.2, 0.4]


def test_a_policy_that_never_gets_ready_is_named(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerUnavailableError, match=r"not ready within 3 s: it has no policy 'zebra'"):
        kit.wait(kit.client.wait_until_ready(3.0, policy="zebra"))
    assert sum(kit.world.sleeps) == pytest.approx(3.0)
    broken = pb.PolicyDescription(policy="gate", versions=POLICIES["gate"].versions[1:])
    monkeypatch.setitem(POLICIES, "gate", broken)
    with pytest.raises(ServerUnavailableError, match="version 6 is failed its certificate") as raised:
        kit.wait(kit.client.wait_until_ready(1.0, policy="gate"))
    assert raised.value.reason == "not_ready"


def test_waiting_for_nobody_ends(kit: Kit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = kit.connect(f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ServerUnavailableError, match="could not be reached"):
            kit.wait(client.wait_until_ready(0.2))


def test_a_refusal_ends_the_waiting(kit: Kit) -> None:
    kit.toy.fail(StatusCode.PERMISSION_DENIED, details="who are you?")
    with pytest.raises(ClientError, match="who are you") as raised:
        kit.wait(kit.client.wait_until_ready())
    assert raised.value.code == StatusCode.PERMISSION_DENIED


def test_outcomes_reach_the_server_whole(kit: Kit) -> None:
    outcome = Outcome(
        policy="arm",
        decision_id=bytes(range(16)),
        episode_id="e",
        name="reward",
        value=1.25,
        observed=datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        episode_end="truncated",
        episode_steps=500,
        action_taken=[1, 2],
        action_taken_by="operator",
        idempotency_key=b"mine",
    )
    nothing = Outcome(policy="arm")
    report = kit.wait(kit.client.report([outcome, nothing]))
    assert report == OutcomeReport(1, 0, report.errors)
    assert [(error.index, error.reason) for error in report.errors] == [(1, "outcome_of_nothing")]
    taken = kit.toy.outcomes[b"mine"]
    assert (taken.policy, taken.name, taken.value, taken.episode_steps) == ("arm", "reward", 1.25, 500)
    assert (taken.decision_id, taken.episode_id) == (bytes(range(16)), "e")
    assert time_from_nanos(taken.observed_unix_nanos) == datetime(2023, 12, 31, 22, tzinfo=UTC)
    assert (taken.episode_end, taken.action_taken_by) == (pb.EPISODE_END_TRUNCATED, "operator")
    assert np.frombuffer(taken.action_taken.data, "<f4").tolist() == [1, 2]
    assert list(taken.action_taken.shape) == [2]
    assert kit.wait(kit.client.report(outcome)).duplicates == 1


def test_times_are_exact_to_the_microsecond() -> None:
    assert nanos_from_time(time_from_nanos(CREATED_NANOS)) == CREATED_NANOS
    assert nanos_from_time(None) == 0
    assert time_from_nanos(0) is None
