"""How an environment's raw observations and actions lie beside a policy's own spaces."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space

from steersman.export.observations import input_name
from steersman.export.reading.spaces import AnySpace

Array = NDArray[Any]


def tensors(space: AnySpace) -> dict[str, AnySpace]:
    """The space of each observation tensor by graph input name."""
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    return {input_name(key): part for key, part in parts.items()}


def with_tensors(space: AnySpace, changed: dict[str, AnySpace]) -> AnySpace:
    """A space of the same form and order, with other tensors."""
    if not isinstance(space, spaces.Dict):
        return next(iter(changed.values()))
    return spaces.Dict(OrderedDict((key, changed[input_name(key)]) for key in space.spaces))


def channels_last(raw: AnySpace, own: AnySpace, *, normalized: bool = False) -> frozenset[str] | None:
    """Compares an environment's observations with those that a policy takes.

    Element types may differ within floats and within integers: versions of environments changed those. Bounds
    may differ where the policy's are none: versions of gym and gymnasium wrote them for the same
    environments later.

    Args:
        raw: What the environment gives.
        own: The policy's own space; SB3 has put the channels of its images first.
        normalized: Whether VecNormalize is between them: SB3 declares images behind it as other numbers.

    Returns:
        Graph inputs whose raw images have their channels last, where the policy's come first; None where the
        policy cannot take what the environment gives.
    """
    theirs, ours = tensors(raw), tensors(own)
    if theirs.keys() != ours.keys():
        return None
    turned = {
        name for name, space in theirs.items() if space.shape != ours[name].shape and is_image_space(space)
    }
    for name, space in theirs.items():
        given = channels_first(space) if name in turned else space
        if not _takes(ours[name], given, normalized=normalized):
            return None
    return frozenset(turned)


def same_actions(environment: AnySpace, own: AnySpace) -> bool:
    """Whether the environment takes exactly what the policy gives, up to the precision of floats."""
    if isinstance(environment, spaces.Box) and isinstance(own, spaces.Box):
        pairs = ((environment.low, own.low), (environment.high, own.high))
        same_kind = _kind(environment) == _kind(own) and environment.shape == own.shape
        return same_kind and all(np.allclose(_infinite(a), _infinite(b)) for a, b in pairs)
    return type(environment) is type(own) and bool(environment == own)


def channels_first(space: AnySpace) -> AnySpace:
    """The space of the same images with their channels moved from the last axis to the first."""
    return _moved(space, -1, 0)


def channels_moved_last(space: AnySpace) -> AnySpace:
    """The space of the same images with their channels moved from the first axis to the last."""
    return _moved(space, 0, -1)


def _moved(space: AnySpace, source: int, target: int) -> AnySpace:
    assert isinstance(space, spaces.Box)  # noqa: S101  images are nothing else
    return like(space, np.moveaxis(space.low, source, target), np.moveaxis(space.high, source, target))


def like(space: spaces.Box[Any], low: Array, high: Array) -> AnySpace:
    """A Box of the same type with other bounds."""
    return spaces.Box(low, high, dtype=np.dtype(space.dtype).type)


def _takes(own: AnySpace, given: AnySpace, *, normalized: bool) -> bool:
    if not (isinstance(own, spaces.Box) and isinstance(given, spaces.Box)):
        return type(own) is type(given) and bool(own == given)
    if own.shape != given.shape:
        return False
    if normalized and is_image_space(given):
        return True
    return _kind(own) == _kind(given) and _bounds_fit(own, given)


def _bounds_fit(own: spaces.Box[Any], given: spaces.Box[Any]) -> bool:
    low, high = _infinite(own.low), _infinite(own.high)
    unbounded = low > high  # infinity that was cast to integers
    low_fits = np.isneginf(low) | unbounded | np.isclose(low, _infinite(given.low))
    high_fits = np.isposinf(high) | unbounded | np.isclose(high, _infinite(given.high))
    return bool(low_fits.all() and high_fits.all())


def _kind(space: spaces.Box[Any]) -> str:
    kind = np.dtype(space.dtype).kind
    return "integer" if kind in "iu" else kind


def _infinite(bound: Array) -> NDArray[np.float64]:
    """Bounds as float64; "unbounded" was written as infinity or as the largest float, both count as it."""
    values = bound.astype(np.float64)
    return np.where(np.abs(values) >= float(np.finfo(np.float32).max), np.copysign(math.inf, values), values)
