"""Loading: from a snapshot to a routing table. The new is loaded before the old is let go.

Each version is verified on this host before it may answer: signature, digests, contract, and the certificate
re-run. A failing int8 variant is dropped; a failing fp32 refuses the version. A policy whose new route fails
keeps what it had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.certify import certify_variants
from steersman.bundle.errors import BundleCorruptError, SteersmanError
from steersman.bundle.features import has_named_features
from steersman.bundle.repository import Repository
from steersman.bundle.session import PolicySession
from steersman.bundle.signature import ASK_NOBODY, Trust, check_signatures, short
from steersman.monitoring.blocks import BlockView, PlacedBlock
from steersman.monitoring.recorder import Recorder
from steersman.safety.fallback import FallbackChain
from steersman.safety.guard import Guard, benign_row
from steersman.serving.batch import CallChecker
from steersman.serving.errors import ServingError
from steersman.serving.precision import fastest
from steersman.serving.references import read_references
from steersman.serving.rollout.deployment import Precision
from steersman.serving.rollout.snapshot import LaneRoute, PolicyRoute, RoutingSnapshot
from steersman.serving.routing import PolicyRuntime, RoutingTable
from steersman.serving.runtime import LaneRuntime, LoadedVersion

log = logging.getLogger(__name__)
BlockOpener = Callable[[PlacedBlock], BlockView]


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads versions.

    Attributes:
        open_block: Gives the place to count a lane's decisions.
        cache: Folder for what has been measured on this host.
        trust: Whose signatures are asked for.
    """

    open_block: BlockOpener
    cache: Path
    trust: Trust = ASK_NOBODY

    def load(self, snapshot: RoutingSnapshot, current: RoutingTable) -> RoutingTable:
        """The table for a snapshot; versions that `current` has are not loaded again."""
        repository = Repository(Path(snapshot.repository))
        policies = {
            route.policy: self._load_policy(repository, route, current.policies.get(route.policy))
            for route in snapshot.policies
        }
        return RoutingTable(snapshot.generation, policies)

    def _load_policy(
        self, repository: Repository, route: PolicyRoute, current: PolicyRuntime | None
    ) -> PolicyRuntime:
        lanes, failures = [], {}
        for lane in route.lanes:
            try:
                loaded = _reuse(current, lane) or self._load_version(repository, route, lane)
                lanes.append(self._lane(route, lane, loaded))
            except SteersmanError as error:
                log.warning(
                    "version refused",
                    extra={"policy": route.policy, "version": lane.version, "why": str(error)},
                )
                failures[lane.version] = error.what
            except Exception:
                log.exception("defect while loading", extra={"policy": route.policy, "version": lane.version})
                failures[lane.version] = "a defect was met while loading; the server's log has the details"
        if failures and current is not None and current.lanes:
            return PolicyRuntime(route, current.lanes, failures)
        return PolicyRuntime(route, tuple(lanes), failures)

    def _load_version(self, repository: Repository, route: PolicyRoute, lane: LaneRoute) -> LoadedVersion:
        return load_version(repository, route, lane, self.cache, self.trust)

    def _lane(self, route: PolicyRoute, lane: LaneRoute, loaded: LoadedVersion) -> LaneRuntime:
        contract = loaded.contract
        reference = loaded.references.get("greedy")
        return LaneRuntime(
            lane=lane.lane,
            loaded=loaded,
            guard=Guard.compile(route.safety.guard, contract, reference),
            fallback=FallbackChain.compile(route.safety.fallback, contract),
            recorder=Recorder(self.open_block(lane.block), loaded.references, contract),
            share=lane.share,
            named_features=has_named_features(contract),
        )


def _reuse(current: PolicyRuntime | None, route: LaneRoute) -> LoadedVersion | None:
    lanes = current.lanes if current else ()
    return next((lane.loaded for lane in lanes if lane.loaded.digest == route.digest), None)


def load_version(
    repository: Repository, route: PolicyRoute, lane: LaneRoute, cache: Path, trust: Trust
) -> LoadedVersion:
    """Loads and verifies one version.

    Raises:
        BundleError: The bundle is not there, was changed, is not signed as `trust` asks, or its fp32 fails
            the certificate.
        ServingError: This server cannot run such a policy.
    """
    bundle = repository.open(route.policy, lane.version)
    if bundle.digest != lane.digest:
        raise BundleCorruptError("the bundle was changed since it was routed", where=str(bundle.path))
    signatures = check_signatures(bundle, trust)
    if bundle.manifest.contract.state:
        raise ServingError(f"policy {route.policy!r} is recurrent, which this server does not run yet")
    sessions, dropped = certified_sessions(bundle)
    chosen = _choose(sessions, route.precision, bundle, cache)
    benign = benign_row(bundle.manifest.contract)
    log.info(
        "version loaded",
        extra={
            "policy": route.policy,
            "version": lane.version,
            "variant": chosen,
            "dropped": dropped or None,
            "prepared": [outputs[0] for outputs in sessions[chosen].prepared],
            "signed_by": short(signatures.trusted or signatures.signers) or None,
        },
    )
    return LoadedVersion(
        manifest=bundle.manifest,
        digest=bundle.digest,
        variant=chosen,
        session=sessions[chosen],
        checker=CallChecker(bundle.manifest.contract),
        references=read_references(bundle),
        benign=benign,
        dropped=dropped,
    )


def certified_sessions(bundle: Bundle) -> tuple[dict[str, PolicySession], dict[str, str]]:
    """The variants that pass the certificate on this host, and why the others do not.

    Raises:
        BundleCorruptError: fp32 fails, or the certificate itself cannot be trusted.
    """
    checks = certify_variants(bundle)
    sessions = {name: check.session for name, check in checks.items() if check.session is not None}
    dropped = {name: check.failure for name, check in checks.items() if not check.passed}
    if "fp32" not in sessions:
        raise BundleCorruptError(
            f"the certificate fails on this host: {dropped.get('fp32', 'there is no fp32 variant')}",
            where=str(bundle.path),
            hint="Export the policy again, or check this host's ONNX Runtime.",
        )
    return sessions, dropped


def _choose(sessions: Mapping[str, PolicySession], precision: Precision, bundle: Bundle, cache: Path) -> str:
    if precision == "auto":
        row = sessions["fp32"].feeds(benign_row(bundle.manifest.contract))
        return fastest(sessions, row, bundle.digest, cache)
    if precision not in sessions:
        raise ServingError(
            f"precision {precision} is asked for, but the bundle has no {precision} that passes here"
        )
    return precision
