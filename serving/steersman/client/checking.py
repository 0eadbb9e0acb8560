"""Where a check of one's own takes its place: between the server's answer and the caller.

A check judges whole batches, and gives back what it has against single rows. `steersman.local_check`
has one; nothing here needs more than the client itself does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.client.core import Deadline
from steersman.client.corrections import corrected, corrected_rows, decided_alone
from steersman.client.deciding import Decider
from steersman.client.decision import Array, Decision, Decisions, Source
from steersman.client.description import PolicyDescription
from steersman.client.effects import Steps
from steersman.client.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServerUnavailableError,
)
from steersman.client.refusals import LocalAnswers, Refusal
from steersman.client.tensors import BOOL, decode
from steersman.v1 import policy_pb2 as pb

NOBODY = (ServerUnavailableError, DeadlineExceededError, OverloadedError)
"""Errors that say that no server answered, or none in time."""

Rows = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """N rows as the server is asked for them.

    Attributes:
        description: The policy.
        rows: N.
        observations: [N, *shape] under each key; the key of a plain space is empty.
        mask: [N, mask width], or None where every choice is allowed.
        episodes: The name of each row's episode, empty for none; None where no row has one.
        starts: [N], rows that begin an episode; None where nothing is said of that.
    """

    description: PolicyDescription
    rows: int
    observations: dict[str, Array]
    mask: Rows | None
    episodes: Sequence[str] | None
    starts: Rows | None


class ActionCheck(Protocol):
    """Something that has to agree before callers get an action. Threads may share it."""

    @property
    def works_alone(self) -> bool:
        """Whether it answers where no server does."""
        ...

    def description(self, policy: str) -> PolicyDescription | None:
        """The policy, where it knows that without a server."""
        ...

    def review(self, question: Question, actions: Array, answered: Rows, exempt: Rows) -> Sequence[Refusal]:
        """What it has against the answers to a batch, and remembers what callers get.

        Args:
            question: The rows.
            actions: [N, *shape].
            answered: [N], rows that have an action.
            exempt: [N], rows whose action is the declared safe one.
        """
        ...

    def answer(self, question: Question, why: str) -> LocalAnswers:
        """What it answers itself to a batch, `why` being why it has to."""
        ...

    def forget(self, policy: str, episode: str) -> None:
        """The episode has ended, or begins anew."""


@dataclass(frozen=True, slots=True)
class CheckedDecider:
    """Gets requests decided, and the answers checked.

    Attributes:
        decider: Asks the server.
        check: Has to agree.
    """

    decider: Decider
    check: ActionCheck

    def one(
        self, request: pb.ActRequest, description: PolicyDescription, deadline: Deadline
    ) -> Steps[Decision]:
        """As `Decider.one`.

        Raises:
            UnsafeActionError: The check has something against the answer, and nothing in its place.
        """
        question = _question(request, description, 1)
        try:
            decision = yield from self.decider.one(request, description, deadline)
        except NOBODY as error:
            return self._alone(question, error)[0]
        actions = np.asarray(decision.action, description.action.dtype).reshape(1, *description.action.shape)
        exempt = np.array([decision.source is Source.SAFE_ACTION])
        refusals = self.check.review(question, actions, np.ones(1, np.bool_), exempt)
        return corrected(decision, refusals[0]) if refusals else decision

    def many(
        self, request: pb.ActRequest, rows: int, description: PolicyDescription, deadline: Deadline
    ) -> Steps[Decisions]:
        """As `Decider.many`; rows that the check has something against fail, or have its own answer."""
        question = _question(request, description, rows)
        try:
            decisions = yield from self.decider.many(request, rows, description, deadline)
        except NOBODY as error:
            return self._alone(question, error)
        exempt = np.zeros(rows, np.bool_)
        if Source.SAFE_ACTION in decisions.sources:
            exempt[:] = [source is Source.SAFE_ACTION for source in decisions.sources]
        refusals = self.check.review(question, decisions.actions, ~decisions.failed, exempt)
        return corrected_rows(decisions, refusals) if refusals else decisions

    def _alone(self, question: Question, error: ClientError) -> Decisions:
        """What the check answers by itself; the episodes' tokens stay what they were.

        Raises:
            ClientError: It does not do that.
        """
        if not self.check.works_alone:
            raise error
        why = error.code.name.lower()
        return decided_alone(self.check.answer(question, why), why, error)


def _question(request: pb.ActRequest, description: PolicyDescription, rows: int) -> Question:
    """The rows of a request as arrays.

    Raises:
        InvalidRequestError: An episode is in two rows: what the first does is not known to the second.
    """
    names = list(request.episode_ids) or None
    if names is not None and len(set(names)) < len(names):
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice is not None:
            message = f"episode {twice!r} is in two rows; a check takes one step of an episode at a time"
            raise InvalidRequestError(message, reason="episode_ids")
    starts = np.array(request.episode_starts, np.bool_) if request.episode_starts else None
    mask: Any = None
    if request.HasField("action_mask"):
        mask = decode(request.action_mask, BOOL, (rows, description.mask_width))
    tensors = {
        spec.key: decode(
            request.observation_dict[spec.key] if spec.key else request.observation,
            spec.dtype,
            (rows, *spec.shape),
        )
        for spec in description.observations
    }
    return Question(description, rows, tensors, mask, names, starts)
