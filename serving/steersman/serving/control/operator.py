"""Moving deployments: a change is checked, stored, planned and shown to the workers, or nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from steersman.serving.clock import Clock, unix_nanos
from steersman.serving.control.requests import Asked
from steersman.serving.planning.plan import PlannedLane
from steersman.serving.rollout import changes
from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.changes import NewId, Transition
from steersman.serving.rollout.deployment import Deployment, parse_deployment
from steersman.serving.rollout.errors import ChangeRefusedError, RevisionConflictError
from steersman.serving.rollout.journal import Change, Entry
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.yaml_lines import pointing
from steersman.serving.supervising.director import Director

SETTLE_S = 2.0
"""Longest wait for the workers before a change is answered."""
DOCUMENT = "deployment"
ROLLBACK = "rollback"
Move = Callable[[DeploymentState], Coroutine[Any, Any, Transition]]


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of a change.

    Attributes:
        state: The deployment after it.
        lines: What was changed.
        unchanged: Whether nothing was: a dry run, or it was so already.
        dry_run: Whether nothing was to be.
        lanes: After a dry run, the lanes that it would give; None for those in force.
    """

    state: DeploymentState
    lines: tuple[str, ...]
    unchanged: bool = False
    dry_run: bool = False
    lanes: tuple[PlannedLane, ...] | None = None


class Operator:
    """Makes the changes that people ask for, one after the other.

    Args:
        director: Owns the plan.
        archive: The way to the store.
        clock: What time it is.
        new_id: Makes ids of rollouts.
    """

    def __init__(self, director: Director, archive: Archive, clock: Clock, new_id: NewId) -> None:
        self._director = director
        self._archive = archive
        self._clock = clock
        self._new_id = new_id
        self._running: set[asyncio.Task[Moved]] = set()

    async def apply(self, document: str, asked: Asked) -> Moved:
        """Makes a document the deployment of the policy that it names.

        Raises:
            SteersmanError: It cannot be made; nothing was changed.
        """
        wanted = await asyncio.to_thread(parse_deployment, document, where=DOCUMENT)

        async def move(state: DeploymentState) -> Transition:
            newest = await asyncio.to_thread(self._director.planner.newest, wanted.policy)
            return changes.apply(state, wanted, newest, self._new_id)

        with pointing(document, DOCUMENT):
            return await self._change(wanted.policy, "apply", asked, move)

    async def set_share(self, policy: str, lane: str, share: float, asked: Asked) -> Moved:
        """Moves the share of a lane or an arm.

        Raises:
            SteersmanError: It cannot be made; nothing was changed.
        """

        async def move(state: DeploymentState) -> Transition:
            return changes.set_share(state, lane, share, self._new_id)

        return await self._change(policy, "set_share", asked, move)

    async def promote(self, policy: str, lane: str, asked: Asked) -> Moved:
        """Makes the canary or an arm the stable version, and ends the rollout.

        Raises:
            SteersmanError: It cannot be made; nothing was changed.
        """

        async def move(state: DeploymentState) -> Transition:
            return changes.promote(state, lane, self._new_id)

        return await self._change(policy, "promote", asked, move)

    async def roll_back(self, policy: str, revision: int, asked: Asked, *, keep_episodes: bool) -> Moved:
        """Ends the rollout, or goes back to an earlier deployment.

        Args:
            policy: Name of the policy.
            revision: The revision to go back to, with its rollout; 0 ends the rollout, or where there is
                none goes back to what was stable one revision before. Where that revision was made by a
                rollback, nothing: what was fled from does not come back because somebody asks twice.
            asked: Who asks, and why.
            keep_episodes: Whether the episodes of closed lanes may end there.

        Raises:
            SteersmanError: It cannot be made; nothing was changed.
        """

        async def move(state: DeploymentState) -> Transition:
            if not revision and changes.has_rollout(state.deployment):
                return changes.end_rollout(state, self._new_id, keep_episodes=keep_episodes)
            if not revision and await self._made_by(state) == ROLLBACK:
                return Transition(state, ())
            earlier = await self._earlier(state, revision or state.revision - 1)
            return changes.go_back(
                state, earlier, self._new_id, whole=bool(revision), keep_episodes=keep_episodes
            )

        return await self._change(policy, ROLLBACK, asked, move)

    async def history(self, policy: str, limit: int, before_id: int) -> list[Entry]:
        """What was changed, newest first.

        Raises:
            StoreError: The store cannot be used.
        """
        return await self._archive.use(lambda store: store.entries(policy, limit=limit, before_id=before_id))

    async def _made_by(self, state: DeploymentState) -> str:
        """The action that made a revision; empty where there is no entry of it."""
        entry = await self._archive.use(lambda store: store.entry(state.policy, state.revision))
        return "" if entry is None else entry.action

    async def _earlier(self, state: DeploymentState, revision: int) -> Deployment:
        entry = None
        if 0 < revision <= state.revision:
            entry = await self._archive.use(lambda store: store.entry(state.policy, revision))
        if entry is None:
            raise ChangeRefusedError(
                "revision_not_found",
                f"policy {state.policy!r} has no revision {revision} to go back to",
                expected=f"1 to {state.revision}" if state.revision else "a deployment that was applied once",
                hint="See its history.",
            )
        where = f"revision {revision}"
        return await asyncio.to_thread(parse_deployment, entry.document, where=where)

    async def _change(self, policy: str, action: str, asked: Asked, move: Move) -> Moved:
        """The change, to its end even where its caller no longer waits."""
        task = asyncio.create_task(self._locked(policy, action, asked, move))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _locked(self, policy: str, action: str, asked: Asked, move: Move) -> Moved:
        director = self._director
        async with director.lock:
            state = await self._state(policy, asked.expected_revision)
            transition = await move(state)
            if not transition.lines:
                return Moved(state, (), unchanged=True, dry_run=asked.dry_run)
            cut = frozenset({policy}) if transition.cuts else frozenset[str]()
            before = director.before(cut)
            lanes = await asyncio.to_thread(director.planner.check, transition.state, before)
            if asked.dry_run:
                return Moved(transition.state, transition.lines, unchanged=True, dry_run=True, lanes=lanes)
            at = unix_nanos(self._clock())
            change = Change(
                transition.state, action, asked.actor, asked.reason, transition.lines, at, transition.cuts
            )
            await self._archive.use(lambda store: store.save(change))
            director.states[policy] = transition.state
            await director.replan(cut)
        await director.fleet.settled(director.plan.generation, SETTLE_S)
        return Moved(transition.state, transition.lines)

    async def _state(self, policy: str, expected_revision: int) -> DeploymentState:
        """The state now, out of the store: another host may have changed it.

        Raises:
            ChangeRefusedError: There is no such policy here.
            RevisionConflictError: It is not the revision that the caller saw.
            StoreError: The store cannot be used.
        """
        director = self._director
        if policy not in director.states and not await asyncio.to_thread(director.planner.serves, policy):
            there = ", ".join(route.policy for route in director.plan.snapshot.policies[:16])
            message = f"there is no policy {policy[:64]!r}"
            raise ChangeRefusedError("policy_not_found", message, expected=f"one of: {there}")
        stored = (await self._archive.use(lambda store: store.states())).get(policy)
        known = director.states.get(policy) or DeploymentState(deployment=Deployment(policy=policy))
        state = stored.state if stored is not None else known.model_copy(update={"revision": 0})
        if expected_revision and expected_revision != state.revision:
            raise RevisionConflictError(
                f"policy {policy!r} is at revision {state.revision}, not at {expected_revision}",
                hint="Look at it again, then repeat the change.",
            )
        return state
