"""What is deployed when a server starts: what is stored, and the deployment files that it was given.

A file is a seed. It is applied where nothing is stored for its policy, or where it was edited since it was
last applied; else what is stored is in force, which people may have moved since.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.digest import sha256
from steersman.bundle.errors import BundleError, BundleNotFoundError, UsageError
from steersman.serving.clock import Clock, unix_nanos
from steersman.serving.planning.planner import Planner
from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.changes import NewId, apply
from steersman.serving.rollout.deployment import Deployment, parse_deployment, read_deployment_text
from steersman.serving.rollout.errors import ChangeRefusedError, RevisionConflictError, StoreError
from steersman.serving.rollout.journal import Change, Stored
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.yaml_lines import pointing
from steersman.serving.state import load_states

log = logging.getLogger(__name__)
ACTOR = "serve"
TRIES = 8
"""Times that the files are compared with the store while other hosts keep changing it."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A deployment file.

    Attributes:
        file: Its name, without its folder.
        deployment: What it says.
        digest: SHA-256 of its text.
        text: The text, to point at lines.
    """

    file: str
    deployment: Deployment
    digest: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What is deployed at a start.

    Attributes:
        states: The deployments in force, by policy.
        cut: Policies whose episodes another host has cut since this one knew them last.
    """

    states: dict[str, DeploymentState]
    cut: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seeder:
    """Finds out what is deployed.

    Attributes:
        archive: The way to the store.
        planner: Checks what files say.
        folder: The state folder.
        clock: What time it is.
        new_id: Makes ids of rollouts.
    """

    archive: Archive
    planner: Planner
    folder: Path
    clock: Clock
    new_id: NewId

    async def deployed(self, seeds: Mapping[str, Seed]) -> Deployed:
        """What is deployed after the files have been applied.

        Raises:
            UsageError: A file does not fit its policy, or the store's URL is wrong.
            BundleNotFoundError: A file asks for a version that is not there.
            StoreError: The store cannot be used, and nothing is known of an earlier run.
            RevisionConflictError: Others change it faster than this host can.
        """
        if self.archive.empty and not seeds:
            return Deployed({})
        try:
            return await self._out_of_store(seeds)
        except StoreError as error:
            return Deployed(self._without_store(error, seeds))

    async def _out_of_store(self, seeds: Mapping[str, Seed], tries: int = TRIES) -> Deployed:
        last = load_states(self.folder) or {}
        stored = await self.archive.use(lambda store: store.states())
        states = {name: found.state for name, found in stored.items()}
        try:
            for name, seed in seeds.items():
                states[name] = await self._seeded(seed, stored.get(name))
        except RevisionConflictError:  # another host starts, too, perhaps with the same files
            if tries == 1:
                raise
            return await self._out_of_store(seeds, tries - 1)
        cut = (name for name, found in stored.items() if found.cuts_since(last.get(name)))
        return Deployed(states, frozenset(cut))

    async def _seeded(self, seed: Seed, stored: Stored | None) -> DeploymentState:
        policy = seed.deployment.policy
        if stored is not None and stored.seed_digest == seed.digest:
            said = {"policy": policy, "file": seed.file, "revision": stored.state.revision}
            log.info("what is stored is in force; the deployment file was applied before", extra=said)
            return stored.state
        state = stored.state if stored else DeploymentState(deployment=Deployment(policy=policy))
        try:
            moved = apply(state, seed.deployment, self.planner.newest(policy), self.new_id)
        except ChangeRefusedError as error:  # it leaves out the safety settings that are in force
            raise UsageError(error.what, where=seed.file, expected=error.expected) from None
        with pointing(seed.text, seed.file):
            self._check(moved.state)
        if not moved.lines:
            await self.archive.use(lambda store: store.note_seed(policy, seed.digest))
            return state
        change = Change(moved.state, "apply", ACTOR, seed.file, moved.lines, unix_nanos(self.clock()))
        await self.archive.use(lambda store: store.save(change, seed.digest))
        log.info("deployment file applied", extra={"policy": policy, "file": seed.file})
        return moved.state

    def _check(self, state: DeploymentState) -> None:
        """A file that cannot mean what it says ends the start; a bundle that is damaged only its policy."""
        try:
            self.planner.check(state)
        except BundleNotFoundError:
            raise
        except BundleError:
            return  # the plan will say so, and serve the others

    def _without_store(self, error: StoreError, seeds: Mapping[str, Seed]) -> dict[str, DeploymentState]:
        states = load_states(self.folder)
        if states is None:
            raise error
        log.warning("serving what was deployed last", extra={"policies": sorted(states)})
        given = {name: DeploymentState(deployment=seed.deployment) for name, seed in seeds.items()}
        return {**given, **states}


def read_seeds(paths: Sequence[Path]) -> dict[str, Seed]:
    """Deployment files, by policy.

    Raises:
        UsageError: A file is wrong, or two files are for the same policy.
    """
    seeds: dict[str, Seed] = {}
    for path in paths:
        text = read_deployment_text(path)
        deployment = parse_deployment(text, where=str(path))
        if deployment.policy in seeds:
            raise UsageError(f"policy {deployment.policy!r} has a deployment already", where=str(path))
        seeds[deployment.policy] = Seed(path.name, deployment, sha256(text.encode()), text)
    return seeds
