"""A check of one's own: what the operator ruled out is not handed out, whatever a server answers.

The same code as the server's (`steersman.safety`) on the same settings: the action space, the mask that was
sent, and every constraint, on this observation and with what this client remembers of the episode: the
actions that the caller got, and when. Where the check is against an answer, callers get an error, or what
the fallback chain says here; so they do, if wished for, when no server answers.

Needs what the server needs; the client alone is content with numpy, grpcio and protobuf.

Example:
    from steersman.client import PolicyClient
    from steersman.local_check import LocalCheck

    check = LocalCheck.from_deployment("cartpole.yaml", unsafe="fallback", offline="fallback")
    with PolicyClient("127.0.0.1:50051") as client:
        policy = client.policy("cartpole", check=check)
        with policy.episode() as episode:
            env.step(episode.act(observation).action)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal, Self

from grpc import StatusCode

from steersman.client.checking import Question
from steersman.client.decision import Array
from steersman.client.description import PolicyDescription
from steersman.client.errors import ClientError
from steersman.client.refusals import LocalAnswers, Refusal

try:
    from steersman.bundle.bundle import Bundle
    from steersman.bundle.errors import UsageError
    from steersman.bundle.specs import Contract
    from steersman.local_check.contract import contract_of, description_of
    from steersman.local_check.policy import CheckCounts, PolicyCheck
    from steersman.safety.checking import check_safety
    from steersman.safety.columns import Rows
    from steersman.safety.entry_points import EntryPoints
    from steersman.safety.fallback import FallbackSettings
    from steersman.safety.members import Aids
    from steersman.safety.settings import SafetySettings
    from steersman.serving.rollout.deployment import parse_deployment, read_deployment_text
    from steersman.serving.rollout.yaml_lines import pointing
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"a local check needs {missing.name}, which is not installed; `pip install steersman` brings it",
        name=missing.name,
    ) from missing

__all__ = ["CheckCounts", "LocalCheck"]

Remedy = Literal["raise", "fallback"]
"""What callers get instead: an error, or an action of the fallback chain."""


class LocalCheck:
    """The safety section of a deployment, held against the answers for one policy. Threads may share it.

    It has the memory of the episodes that it sees: share one between the handles of a policy, and use one for
    each policy. It looks at actions only; of the guard it keeps what rejects rows when it answers alone.

    Args:
        settings: The safety section.
        policy: The policy that it is for; empty for the first that it is used with.
        contract: The policy's contract, where that is known; else the server is asked.
        unsafe: What callers get where the check is against an action: `UnsafeActionError`, or what the
            fallback chain says here, with the source `local_fallback`.
        offline: What they get where no server answers in time: its error, or the same.
        entry_points: Python functions that the fallback chain may call, `package.module:function`.
        clock: Seconds, monotonic.
        told: The deployment's text and what errors call it, to point at its lines.

    Raises:
        SafetyError: The settings do not fit the contract, or answer nothing where they are to.
    """

    def __init__(  # cap: parameters, each is a word that users look for
        self,
        settings: SafetySettings,
        *,
        policy: str = "",
        contract: Contract | None = None,
        unsafe: Remedy = "raise",
        offline: Remedy = "raise",
        entry_points: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        told: tuple[str, str] | None = None,
    ) -> None:
        for name, value in (("unsafe", unsafe), ("offline", offline)):
            if value not in {"raise", "fallback"}:
                raise UsageError(f"{name} is {value!r}", where="LocalCheck", expected="raise or fallback")
        self._settings = _of_actions(settings, answers="fallback" in {unsafe, offline})
        self._policy = policy
        self._contract = contract
        self._unsafe = unsafe
        self._offline = offline
        self._aids = Aids(entry_points=EntryPoints(entry_points))
        self._clock = clock
        self._told = told
        self._lock = threading.Lock()
        self._compiled: tuple[Contract, PolicyCheck] | None = None
        self._described: PolicyDescription | None = None
        self._fits: PolicyDescription | None = None
        if contract is not None:
            self._compiled = (contract, self._compile(contract))

    @classmethod
    def from_deployment(
        cls,
        path: str | Path,
        *,
        bundle: str | Path | None = None,
        unsafe: Remedy = "raise",
        offline: Remedy = "raise",
        entry_points: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """The check that a deployment describes; it may be stricter than the server's own.

        Args:
            path: The deployment, YAML or JSON.
            bundle: Folder of one version of the policy. With it mistakes are found now, and the fallback
                answers even if no server was ever reached; without it the server says what the policy is.
            unsafe: As for the class; so are all others.
            offline: Likewise.
            entry_points: Likewise.
            clock: Likewise.

        Raises:
            UsageError: The file cannot be read, or does not fit; the line, the name and the fix are named.
            BundleError: The bundle cannot be read.
        """
        file = str(path)
        text = read_deployment_text(Path(path))
        deployment = parse_deployment(text, where=file)
        return cls(
            deployment.safety,
            policy=deployment.policy,
            contract=None if bundle is None else Bundle.open(Path(bundle)).manifest.contract,
            unsafe=unsafe,
            offline=offline,
            entry_points=entry_points,
            clock=clock,
            told=(text, file),
        )

    @property
    def works_alone(self) -> bool:
        """Whether it answers where no server does."""
        return self._offline == "fallback"

    @property
    def counts(self) -> CheckCounts:
        """What it has done so far, in rows."""
        return CheckCounts() if self._compiled is None else self._compiled[1].counts

    def description(self, policy: str) -> PolicyDescription | None:
        """The policy, where the contract was given."""
        if self._contract is None:
            return None
        self._own(policy)
        if self._described is None:
            self._described = description_of(policy, self._contract)
        return self._described

    def review(self, question: Question, actions: Array, answered: Rows, exempt: Rows) -> Sequence[Refusal]:
        """What it has against the answers to a batch; see `ActionCheck`."""
        return self._of(question.description).review(question, actions, answered, exempt)

    def answer(self, question: Question, why: str) -> LocalAnswers:
        """What its fallback chain answers to a batch, whatever the reason; see `ActionCheck`."""
        del why
        return self._of(question.description).answer(question)

    def forget(self, policy: str, episode: str) -> None:
        """The episode has ended, or begins anew."""
        if self._compiled is not None and policy == self._policy:
            self._compiled[1].forget(episode)

    def _of(self, description: PolicyDescription) -> PolicyCheck:
        """The check, compiled for this policy as it is now.

        Raises:
            ClientError: The settings do not fit the policy.
        """
        with self._lock:
            if self._compiled is not None and self._fits is description:
                return self._compiled[1]
            self._own(description.policy)
            contract = self._contract or contract_of(description)
            if self._compiled is None or self._compiled[0] != contract:
                try:
                    self._compiled = (contract, self._compile(contract))
                except UsageError as error:
                    raise _unusable(str(error)) from error
            self._fits = description
            return self._compiled[1]

    def _compile(self, contract: Contract) -> PolicyCheck:
        text, file = self._told or ("", "safety")
        with pointing(text, file):
            safeguards = check_safety(self._settings, contract, aids=self._aids)
        return PolicyCheck(safeguards, contract, self._clock, replaces=self._unsafe == "fallback")

    def _own(self, policy: str) -> None:
        self._policy = self._policy or policy
        if policy != self._policy:
            raise _unusable(f"the local check is that of policy {self._policy!r}, and not for {policy!r}")


def _of_actions(settings: SafetySettings, *, answers: bool) -> SafetySettings:
    """What of a safety section is looked at here: what needs neither the model nor its reference.

    Args:
        settings: All of it.
        answers: Whether the fallback chain is asked.

    Raises:
        UsageError: It is, and there is none.
    """
    if answers and not settings.fallback.root and settings.safe_action is None:
        raise UsageError(
            "nothing is there to answer with",
            where="safety.fallback",
            expected="a fallback chain or a safe_action",
            hint='Or leave `unsafe` and `offline` at "raise".',
        )
    guard = settings.guard.model_copy(update={"training_range": None, "distance": None, "confidence": None})
    kept = {"guard", "constraints", "fallback", "safe_action", "unanswered"}
    changes: dict[str, object] = {name: None for name in type(settings).model_fields if name not in kept}
    if not answers:
        changes |= {"fallback": FallbackSettings(), "unanswered": "fail"}
    return settings.model_copy(update={**changes, "guard": guard})


def _unusable(message: str) -> ClientError:
    return ClientError(message, code=StatusCode.FAILED_PRECONDITION, reason="local_check")
