"""From a repository and deployments to a routing snapshot: which version runs in which lane.

What ails one policy never keeps another from being served: a policy whose bundle cannot be trusted is in the
snapshot without lanes, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleNotFoundError, SteersmanError, UsageError
from steersman.bundle.reference import Reference
from steersman.bundle.repository import Repository
from steersman.bundle.signature import ASK_NOBODY, Trust, check_signatures
from steersman.bundle.specs import Contract
from steersman.monitoring.blocks import Allocator, PlacedBlock
from steersman.safety.fallback import FallbackChain
from steersman.safety.guard import Guard
from steersman.serving.counting import block_spec
from steersman.serving.errors import ServingError
from steersman.serving.references import read_references
from steersman.serving.rollout.deployment import STABLE, Deployment, read_deployment
from steersman.serving.rollout.snapshot import LaneRoute, PolicyRoute, RoutingSnapshot, VersionInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """A lane with what the supervisor shows of its bundle."""

    policy: str
    placed: PlacedBlock
    contract: Contract
    references: Mapping[str, Reference]


@dataclass(frozen=True, slots=True)
class Plan:
    """A snapshot, the lanes in it, and why policies were left out."""

    snapshot: RoutingSnapshot
    lanes: tuple[PlannedLane, ...]
    failures: Mapping[str, SteersmanError]


class Planner:
    """Makes plans for one repository.

    Args:
        root: The repository's folder.
        deployments: By policy.
        policies: Policies to serve; empty means all.
        allocator: Chooses where to count.
        trust: Whose signatures are asked for.

    Raises:
        UsageError: The repository is not there, or a deployment or a policy asked for is not in it.
    """

    def __init__(
        self,
        root: Path,
        deployments: Mapping[str, Deployment],
        policies: Sequence[str],
        allocator: Allocator,
        trust: Trust = ASK_NOBODY,
    ) -> None:
        self._repository = Repository(root.resolve())
        self._deployments = deployments
        self._allocator = allocator
        self._trust = trust
        self._policies = _served(self._repository, deployments, policies)

    def plan(self, generation: int) -> Plan:
        """Reads the repository as it is now.

        Raises:
            UsageError: A deployment does not fit its policy.
            BundleNotFoundError: A deployment asks for a version that is not there.
        """
        routes, lanes, failures = [], [], {}
        for name in self._policies:
            deployment = self._deployments.get(name) or Deployment(policy=name)
            try:
                route, planned = self._plan_policy(deployment)
                lanes.append(planned)
            except UsageError:
                raise
            except SteersmanError as error:
                if isinstance(error, BundleNotFoundError) and deployment.lanes.stable.version != "latest":
                    raise
                failures[name] = error
                route = self._broken(deployment, error)
            except Exception as error:
                log.exception("defect while planning", extra={"policy": name})
                failures[name] = ServingError(f"a defect was met while reading it: {error}", where=name)
                route = self._broken(deployment, failures[name])
            routes.append(route)
        snapshot = RoutingSnapshot(
            generation=generation,
            created=datetime.now(UTC),
            repository=str(self._repository.root),
            policies=tuple(routes),
        )
        return Plan(snapshot, tuple(lanes), failures)

    def _plan_policy(self, deployment: Deployment) -> tuple[PolicyRoute, PlannedLane]:
        choice = deployment.lanes.stable.version
        bundle = self._repository.open(deployment.policy, choice if isinstance(choice, int) else None)
        self._check_signatures(bundle)
        bundle.verify()
        references = read_references(bundle)
        _check_safety(deployment, bundle, references)
        manifest = bundle.manifest
        spec = block_spec(manifest, STABLE, references)
        placed = self._allocator.place(spec)
        lane = LaneRoute(lane=STABLE, version=manifest.version, digest=bundle.digest, block=placed)
        route = PolicyRoute(
            policy=manifest.policy,
            lanes=(lane,),
            versions=self._versions(manifest.policy, bundle),
            safety=deployment.safety,
            precision=deployment.precision,
        )
        return route, PlannedLane(manifest.policy, placed, manifest.contract, references)

    def _check_signatures(self, bundle: Bundle) -> None:
        trusted = check_signatures(bundle, self._trust).trusted
        if self._trust.keys and not trusted:  # else it would have been refused
            manifest = bundle.manifest
            log.warning(
                "no trusted key signed the version",
                extra={"policy": manifest.policy, "version": manifest.version},
            )

    def _versions(self, policy: str, routed: Bundle) -> tuple[VersionInfo, ...]:
        """Newest first. Only the routed one has been read."""
        others = reversed(self._repository.versions(policy))
        shown = VersionInfo(
            version=routed.manifest.version,
            state="routed",
            digest=routed.digest,
            created_unix_nanos=int(routed.manifest.created.timestamp()) * 10**9,
        )
        return tuple(
            shown if v == shown.version else VersionInfo(version=v, state="available") for v in others
        )

    def _broken(self, deployment: Deployment, error: SteersmanError) -> PolicyRoute:
        choice = deployment.lanes.stable.version
        there = self._repository.versions(deployment.policy)
        wanted = there[-1] if choice == "latest" and there else choice
        versions = tuple(
            VersionInfo(version=v, state="failed", detail=error.what)
            if v == wanted
            else VersionInfo(version=v, state="available")
            for v in reversed(there)
        )
        return PolicyRoute(policy=deployment.policy, lanes=(), versions=versions)


def read_deployments(paths: Sequence[Path]) -> dict[str, Deployment]:
    """Deployments by policy.

    Raises:
        UsageError: A file is wrong, or two files are for the same policy.
    """
    deployments: dict[str, Deployment] = {}
    for path in paths:
        deployment = read_deployment(path)
        if deployment.policy in deployments:
            raise UsageError(f"policy {deployment.policy!r} has a deployment already", where=str(path))
        deployments[deployment.policy] = deployment
    return deployments


def _served(
    repository: Repository, deployments: Mapping[str, Deployment], asked: Sequence[str]
) -> tuple[str, ...]:
    if not repository.root.is_dir():
        raise UsageError(
            "no such folder",
            where=str(repository.root),
            expected="a repository of bundles",
            hint="See steersman export.",
        )
    there = repository.policies()
    missing = [name for name in (*deployments, *asked) if name not in there]
    if missing or not there:
        raise UsageError(
            f"there is no policy {missing[0]!r}" if missing else "there are no bundles",
            where=str(repository.root),
            expected=f"one of {list(there)}" if there else "<policy>/<version>/manifest.json",
            hint=None if there else "See steersman export.",
        )
    return tuple(name for name in there if not asked or name in asked)


def _check_safety(deployment: Deployment, bundle: Bundle, references: Mapping[str, Reference]) -> None:
    """Compiles what the workers will compile, so that a mistake is found before anything is served."""
    settings, contract = deployment.safety, bundle.manifest.contract
    Guard.compile(settings.guard, contract, references.get("greedy"))
    FallbackChain.compile(settings.fallback, contract)
