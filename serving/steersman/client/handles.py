"""The calls of one policy and of one episode of it: what `PolicyClient` offers, with less to repeat."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grpc import StatusCode
from numpy.typing import ArrayLike

from steersman.client.calls import ClientCalls
from steersman.client.decision import Decision, Decisions
from steersman.client.description import Mode, PolicyDescription
from steersman.client.effects import Steps
from steersman.client.errors import ClientError
from steersman.client.requests import Ask, Episodes, EpisodeState, Evidence, Observation


@dataclass(frozen=True, slots=True)
class PolicyCalls:
    """The calls of a client for one policy, with how its actions are usually wanted."""

    client: ClientCalls
    name: str
    ask: Ask

    def act(
        self,
        observation: Observation,
        *,
        mask: ArrayLike | None = None,
        mode: Mode | None = None,
        episode_id: str | EpisodeState | None = None,
        evidence: Sequence[Evidence] | None = None,
        timeout: float | None = None,
    ) -> Steps[Decision]:
        """Decides one observation, as `PolicyClient.act` does; `mask` is its action mask.

        Example:
            observation, reward, terminated, truncated, info = env.step(policy.act(observation).action)
        """
        ask = self.with_changes(mode, evidence)
        return self.client.act(
            self.name,
            observation,
            action_mask=mask,
            mode=ask.mode,
            episode_id=episode_id,
            version=ask.version,
            evidence=ask.evidence,
            timeout=timeout,
        )

    def act_batch(
        self,
        observations: Observation,
        *,
        masks: ArrayLike | None = None,
        mode: Mode | None = None,
        episode_ids: Episodes | None = None,
        evidence: Sequence[Evidence] | None = None,
        timeout: float | None = None,
    ) -> Steps[Decisions]:
        """Decides N observations in one call, as `PolicyClient.act_batch` does; `masks` are action masks."""
        ask = self.with_changes(mode, evidence)
        return self.client.act_batch(
            self.name,
            observations,
            action_masks=masks,
            mode=ask.mode,
            episode_ids=episode_ids,
            version=ask.version,
            evidence=ask.evidence,
            timeout=timeout,
        )

    def describe(self, *, timeout: float | None = None) -> Steps[PolicyDescription]:
        """What the policy is, asked afresh: observations, actions, masks, versions."""
        return self.client.describe(self.name, timeout=timeout)

    def streaming(self, max_in_flight: int) -> PolicyCalls:
        """The same calls over a stream."""
        return replace(self, client=self.client.streaming(max_in_flight))

    def with_changes(self, mode: Mode | None, evidence: Sequence[Evidence] | None) -> Ask:
        """How this one action is wanted."""
        ask = self.ask if mode is None else replace(self.ask, mode=mode)
        return ask if evidence is None else replace(ask, evidence=evidence)

    def new_episode(self, episode_id: str | None) -> EpisodeCalls:
        """An episode at its first step."""
        if episode_id is None:
            random_bytes = self.client.caller.ambient.random_bytes(16)
            episode_id = uuid.UUID(bytes=random_bytes, version=4).hex
        if self.client.check is not None:
            self.client.check.forget(self.name, episode_id)
        return EpisodeCalls(self, EpisodeState(episode_id))


@dataclass(slots=True)
class EpisodeCalls:
    """The calls of one episode, which carry its name, step and token."""

    policy: PolicyCalls
    state: EpisodeState
    ended: bool = False

    def act(
        self,
        observation: Observation,
        *,
        mask: ArrayLike | None = None,
        mode: Mode | None = None,
        evidence: Sequence[Evidence] | None = None,
        timeout: float | None = None,
    ) -> Steps[Decision]:
        """Decides the episode's next observation, as `PolicyClient.act` does; `mask` is its action mask.

        A step that failed may be tried again. One step at a time: each needs the token of the one before.

        Raises:
            ClientError: As for `PolicyClient.act`; also after the episode has ended.
        """
        if self.ended:
            raise ClientError(
                f"episode {self.state.id!r} has ended; begin another with policy.episode()",
                code=StatusCode.FAILED_PRECONDITION,
                reason="episode_ended",
            )
        return self.policy.act(
            observation, mask=mask, mode=mode, episode_id=self.state, evidence=evidence, timeout=timeout
        )
