"""How a deployment moves: pure functions from a state to the next one. They know no clock and no disk.

Episodes are assigned by a salt, the rollout id, and by shares. A canary's share moves within one rollout, so
that who was in stays in while it grows. Another canary version, or any change of the arms, begins a new
rollout: another salt and the next epoch. Without canary, control and arms there is no rollout and no salt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steersman.bundle.errors import UsageError
from steersman.bundle.validation import validated
from steersman.serving.rollout.deployment import (
    CANARY,
    CONTROL,
    SHADOW,
    STABLE,
    Deployment,
    VersionChoice,
)
from steersman.serving.rollout.errors import ChangeRefusedError
from steersman.serving.rollout.settings_wording import summary
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.wording import changed_lines

NewId = Callable[[], str]
"""Makes the id of a new rollout: random, so that rollouts do not pick the same episodes."""
ROLLOUT_LANES = (CONTROL, CANARY)
SAFETY_LEFT_OUT = "safety_left_out"
NOTHING_OPEN = "Only stable is open. Apply a deployment that opens a canary or arms first."


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that can be made.

    Attributes:
        state: The state that it leads to.
        lines: What it changes, for people; empty where it changes nothing.
        cuts: Whether the episodes of the lanes that it closes are cut; else they may end there.
    """

    state: DeploymentState
    lines: tuple[str, ...]
    cuts: bool = False


def apply(state: DeploymentState, wanted: Deployment, newest: int, new_id: NewId) -> Transition:
    """Makes `wanted` the deployment.

    Where a canary or an arm says `latest`, the newest version takes its place: what a rollout compares must
    not change by itself when a bundle arrives.

    Args:
        state: The state now.
        wanted: The deployment wanted.
        newest: The policy's newest version.
        new_id: Makes the id of a new rollout.

    Raises:
        ChangeRefusedError: It leaves out the safety settings that are in force; to remove them is to be said.
    """
    _keep_safe(state.deployment, wanted)
    document = _document(wanted)
    for lane in _rollout_lanes(document):
        if lane["version"] == "latest":
            lane["version"] = newest
    return _moved(state, _read(document), new_id)


def set_share(state: DeploymentState, lane: str, share: float, new_id: NewId) -> Transition:
    """Moves the share of a lane or an arm; the other arms share what is left as they did before.

    Raises:
        ChangeRefusedError: There is no such lane.
        UsageError: The shares do not fit.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share {share:g}", where=lane, expected="a number from 0 to 1")
    document = _document(state.deployment)
    lanes, arms = document.get("lanes") or {}, document.get("arms") or {}
    if lane == STABLE:
        raise ChangeRefusedError(
            "stable_has_no_share",
            "stable answers what the others leave",
            where=STABLE,
            hint="Set the share of another lane.",
        )
    if lane in arms:
        _divide(arms, lane, share)
    elif lane in (*ROLLOUT_LANES, SHADOW) and lanes.get(lane):
        lanes[lane]["share"] = share
    else:
        raise _no_lane(state, lane, "lane_not_found")
    return _moved(state, _read(document), new_id)


def promote(state: DeploymentState, lane: str, new_id: NewId) -> Transition:
    """Makes the version of the canary or of an arm the stable one, by its number, and ends the rollout.

    Raises:
        ChangeRefusedError: There is no such lane, or it cannot be promoted.
    """
    name = lane or CANARY
    deployment = state.deployment
    chosen = deployment.lanes.canary if name == CANARY else deployment.arms.get(name)
    if chosen is None:
        raise _not_promotable(deployment, name)
    number = _number(chosen.version, deployment.labels)
    document = _without_rollout(_document(deployment))
    document.setdefault("lanes", {})[STABLE] = {"version": number}
    return _moved(state, _read(document), new_id)


def end_rollout(state: DeploymentState, new_id: NewId, *, keep_episodes: bool = False) -> Transition:
    """Closes every lane but the stable one.

    Args:
        state: The state now.
        new_id: Makes the id of a new rollout.
        keep_episodes: Whether their episodes may end there instead of being cut.
    """
    document = _without_rollout(_document(state.deployment))
    (document.get("lanes") or {}).pop(SHADOW, None)
    return _moved(state, _read(document), new_id, cuts=not keep_episodes)


def go_back(
    state: DeploymentState,
    earlier: Deployment,
    new_id: NewId,
    *,
    whole: bool,
    keep_episodes: bool = False,
) -> Transition:
    """Makes an earlier deployment the one in force.

    Args:
        state: The state now.
        earlier: That deployment.
        new_id: Makes the id of a new rollout.
        whole: Whether its rollout begins again, too (with another allocation of episodes), or only what it
            says of the stable lane and of everything else comes back.
        keep_episodes: Whether episodes of the lanes that close may end there instead of being cut.
    """
    document = _document(earlier)
    if not whole:
        document = _without_rollout(document)
        (document.get("lanes") or {}).pop(SHADOW, None)
    return _moved(state, _read(document), new_id, cuts=not keep_episodes)


def has_rollout(deployment: Deployment) -> bool:
    """Whether any lane but the stable one is open."""
    lanes = deployment.lanes
    return bool(deployment.arms) or any((lanes.canary, lanes.control, lanes.shadow))


def _moved(state: DeploymentState, wanted: Deployment, new_id: NewId, *, cuts: bool = False) -> Transition:
    if state.revision and wanted == state.deployment:
        return Transition(state, ())
    before, after = _allocation(state.deployment), _allocation(wanted)
    begins = after is not None and (after != before or not state.rollout_id)
    rollout_id = new_id() if begins else (state.rollout_id if after is not None else "")
    moved = DeploymentState(
        deployment=wanted,
        revision=state.revision + 1,
        rollout_id=rollout_id,
        epoch=state.epoch + begins,
    )
    lines = changed_lines(state.deployment, wanted) or ("first deployment",)
    return Transition(moved, (*lines, f"rollout: epoch {moved.epoch} begins") if begins else lines, cuts)


def _keep_safe(before: Deployment, wanted: Deployment) -> None:
    """Nobody takes the guard and the fallback away by forgetting them.

    Raises:
        ChangeRefusedError: There are safety settings, and the document does not say what becomes of them.
    """
    if "safety" in wanted.model_fields_set or before.safety == wanted.safety:
        return
    raise ChangeRefusedError(
        SAFETY_LEFT_OUT,
        f"the document has no safety section, which would remove the one in force: {summary(before.safety)}",
        where=f"deployment of {wanted.policy}",
        expected="the section, as it is to be, or the line `safety: {}`, which removes it",
    )


def _allocation(deployment: Deployment) -> tuple[object, ...] | None:
    """What episodes are allocated for; another one needs another salt. None where all are stable's."""
    lanes, labels = deployment.lanes, deployment.labels
    if deployment.arms:
        arms = sorted(deployment.arms.items())
        return tuple((name, _number(arm.version, labels), arm.share) for name, arm in arms)
    if lanes.canary is not None:
        return (CANARY, _number(lanes.canary.version, labels))
    return None if lanes.control is None else (CONTROL,)


