"""The nearest action of a Box that keeps limits, sums and zones.

Limits and sums are a convex set: clipping, or a quadratic program. A zone makes of it a union of convex sets,
one for each of its faces; those are searched by branch and bound, where the distance to the set without the
zones not yet looked at is the bound (Land and Doig, Econometrica 28, 1960).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Array
from steersman.safety.constraints.batch import Numbers
from steersman.safety.constraints.boxes import Zone

MOST_NODES = 256
"""Convex sets looked at for one action; the best action found until then is taken."""

SOLVED = 1
"""DAQP's exit flag for an optimum; all others (infeasible, cycling, out of iterations) are no answer."""
FURTHEST = 100.0
"""What is wanted from further away than so many times the size of the limits is taken to be there: what
the program gets wrong grows with the square of the way."""
INFINITE = 1e30
"""What DAQP takes for no limit."""
TOLERANCE = 1e-11
"""Of constraints, after scaling: far below what rounding to a float32 does."""

ACCURACY = 1e-13
"""What DAQP reaches, in units of the way from the action wanted (measured: 1e-14)."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where one action may be: low <= x <= high, factors x <= most, and outside of zones.

    Attributes:
        low: [D].
        high: [D].
        factors: [K, D].
        most: [K].
        zones: Open regions.
    """

    low: Numbers
    high: Numbers
    factors: Numbers
    most: Numbers
    zones: Sequence[Zone] = ()

    def shrunk(self, hair: Numbers) -> Region:
        """The same with less room in the sums, [K], so that what is rounded keeps them."""
        return replace(self, most=self.most - hair)


def nearest(wanted: Numbers, region: Region) -> Numbers | None:
    """The point of the region that is nearest to `wanted`, [D], in the sum of squares; None for none."""
    wanted = _brought_near(wanted, region)
    best, least, left = None, np.inf, MOST_NODES
    pending = [region]
    while pending and left:
        left -= 1
        node = pending.pop()
        found = _in_convex(wanted, node)
        if found is None or (distance := float(np.sum((found - wanted) ** 2))) >= least:
            continue
        inside = next((zone for zone in node.zones if _within(zone, found)), None)
        if inside is None:
            best, least = found, distance
        else:
            pending += _beside(inside, node, found)
    return best


def _brought_near(wanted: Numbers, region: Region) -> Numbers:
    clipped = np.clip(wanted, region.low, region.high)
    sizes = np.abs(np.concatenate([clipped, region.low, region.high]))
    reach = FURTHEST * (np.max(sizes, initial=0.0, where=np.isfinite(sizes)) or 1.0)
    found: Numbers = np.clip(wanted, clipped - reach, clipped + reach)
    return found


def _within(zone: Zone, point: Numbers) -> bool:
    own = point[zone.elements]
    return bool(np.all((own > zone.low) & (own < zone.high)))


def _beside(zone: Zone, node: Region, point: Numbers) -> list[Region]:
    """The parts of a region beyond each face of a zone, the nearest face last."""
    parts: list[tuple[float, Region]] = []
    for element, low, high in zip(zone.elements, zone.low, zone.high, strict=True):
        if low >= node.low[element]:
            below = node.high.copy()
            below[element] = low
            parts.append((point[element] - low, replace(node, high=below)))
        if high <= node.high[element]:
            above = node.low.copy()
            above[element] = high
            parts.append((high - point[element], replace(node, low=above)))
    return [part for _, part in sorted(parts, key=lambda each: -each[0])]


def _in_convex(wanted: Numbers, region: Region) -> Numbers | None:
    if np.any(region.low > region.high) or np.isnan(region.most).any():
        return None
    clipped = np.clip(wanted, region.low, region.high)
    if not len(region.most) or np.all(region.factors @ clipped <= region.most):
        return clipped
    return _projected(wanted, clipped, region)


def _projected(wanted: Numbers, clipped: Numbers, region: Region) -> Numbers | None:
    """By a quadratic program around the clipped action, in units in which its way is about 1."""
    import daqp  # noqa: PLC0415  only where there is a sum

    away = region.factors @ clipped - region.most
    norms = np.linalg.norm(region.factors, axis=1)
    scale = float(max(np.max(away / norms), np.max(np.abs(wanted - clipped)), 1e-300))
    size = len(wanted)
    with np.errstate(all="ignore"):
        upper = np.concatenate([(region.high - clipped) / scale, -away / norms / scale])
        lower = np.concatenate([(region.low - clipped) / scale, np.full(len(away), -INFINITE)])
        aim = (wanted - clipped) / scale
    limits = [np.clip(side, -INFINITE, INFINITE) for side in (upper, lower)]
    if not all(np.isfinite(side).all() for side in (aim, *limits)):
        return None
    rows: NDArray[Any] = region.factors / norms[:, None]
    found, _, flag, _ = daqp.solve(
        np.eye(size), -aim, rows, *limits, primal_tol=TOLERANCE, dual_tol=TOLERANCE
    )
    if flag != SOLVED:
        return None
    point: Numbers = np.clip(clipped + scale * np.asarray(found), region.low, region.high)
    return point


def typed(points: Numbers, low: Numbers, high: Numbers, dtype: str) -> Array:
    """Points [N, D] as actions of this type, clipped and rounded into their limits, where there is room."""
    kind = np.dtype(dtype)
    with np.errstate(all="ignore"):
        if not np.issubdtype(kind, np.floating):
            info = np.iinfo(kind) if kind != np.bool_ else np.iinfo(np.uint8)
            within = np.clip(np.rint(points), np.ceil(low), np.floor(high))
            whole: Array = np.nan_to_num(np.clip(within, info.min, info.max)).astype(kind)
            return whole
        found: Array = np.clip(points, low, high).astype(kind)
        found = np.where(found < low, np.nextafter(found, kind.type(np.inf)), found)
        lowered: Array = np.where(found > high, np.nextafter(found, kind.type(-np.inf)), found)
    return lowered


def hair(wanted: Numbers, region: Region, dtype: str) -> Numbers:
    """By how much rounding an action to its type, and before that the program, can move each sum: [K]."""
    if not len(region.most):
        return region.most
    kind = np.dtype(dtype)
    way = np.max(np.abs(_brought_near(wanted, region) - np.clip(wanted, region.low, region.high)), initial=0)
    reach = np.maximum(np.abs(region.low), np.abs(region.high))
    if np.issubdtype(kind, np.floating):
        step = np.where(np.isfinite(reach), reach, 1.0) * np.finfo(kind).eps + np.finfo(kind).tiny
    else:
        step = np.full(len(reach), 0.5)
    terms = np.abs(region.factors) @ step
    solved = way * np.linalg.norm(region.factors, axis=1) * ACCURACY
    largest: Numbers = terms + (np.abs(region.most) + terms) * 1e-14 + solved
    return largest
