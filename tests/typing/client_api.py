"""How users may and may not call the client. Never run: tests/unit/client/test_typing.py has mypy read it."""

from __future__ import annotations

from typing import assert_type

import numpy as np

from steersman.client import (
    Action,
    ActStream,
    AsyncActStream,
    AsyncEpisode,
    AsyncPolicyClient,
    AsyncPolicyStream,
    Coalesce,
    Decision,
    Decisions,
    DistributionKind,
    Episode,
    Outcome,
    OutcomeReport,
    Policy,
    PolicyClient,
    PolicyDescription,
    PolicyStream,
    PolicySummary,
    ReplicaStatus,
    Source,
)

OBSERVATION = np.zeros(4, np.float32)


def blocking() -> None:
    with PolicyClient("127.0.0.1:50051", timeout=1.0, retries=0) as client:
        decision = client.act("cartpole", OBSERVATION, action_mask=[True, False], evidence=("value",))
        assert_type(decision, Decision)
        assert_type(decision.action, Action)
        assert_type(decision.source, Source)
        assert_type(decision.value, float | None)
        assert_type(decision.decision_id.hex(), str)
        assert_type(client.act("cartpole", {"pose": [1.0, 2.0], "gear": 3}), Decision)
        assert_type(client.act_batch("cartpole", [OBSERVATION, OBSERVATION]), Decisions)
        assert_type(list(client.act_batch("cartpole", np.zeros((2, 4)))), list[Decision])
        assert_type(client.describe("cartpole"), PolicyDescription)
        assert_type(client.describe("cartpole").distribution, DistributionKind)
        assert_type(client.policies(), tuple[PolicySummary, ...])
        assert_type(client.report(Outcome(policy="cartpole", episode_id="1", value=1.0)), OutcomeReport)
        client.wait_until_ready(10.0, policy="cartpole")
        policy = client.policy("cartpole", mode="sampled")
        assert_type(policy, Policy)
        assert_type(policy.act(OBSERVATION, mask=np.ones(2, bool)), Decision)
        with policy.episode() as episode:
            assert_type(episode, Episode)
            assert_type(episode.act(OBSERVATION), Decision)
            client.act_batch("cartpole", [OBSERVATION], episode_ids=[episode.state])
            client.act_batch("cartpole", [OBSERVATION], episode_ids=["name"])


def options() -> None:
    PolicyClient(["a:1", "b:1"], hedge_after=0.02, coalesce=Coalesce(max_rows=8))
    PolicyClient("a:1", hedge_after="auto", coalesce=True, token="t", allow_insecure_token=True)
    PolicyClient("a:1", token=lambda: "t", ca=b"...", certificate="client.pem", key="client.key")
    AsyncPolicyClient(("a:1",), token="t", ca="ca.pem")


def streams(client: PolicyClient) -> None:
    assert_type(client.replicas, tuple[ReplicaStatus, ...])
    assert_type(client.act("cartpole", OBSERVATION, version="champion"), Decision)
    with client.stream(max_in_flight=8) as stream:
        assert_type(stream, ActStream)
        assert_type(stream.act("cartpole", OBSERVATION, episode_id="7"), Decision)
        assert_type(stream.act_batch("cartpole", [OBSERVATION]), Decisions)
        assert_type(stream.policy("cartpole").episode(), Episode)
    with client.policy("cartpole", version="champion").stream() as policy:
        assert_type(policy, PolicyStream)
        assert_type(policy.act(OBSERVATION, episode_id="7"), Decision)


async def asyncio() -> None:
    async with AsyncPolicyClient("127.0.0.1:50051") as client:
        assert_type(await client.act("cartpole", OBSERVATION), Decision)
        assert_type(await client.act_batch("cartpole", [OBSERVATION]), Decisions)
        assert_type(await client.describe("cartpole"), PolicyDescription)
        async with client.policy("cartpole").episode() as episode:
            assert_type(episode, AsyncEpisode)
            assert_type(await episode.act(OBSERVATION, mask=[1, 0]), Decision)
        async with client.stream() as stream:
            assert_type(stream, AsyncActStream)
            assert_type(await stream.act("cartpole", OBSERVATION), Decision)
        async with client.policy("cartpole").stream() as policy:
            assert_type(policy, AsyncPolicyStream)


def wrong(client: PolicyClient, decision: Decision) -> None:
    client.act(OBSERVATION)  # type: ignore[call-arg, arg-type]
    client.act("cartpole", OBSERVATION, [True])  # type: ignore[call-arg]
    client.act("cartpole", OBSERVATION, mode="best")  # type: ignore[arg-type]
    client.act("cartpole", OBSERVATION, evidence=["mood"])  # type: ignore[list-item]
    client.act("cartpole", OBSERVATION, mask=[True])  # type: ignore[call-arg]
    client.policy("cartpole").act(OBSERVATION, action_mask=[True])  # type: ignore[call-arg]
    client.act("cartpole", OBSERVATION, version=1.0)  # type: ignore[arg-type]
    PolicyClient("a:1", hedge_after="often")  # type: ignore[arg-type]
    PolicyClient("a:1", tokn="t")  # type: ignore[call-arg]
    client.policies(7)  # type: ignore[arg-type]
    decision.action = 1  # type: ignore[misc]