def _number(version: VersionChoice, labels: Mapping[str, int]) -> int:
    """The version's number; in a rollout `latest` has become one when it was applied."""
    return version if isinstance(version, int) else labels.get(version, 0)


def _divide(arms: dict[str, Any], lane: str, share: float) -> None:
    others = [arm for name, arm in arms.items() if name != lane]
    if not others and share != 1:
        raise UsageError(f"share {share:g} of the only arm", where=lane, expected="1")
    total = sum(arm["share"] for arm in others)
    for arm in others:
        arm["share"] = (1 - share) * (arm["share"] / total if total else 1 / len(others))
    arms[lane]["share"] = share


def _not_promotable(deployment: Deployment, lane: str) -> ChangeRefusedError:
    there = [CANARY] if deployment.lanes.canary is not None else sorted(deployment.arms)
    return ChangeRefusedError(
        "nothing_to_promote" if lane == CANARY else "lane_not_found",
        f"policy {deployment.policy!r} has no {lane[:64]!r} that could be promoted",
        expected=f"one of: {', '.join(there)}" if there else None,
        hint=None if there else NOTHING_OPEN,
    )


def _no_lane(state: DeploymentState, lane: str, reason: str) -> ChangeRefusedError:
    lanes = state.deployment.lanes
    there = [name for name in (*ROLLOUT_LANES, SHADOW) if getattr(lanes, name) is not None]
    there += sorted(state.deployment.arms)
    return ChangeRefusedError(
        reason,
        f"policy {state.policy!r} has no lane or arm {lane[:64]!r}",
        expected=f"one of: {', '.join(there)}" if there else None,
        hint=None if there else NOTHING_OPEN,
    )


def _rollout_lanes(document: dict[str, Any]) -> list[dict[str, Any]]:
    canary = (document.get("lanes") or {}).get(CANARY)
    return [*([canary] if canary else []), *(document.get("arms") or {}).values()]


def _without_rollout(document: dict[str, Any]) -> dict[str, Any]:
    lanes = {name: lane for name, lane in (document.get("lanes") or {}).items() if name not in ROLLOUT_LANES}
    return {**{name: value for name, value in document.items() if name != "arms"}, "lanes": lanes}


def _document(deployment: Deployment) -> dict[str, Any]:
    return deployment.model_dump(mode="json", exclude_unset=True)


def _read(document: dict[str, Any]) -> Deployment:
    return validated(Deployment, document, where=f"deployment of {document['policy']}")
