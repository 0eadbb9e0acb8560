"""Which lanes a deployment wants: names, versions as it says them, roles and buckets. No disk, no bundles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steersman.serving.rollout.assignment import BUCKETS, Buckets, arm_buckets, canary_buckets
from steersman.serving.rollout.deployment import (
    CANARY,
    CONTROL,
    PINNED,
    SHADOW,
    STABLE,
    Deployment,
    VersionChoice,
)
from steersman.serving.rollout.snapshot import Role

NO_BUCKETS: Buckets = (0, 0)


@dataclass(frozen=True, slots=True)
class WantedLane:
    """A lane that a deployment asks for.

    Attributes:
        name: Its name.
        version: Its version, a number or `latest`; labels have become numbers.
        role: What it is for.
        buckets: The episodes that are assigned to it.
        share: Share of the episodes; for a shadow of the decisions.
        asked: Whether people named this very version, so that a change that cannot have it must fail.
    """

    name: str
    version: VersionChoice
    role: Role
    buckets: Buckets = NO_BUCKETS
    share: float = 0.0
    asked: bool = True


def stable_lane(deployment: Deployment) -> WantedLane:
    """The lane that answers whatever no other does."""
    return _open(STABLE, _numbered(deployment, deployment.lanes.stable.version), _buckets(deployment)[STABLE])


def rollout_lanes(deployment: Deployment, stable: int) -> Iterator[WantedLane]:
    """Control, canary, arms and shadow; control runs the version that stable runs."""
    lanes, buckets = deployment.lanes, _buckets(deployment)
    if lanes.control is not None:
        yield _open(CONTROL, stable, buckets[CONTROL])
    if lanes.canary is not None:
        yield _open(CANARY, _numbered(deployment, lanes.canary.version), buckets[CANARY])
    for name in sorted(deployment.arms):
        yield _open(name, _numbered(deployment, deployment.arms[name].version), buckets[name])
    if lanes.shadow is not None:
        version = _numbered(deployment, lanes.shadow.version)
        yield WantedLane(SHADOW, version, "shadow", share=lanes.shadow.share)


def pinned_lanes(
    deployment: Deployment, there: tuple[int, ...], answering: frozenset[int]
) -> Iterator[WantedLane]:
    """Versions that are loaded to be asked for by number or label, and answer in no other lane.

    Args:
        deployment: The deployment.
        there: The versions on disk, ascending.
        answering: Versions that answer anyway.
    """
    serve = deployment.serve
    asked = {*deployment.labels.values()}
    if serve == "all":
        more = set(there)
    elif serve.specific is not None:
        more = set()
        asked |= set(serve.specific)
    else:
        more = set(there[-serve.latest :]) if serve.latest else set()
    for version in sorted((asked | more) - answering, reverse=True):
        yield WantedLane(PINNED, version, "pinned", asked=version in asked)


def _open(name: str, version: VersionChoice, buckets: Buckets) -> WantedLane:
    return WantedLane(name, version, "open", buckets, (buckets[1] - buckets[0]) / BUCKETS)


def _buckets(deployment: Deployment) -> dict[str, Buckets]:
    if deployment.arms:
        arms = arm_buckets({name: arm.share for name, arm in deployment.arms.items()})
        return {STABLE: NO_BUCKETS, **arms}
    control, canary = deployment.lanes.control, deployment.lanes.canary
    return canary_buckets(
        canary=canary.share if canary is not None else 0.0,
        control=control.share if control is not None else 0.0,
    )


def _numbered(deployment: Deployment, version: VersionChoice) -> VersionChoice:
    return deployment.labels.get(version, version) if isinstance(version, str) else version
