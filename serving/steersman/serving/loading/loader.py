"""Loading: from a snapshot to a routing table. The new is loaded before the old is let go.

Each version is verified on this host before it may answer: signature, digests, contract, and the certificate
re-run. A failing int8 variant is dropped; a failing fp32 refuses the version. A policy whose new route fails
keeps what it had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from steersman.safety.entry_points import EntryPoints
from steersman.safety.guard import benign_row
from steersman.safety.members import Aids
from steersman.safety.safeguards import Safeguards
from steersman.serving.deciding.batch import CallChecker
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.deciding.runtime import LaneRuntime, LoadedVersion
from steersman.serving.errors import ServingError
from steersman.serving.loading.breaking import VersionBreakers
from steersman.serving.loading.last_good import LastGood
from steersman.serving.loading.precision import Measurement, measure
from steersman.serving.loading.references import read_references
from steersman.serving.rollout.deployment import STABLE, Precision
from steersman.serving.rollout.snapshot import LaneRoute, PolicyRoute, RoutingSnapshot

log = logging.getLogger(__name__)
BlockOpener = Callable[[PlacedBlock], BlockView]


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads versions.

    Attributes:
        open_block: Gives the place to count a lane's decisions.
        cache: Folder for what has been measured on this host.
        trust: Whose signatures are asked for.
        entry_points: Functions that fallback chains may call.
        breakers: Makes the breakers of versions.
        last_good: Knows what was stable before.
    """

    open_block: BlockOpener
    cache: Path
    trust: Trust = ASK_NOBODY
    entry_points: EntryPoints = field(default_factory=EntryPoints)
    breakers: VersionBreakers = field(default_factory=VersionBreakers)
    last_good: LastGood = field(default_factory=LastGood)

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
        """The policy's lanes. It keeps those that it had if one of the new ones that take episodes fails."""
        known = list(current.lanes) if current is not None else []
        lanes: list[LaneRuntime] = []
        failures: dict[int, str] = {}
        vital = False
        for lane in route.lanes:
            try:
                found = _unchanged(current, route, lane)
                lanes.append(found or self._lane(repository, route, lane, [*known, *lanes]))
            except SteersmanError as error:
                log.warning("version refused", extra=_about(route, lane, why=str(error)))
                failures[lane.version] = error.what
                vital |= _is_vital(route, lane)
            except Exception:
                log.exception("defect while loading", extra=_about(route, lane))
                failures[lane.version] = "a defect was met while loading; the server's log has the details"
                vital |= _is_vital(route, lane)
        if vital and current is not None and current.lanes:
            return PolicyRuntime(current.route, current.lanes, failures)
        led = bool(lanes) and lanes[0].lane == STABLE  # nobody else may answer what is stable's
        self.last_good.follow(route.policy, lanes[0].loaded if led else None)
        return PolicyRuntime(route, lanes if led else (), failures)

    def _lane(
        self, repository: Repository, route: PolicyRoute, lane: LaneRoute, known: Sequence[LaneRuntime]
    ) -> LaneRuntime:
        loaded = _reuse(known, route, lane)
        if loaded is None:
            loaded = load_version(repository, route, lane, self.cache, self.trust)
        contract = loaded.contract
        aids = Aids(self.entry_points, partial(self.last_good.oracle, route.policy))
        recorder = Recorder(self.open_block(lane.block), loaded.references, contract)
        watched = None if lane.role == "shadow" else route.safety.breaker
        return LaneRuntime(
            route=lane,
            loaded=loaded,
            safeguards=Safeguards.compile(route.safety, contract, loaded.references.get("greedy"), aids),
            recorder=recorder,
            named_features=has_named_features(contract),
            breaker=self.breakers.of(route.policy, loaded, watched, recorder),
        )


def _is_vital(route: PolicyRoute, lane: LaneRoute) -> bool:
    """Whether callers depend on the lane: it takes episodes, or a label names its version."""
    return lane.role == "open" or (lane.role == "pinned" and lane.version in route.labels.values())


def _about(route: PolicyRoute, lane: LaneRoute, **more: str) -> dict[str, object]:
    return {"policy": route.policy, "version": lane.version, "lane": lane.lane, **more}


def _unchanged(current: PolicyRuntime | None, route: PolicyRoute, lane: LaneRoute) -> LaneRuntime | None:
    """The lane that is there already, if nothing that it was made from has changed."""
    if current is None or _made_from(current.route) != _made_from(route):
        return None
    return next((known for known in current.lanes if known.route == lane), None)


def _made_from(route: PolicyRoute) -> tuple[object, ...]:
    return (route.safety, route.precision, route.batching)


def _reuse(known: Sequence[LaneRuntime], route: PolicyRoute, lane: LaneRoute) -> LoadedVersion | None:
    """The version from another lane, or from before."""
    for other in known:
        if other.loaded.digest == lane.digest and other.loaded.precision == route.precision:
            return other.loaded
    return None


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
    sessions, dropped = certified_sessions(bundle)
    measured = _choose(sessions, route.precision, bundle, cache)
    chosen = measured.variant
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
        precision=route.precision,
        timings=measured.seconds,
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


def _choose(
    sessions: Mapping[str, PolicySession], precision: Precision, bundle: Bundle, cache: Path
) -> Measurement:
    """The variant to run, and what it takes on this host."""
    if precision != "auto" and precision not in sessions:
        raise ServingError(
            f"precision {precision} is asked for, but the bundle has no {precision} that passes here"
        )
    names = sessions if precision == "auto" else [precision]
    offered = {name: sessions[name] for name in names}
    row = next(iter(offered.values())).feeds(benign_row(bundle.manifest.contract))
    return measure(offered, row, bundle.digest, cache)
