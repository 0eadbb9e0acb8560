"""What one can ask of a server, said once: each method gives the steps of a call, for either driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

from grpc import StatusCode
from numpy.typing import ArrayLike

from steersman.client.answers import failed_batch
from steersman.client.checking import ActionCheck, CheckedDecider
from steersman.client.coalescing import Coalescer
from steersman.client.core import Caller, Deadline
from steersman.client.deciding import Decider
from steersman.client.decision import Decision, Decisions
from steersman.client.description import (
    ActionSpec,
    Mode,
    PolicyDescription,
    PolicySummary,
    VersionState,
    read_description,
    read_summaries,
)
from steersman.client.effects import Send, Steps, Wait
from steersman.client.errors import (
    InvalidRequestError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
)
from steersman.client.failures import Failure
from steersman.client.memory import EpisodeMemory
from steersman.client.outcomes import Outcome, OutcomeReport, read_report, write_outcome
from steersman.client.requests import (
    Ask,
    Episodes,
    EpisodeState,
    Evidence,
    Observation,
    Version,
    add_episodes,
    add_mask,
    add_observation,
    add_observations,
    start_request,
)
from steersman.client.streams import StreamCaller
from steersman.v1 import policy_pb2 as pb

ALONE = 0
"""Version of a decision that no server made."""
_KEY_BYTES = 16
_LONGEST_LOOK = 1.0  # seconds that one replica of several gets to say whether it is ready
_LONGEST_WAIT = 5.0  # seconds that a look waits for a connection, before one asks what hinders it
_NOT_YET = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED})
T = TypeVar("T")


@dataclass(slots=True)
class ClientCalls:  # cap: class-lines, most are the words of its parameters
    """The calls of a client, or of a stream of it. Descriptions of policies are learnt at first use and kept.

    Attributes:
        caller: Makes the calls.
        coalescer: Merges concurrent calls; None where each goes by itself.
        memory: Keeps the states of episodes that are named only; None where callers do that.
        descriptions: What is known of policies.
        check: Has to agree before callers get an action; None where the server's answer is enough.
    """

    caller: Caller
    coalescer: Coalescer | None = None
    memory: EpisodeMemory | None = None
    descriptions: dict[str, PolicyDescription] = field(default_factory=dict)
    check: ActionCheck | None = None
    _decider: Decider | CheckedDecider = field(init=False)

    def __post_init__(self) -> None:
        decider = Decider(self.caller, self.coalescer)
        self._decider = decider if self.check is None else CheckedDecider(decider, self.check)

    def act(
        self,
        policy: str,
        observation: Observation,
        *,
        action_mask: ArrayLike | None = None,
        mode: Mode = "greedy",
        episode_id: str | EpisodeState | None = None,
        version: Version | None = None,
        evidence: Sequence[Evidence] = (),
        timeout: float | None = None,
    ) -> Steps[Decision]:
        """Decides one observation.

        Args:
            policy: Name of the policy.
            observation: As the environment gives it: anything that numpy takes, or a mapping for Dict spaces.
                It is cast to the policy's types; whole numbers and truth values must be exact.
            action_mask: [mask width], true where the choice is allowed; None allows all.
            mode: "greedy" takes the most probable action or the mean, "sampled" draws from the distribution.
            episode_id: Name of the episode, which decides its lane and arm; or its state, which is moved on.
            version: A version, or a label such as "champion", instead of the one that routing would choose.
            evidence: What is wanted beside the action: any of "value", "entropy", "distribution".
            timeout: Seconds for the call with its retries; None for the client's own.

        Raises:
            InvalidRequestError: The call has to be changed.
            PolicyNotFoundError: There is no such policy or version.
            RowFailedError: The observation has no action; a fallback's action is none such.
            ServerUnavailableError: No server could be reached.
            OverloadedError: The server has more to do than it takes.
            DeadlineExceededError: The server took too long.
            ClientError: Anything else; the root of these.

        Example:
            decision = client.act("cartpole", observation, action_mask=[True, False])
            env.step(decision.action)
        """
        deadline = self.caller.deadline(timeout)
        description = yield from self.description(policy, deadline)
        request = start_request(description, Ask(mode, version, evidence))
        add_observation(request, description, observation)
        if action_mask is not None:
            add_mask(request, description, action_mask, 1)
        with self._episodes(policy, None if episode_id is None else [episode_id]) as episodes:
            if episodes:
                add_episodes(request, episodes, 1)
            decision = yield from self._decided(policy, self._decider.one(request, description, deadline))
            if episodes and isinstance(episodes[0], EpisodeState) and decision.version != ALONE:
                episodes[0].advance(decision.episode_token)
        return decision

    def act_batch(
        self,
        policy: str,
        observations: Observation,
        *,
        action_masks: ArrayLike | None = None,
        mode: Mode = "greedy",
        episode_ids: Episodes | None = None,
        version: Version | None = None,
        evidence: Sequence[Evidence] = (),
        timeout: float | None = None,
    ) -> Steps[Decisions]:
        """Decides N observations, such as a vector environment's, in one call.

        Rows that have no action are in `Decisions.errors` and never touch another row.

        Args:
            policy: Name of the policy.
            observations: N in the first axis; for Dict spaces a mapping of such.
            action_masks: [N, mask width], or [mask width] for all rows; None allows all.
            mode: "greedy" or "sampled", for all rows.
            episode_ids: Name of each row's episode, "" for none; or the state of each, which is moved on.
            version: A version, or a label such as "champion", instead of the one that routing would choose.
            evidence: What is wanted beside the actions: any of "value", "entropy", "distribution".
            timeout: Seconds for the call with its retries; None for the client's own.

        Raises:
            ClientError: As for `act`, if the whole call failed.

        Example:
            decisions = client.act_batch("cartpole", observations)
            vector_env.step(decisions.actions)
        """
        deadline = self.caller.deadline(timeout)
        description = yield from self.description(policy, deadline)
        request = start_request(description, Ask(mode, version, evidence))
        rows = add_observations(request, description, observations)
        if action_masks is not None:
            add_mask(request, description, action_masks, rows)
        with self._episodes(policy, episode_ids) as episodes:
            if episodes is not None:
                add_episodes(request, episodes, rows)
            steps = self._decider.many(request, rows, description, deadline)
            try:
                decisions = yield from self._decided(policy, steps)
            except RowFailedError as error:
                if rows > 1:
                    raise
                return failed_batch(error, description.action)
            _advance(episodes, decisions)
        return decisions

    def describe(self, policy: str, *, timeout: float | None = None) -> Steps[PolicyDescription]:
        """What the policy is, asked afresh: observations, actions, masks, versions.

        Raises:
            PolicyNotFoundError: There is no such policy.
            ClientError: As for `act`.
        """
        deadline = self.caller.deadline(timeout)
        self.descriptions.pop(policy, None)
        return (yield from self.description(policy, deadline))

    def policies(self, prefix: str = "", *, timeout: float | None = None) -> Steps[tuple[PolicySummary, ...]]:
        """The policies that the server has whose names begin with `prefix`, by name, with their versions."""
        request = pb.ListPoliciesRequest(prefix=prefix)
        answer = yield from self.caller.call("ListPolicies", request, self.caller.deadline(timeout))
        return read_summaries(answer)

    def report(
        self, outcomes: Outcome | Iterable[Outcome], *, timeout: float | None = None
    ) -> Steps[OutcomeReport]:
        """Reports what came of decisions. Safe to repeat: what has the same idempotency key counts once.

        Raises:
            NotSupportedError: The server records no outcomes.
            ClientError: As for `act`.
        """
        deadline = self.caller.deadline(timeout)
        request = pb.ReportOutcomeRequest()
        for outcome in [outcomes] if isinstance(outcomes, Outcome) else outcomes:
            spec: ActionSpec | None = None
            if outcome.action_taken is not None:
                spec = (yield from self.description(outcome.policy, deadline)).action
            key = self.caller.ambient.random_bytes(_KEY_BYTES)
            request.outcomes.append(write_outcome(outcome, spec, key))
        return read_report((yield from self.caller.call("ReportOutcome", request, deadline)))

    def wait_until_ready(self, timeout: float = 30.0, *, policy: str | None = None) -> Steps[None]:
        """Returns once a server answers and, if a policy is named, a version of that is ready there.

        Raises:
            ServerUnavailableError: It was not so within `timeout` seconds; the message says what was missing.
            TlsError: Client and server do not fit in TLS.
            ClientError: The server refuses to be asked.
        """
        deadline = self.caller.deadline(timeout)
        request = pb.ListPoliciesRequest(prefix=policy or "")
        missing = "it could not be reached"
        attempt = 0
        alone = len(self.caller.replicas) == 1
        yield from self.caller.begin()
        while (remaining := self.caller.remaining(deadline) or 0.0) > 0:
            waits = attempt % 2 == 1  # a connection that is only waited for never says what hinders it
            longest = _LONGEST_WAIT if waits else remaining
            look = min(remaining, longest if alone else _LONGEST_LOOK)
            replica = self.caller.pick(())
            send = Send("ListPolicies", request, look, wait_for_ready=waits, replica=replica.index)
            reply = yield from self.caller.attempt(send, replica, repeatable=True)
            if not isinstance(reply, Failure):
                missing = _what_is_missing(read_summaries(reply), policy)
                if not missing:
                    return
            elif reply.code == StatusCode.DEADLINE_EXCEEDED and look == remaining:
                break
            else:
                reply = yield from self.caller.explained(reply, replica, deadline)
                if reply.mistake is not None:
                    missing = reply.mistake.what(replica.address)
                if (reply.lasts and alone) or reply.code not in _NOT_YET:
                    raise self.caller.error(reply, "ListPolicies", deadline, replica=replica)
            yield Wait(min(self.caller.pause(attempt), remaining))
            attempt += 1
        message = f"{self.caller.target} was not ready within {timeout:g} s: {missing}"
        raise ServerUnavailableError(message, reason="not_ready")

    def description(self, policy: str, deadline: Deadline) -> Steps[PolicyDescription]:
        """The description that is known, or else the server's."""
        known = self.descriptions.get(policy)
        if known is None and self.check is not None:
            known = self.check.description(policy)
        if known is None:
            answer = yield from self.caller.call("GetPolicy", pb.GetPolicyRequest(policy=policy), deadline)
            known = self.descriptions[policy] = read_description(answer)
        return known

    def streaming(self, max_in_flight: int) -> ClientCalls:
        """The same calls over a stream; its caller is a `StreamCaller`.

        Raises:
            InvalidRequestError: `max_in_flight` is below 1.
        """
        own = self.caller
        caller = StreamCaller(
            own.addresses,
            own.timeout,
            own.retries,
            own.tools,
            own.ambient,
            parent=own,
            max_in_flight=max_in_flight,
        )
        return ClientCalls(caller, memory=EpisodeMemory(), descriptions=self.descriptions, check=self.check)

    def checked(self, check: ActionCheck | None) -> ClientCalls:
        """The same calls, whose actions callers get only if the check agrees."""
        return self if check is None else replace(self, check=check)

    def forget(self, policy: str, episode: str) -> None:
        """An episode of a stream has ended; the same name begins anew."""
        if self.memory is not None:
            self.memory.forget(policy, episode)
        if self.check is not None:
            self.check.forget(policy, episode)

    def close_stream(self) -> None:
        """Ends a stream, once its calls in flight are answered."""
        if isinstance(self.caller, StreamCaller):
            self.caller.close()

    def _decided(self, policy: str, steps: Steps[T]) -> Steps[T]:
        try:
            return (yield from steps)
        except (InvalidRequestError, PolicyNotFoundError):
            self.descriptions.pop(policy, None)  # the policy may have changed since it was learnt
            raise

    def _episodes(self, policy: str, episodes: Episodes | None) -> AbstractContextManager[Episodes | None]:
        """The episodes of one step; on a stream a name is enough, and stands for the state it has there."""
        if self.memory is None or episodes is None or isinstance(episodes, str):
            return nullcontext(episodes)
        return self.memory.step(policy, episodes)


def _advance(episodes: Episodes | None, decisions: Decisions) -> None:
    failed = {error.row for error in decisions.errors}
    for row, episode in enumerate(episodes or ()):
        alone = decisions.versions[row] == ALONE  # the server's state is that of the step before
        if isinstance(episode, EpisodeState) and row not in failed and not alone:
            episode.advance(decisions.episode_tokens[row])


def _what_is_missing(policies: tuple[PolicySummary, ...], wanted: str | None) -> str:
    """Why a server that answers is not ready; empty when it is."""
    if wanted is None:
        return ""
    for summary in policies:
        if summary.policy == wanted:
            states = [f"version {v.version} is {v.state} {v.detail}".strip() for v in summary.versions]
            ready = any(version.state == VersionState.READY for version in summary.versions)
            return "" if ready else f"policy {wanted!r} has {', '.join(states) or 'no version'}"
    return f"it has no policy {wanted!r}"
