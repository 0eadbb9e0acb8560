"""Deployments in words: what a change changes, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from steersman.serving.rollout.deployment import CANARY, CONTROL, SHADOW, STABLE, Deployment
from steersman.serving.rollout.settings_wording import section_lines

_TOLD = frozenset({"policy", "lanes", "arms", "labels", "safety"})
"""Fields with words of their own."""

Lane = tuple[object, float | None]
"""Version as the document says it, and share; no share for what has whatever the others leave."""


def percent(share: float) -> str:
    """A share for people.

    Example:
        >>> percent(0.05), percent(1 / 3)
        ('5 %', '33.3333 %')
    """
    return f"{100 * share:.6g} %"


def changed_lines(before: Deployment, after: Deployment) -> tuple[str, ...]:
    """One line for each lane and setting that differs."""
    lines = list(_lane_lines(_lanes(before), _lanes(after)))
    lines += _shadow_lines(before, after)
    lines += section_lines("safety", before.safety, after.safety)
    lines += _label_lines(before.labels, after.labels)
    for name in Deployment.model_fields:
        if name not in _TOLD:
            lines += section_lines(name, getattr(before, name), getattr(after, name))
    return tuple(lines or (["settings: changed"] if before != after else []))


def _lane_lines(before: Mapping[str, Lane], after: Mapping[str, Lane]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is None or new is None:
            yield f"{name}: {'opened' if old is None else 'closed'}, {_lane_text(new or old)}"
            continue
        if old[0] != new[0]:
            yield f"{name}: version {old[0]} -> {new[0]}"
        if old[1] != new[1]:
            yield f"{name}: share {percent(old[1] or 0.0)} -> {percent(new[1] or 0.0)}"


def _lane_text(lane: Lane | None) -> str:
    version, share = lane or ("", None)
    text = f"version {version}" if version else "version of stable"
    return text if share is None else f"{text} at {percent(share)}"


def _shadow_lines(before: Deployment, after: Deployment) -> Iterator[str]:
    """How the shadow is run and compared, where there was one and still is."""
    old, new = before.lanes.shadow, after.lanes.shadow
    if old is None or new is None:
        return
    for name in ("cpu", "tolerance"):
        yield from section_lines(f"{SHADOW}: {name}", getattr(old, name), getattr(new, name))


def _label_lines(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if new is None:
            yield f"label {name}: removed, was version {old}"
        else:
            yield f"label {name}: {old or 'none'} -> {new}"


def _lanes(deployment: Deployment) -> dict[str, Lane]:
    lanes = deployment.lanes
    found: dict[str, Lane] = {STABLE: (lanes.stable.version, None)}
    if lanes.control is not None:
        found[CONTROL] = ("", lanes.control.share)
    if lanes.canary is not None:
        found[CANARY] = (lanes.canary.version, lanes.canary.share)
    for name in sorted(deployment.arms):
        found[name] = (deployment.arms[name].version, deployment.arms[name].share)
    if lanes.shadow is not None:
        found[SHADOW] = (lanes.shadow.version, lanes.shadow.share)
    return found
