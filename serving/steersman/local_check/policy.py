"""The local check of one policy: compiled safeguards, and the memory of the client's episodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_matrix, has_named_features
from steersman.bundle.specs import Contract
from steersman.client.checking import Question
from steersman.client.decision import Source
from steersman.client.refusals import LocalAnswers, Refusal
from steersman.local_check.memory import EpisodeSlots
from steersman.safety.columns import Array, Features, Rows, all_columns, all_true
from steersman.safety.constraints import Bound
from steersman.safety.guard_settings import GUARD_REASONS
from steersman.safety.masks import permits
from steersman.safety.memory import Memory
from steersman.safety.room import roomy_limits
from steersman.safety.safeguards import Course, Safeguards

NO_FEASIBLE_ACTION = "no_feasible_action"


@dataclass(slots=True)
class CheckCounts:
    """What a check has done so far, in rows.

    Attributes:
        rows: Answers of the server that were looked at.
        refused: Those that it was against.
        replaced: Those of them that it had another action for.
        alone: Actions that it gave where no server answered.
        assumed: Rows of which nothing was remembered, so that constraints went on from declared values.
    """

    rows: int = 0
    refused: int = 0
    replaced: int = 0
    alone: int = 0
    assumed: int = 0


@dataclass(slots=True, eq=False)
class _Batch:
    """N rows on their way.

    Attributes:
        question: The rows.
        observations: [N, *shape] under each input name.
        features: [N, F]; None where the policy has too many to name.
        memory: What is remembered of their episodes; None where nothing has to be.
        bound: What constraints demand of them; None where there are none.
    """

    question: Question
    observations: dict[str, Array]
    features: Features | None
    memory: Memory | None
    bound: Bound | None


class PolicyCheck:
    """Judges the answers for one policy. Threads may share it.

    Args:
        safeguards: Compiled for the policy.
        contract: What they were compiled for.
        replaces: Whether its own fallback answers what it refuses.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, safeguards: Safeguards, contract: Contract, clock: Callable[[], float], *, replaces: bool
    ) -> None:
        self._safeguards = safeguards
        self._contract = contract
        self._replaces = replaces
        self._clock = clock
        self._named = has_named_features(contract)
        self._limits = roomy_limits(contract.action)
        self._start = getattr(contract.action, "start", 0)
        self._episodes = EpisodeSlots(safeguards.layout, contract.action) if safeguards.remembers else None
        self._counts = CheckCounts()
        self._lock = threading.Lock()

    @property
    def counts(self) -> CheckCounts:
        """What it has done so far."""
        with self._lock:
            return replace(self._counts)

    def forget(self, episode: str) -> None:
        """The episode has ended, or begins anew."""
        if self._episodes is not None:
            with self._lock:
                self._episodes.forget(episode)

    def review(self, question: Question, actions: Array, answered: Rows, exempt: Rows) -> list[Refusal]:
        """As `ActionCheck.review`."""
        with self._lock:
            batch = self._batch(question)
            exist = self._exist(actions)
            fine = exist & (self._permitted(batch, actions, exist) | exempt)
            self._counts.rows += int(np.count_nonzero(answered))
            if all_true(fine | ~answered):
                self._remember(batch, actions, answered, alone=False)
                return []
            rows = np.flatnonzero(answered & ~fine)
            final, handed = actions.copy(), answered & fine
            refusals = [self._refusal(batch, row, actions, exist) for row in rows.tolist()]
            self._counts.refused += len(rows)
            if self._replaces:
                refusals = self._replaced(batch, rows, refusals, final, handed)
            self._remember(batch, final, handed, alone=False)
            return refusals

    def answer(self, question: Question) -> LocalAnswers:
        """As `ActionCheck.answer`."""
        with self._lock:
            batch = self._batch(question)
            ages = np.zeros(question.rows)  # what is asked about now was observed now
            verdicts = self._safeguards.guard.check(batch.observations, batch.features, batch.memory, ages)
            reasons = [""] * question.rows
            for row in np.flatnonzero(verdicts.rejected).tolist():
                reasons[row] = GUARD_REASONS[verdicts.codes[row]].value
            asked = np.flatnonzero(~verdicts.rejected)
            answers = self._ask_chain(batch, asked)
            actions = np.zeros((question.rows, *self._contract.action.shape), self._contract.action.dtype)
            actions[asked] = answers.actions
            sources, members = [Source.NONE] * question.rows, [""] * question.rows
            for i, row in enumerate(asked.tolist()):
                sources[row], members[row] = answers.sources[i], answers.members[i]
                reasons[row] = answers.reasons[i]
            made = np.array([source is not Source.NONE for source in sources], np.bool_)
            self._counts.alone += int(np.count_nonzero(made))
            self._remember(batch, actions, made, alone=True)
            return LocalAnswers(actions, tuple(sources), tuple(members), tuple(reasons))

    def _batch(self, question: Question) -> _Batch:
        observations = {
            spec.input_name: question.observations[spec.key] for spec in self._contract.observations
        }
        features = feature_matrix(observations, self._contract) if self._named else None
        memory = None
        if self._episodes is not None:
            memory = self._episodes.recall(question.episodes, question.starts, question.rows, self._clock())
        constraints, bound = self._safeguards.constraints, None
        if constraints is not None:
            bound = constraints.bind(features, memory, question.rows)
            self._counts.assumed += bound.assumed
        return _Batch(question, observations, features, memory, bound)

    def _exist(self, actions: Array) -> Rows:
        """Rows whose action is in the action space."""
        if self._limits is None:
            return permits(None, actions, self._contract.action)
        within = (actions >= self._limits[0]) & (actions <= self._limits[1])
        return all_columns(within.reshape(len(within), -1)) & all_columns(
            np.isfinite(actions).reshape(len(actions), -1)
        )

    def _permitted(self, batch: _Batch, actions: Array, exist: Rows) -> Rows:
        """Rows whose action, if there is such an action, mask and constraints allow."""
        allowed = permits(batch.question.mask, actions, self._contract.action)
        if batch.bound is None:
            return allowed
        return allowed & batch.bound.permits(self._existing(actions, exist))

    def _existing(self, actions: Array, exist: Rows) -> Array:
        """The actions; in place of those that there are not, one that there is."""
        if all_true(exist):
            return actions
        return np.where(exist.reshape(-1, *(1,) * (actions.ndim - 1)), actions, self._start).astype(
            actions.dtype
        )

    def _refusal(self, batch: _Batch, row: int, actions: Array, exist: Rows) -> Refusal:
        """What is wrong with one row's action: the first that is, in the order in which the server looks."""
        if not exist[row]:
            what = f"the action {actions[row].tolist()} is not in the action space"
            return Refusal(row, "action_space", "action_out_of_space", what)
        mask = batch.question.mask
        if mask is not None and not permits(mask[[row]], actions[[row]], self._contract.action)[0]:
            what = f"the action {actions[row].tolist()} is not among those that the mask allows"
            return Refusal(row, "mask", "action_masked", what)
        constraints = self._safeguards.constraints
        if constraints is None or batch.bound is None:
            raise AssertionError("a row is refused for something")
        part, action = batch.bound.take(np.array([row])), actions[[row]]
        index = int(part.violated(action)[0])
        margin = float(part.margins(action)[index, 0])
        return Refusal(
            row,
            constraints.names[index],
            "constraint_violated",
            constraints.explain(row, batch.bound, actions),
            margin if np.isfinite(margin) else None,
            constraints.units[index],
        )

    def _replaced(
        self,
        batch: _Batch,
        rows: NDArray[np.intp],
        refusals: Sequence[Refusal],
        final: Array,
        handed: Rows,
    ) -> list[Refusal]:
        """The refusals with what the chain answers instead, which is entered in `final` and `handed`."""
        answers = self._ask_chain(batch, rows)
        found = []
        for i, refusal in enumerate(refusals):
            if answers.sources[i] is Source.NONE:
                found.append(refusal)
                continue
            final[refusal.row], handed[refusal.row] = answers.actions[i], True
            self._counts.replaced += 1
            action = answers.actions[i, ...]
            found.append(
                replace(refusal, action=action, source=answers.sources[i], member=answers.members[i])
            )
        return found

    def _ask_chain(self, batch: _Batch, rows: NDArray[np.intp]) -> LocalAnswers:
        """What the fallback chain answers to some of the rows, or else the safe action."""
        mask, features = batch.question.mask, batch.features
        answer = self._safeguards.fallback.answer(
            len(rows),
            features=None if features is None else features[rows],
            mask=None if mask is None else mask[rows],
            allowed=None if batch.bound is None else batch.bound.take(rows),
        )
        actions, safe = answer.actions, self._safeguards.safe_action
        sources, members, reasons = [], [], []
        for i, member in enumerate(answer.members.tolist()):
            made = member >= 0
            if not made and safe is not None:
                actions[i] = safe
            other = Source.NONE if safe is None else Source.SAFE_ACTION
            sources.append(Source.LOCAL_FALLBACK if made else other)
            members.append(answer.names[member] if made else "" if safe is None else "safe_action")
            reasons.append("" if made or safe is not None else NO_FEASIBLE_ACTION)
        return LocalAnswers(actions, tuple(sources), tuple(members), tuple(reasons))

    def _remember(self, batch: _Batch, actions: Array, handed: Rows, *, alone: bool) -> None:
        if self._episodes is None or batch.memory is None:
            return
        nowhere = np.zeros(len(handed), np.bool_)
        course = Course(answered=handed, fell=~handed, healthy=handed, eased=nowhere)
        sound = self._existing(actions, handed)
        self._safeguards.remember(batch.memory, sound, batch.features, course)
        self._episodes.store(batch.question.episodes, batch.memory, sound, handed, alone=alone)
