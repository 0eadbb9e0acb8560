"""The contract: what callers of the policy and readers of its graph rely on."""

from __future__ import annotations

from typing import cast

import numpy as np
from gymnasium import spaces

from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, DTypeName, NoiseSpec, ObservationSpec
from steersman.export.errors import ExportUsageError
from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.normalizer import Normalizer
from steersman.export.sources.source import Source

OUTPUTS = ("action", "sampled_action", "log_prob", "entropy", "distribution", "value")


def build_contract(saved: SavedPolicy, normalizer: Normalizer | None, source: Source) -> Contract:
    """The contract of an actor-critic policy.

    Raises:
        ExportUsageError: The names given do not fit the spaces.
    """
    observation = _observation(saved.observation_space, source.feature_names or ())
    action = _action(saved.action_space, source.action_names or ())
    return Contract(
        observations=(observation,),
        action=action,
        noise=_noise(action),
        distribution="categorical" if isinstance(action, DiscreteAction) else "gaussian",
        outputs=OUTPUTS,
        inside=_inside(normalizer, action),
    )


def _noise(action: DiscreteAction | BoxAction) -> NoiseSpec:
    if isinstance(action, DiscreteAction):
        return NoiseSpec(law="uniform", width=action.n)
    return NoiseSpec(law="normal", width=action.size)


def _inside(normalizer: Normalizer | None, action: DiscreteAction | BoxAction) -> tuple[str, ...]:
    steps = (
        [] if normalizer is None else [f"normalize in float64, clip to ±{normalizer.clip:g} (VecNormalize)"]
    )
    steps.append("flatten the observation")
    if isinstance(action, BoxAction):
        return (*steps, "clip the action to its bounds")
    steps.append("apply the mask before arg-max and softmax")
    return (*steps, f"count choices from {action.start}") if action.start else tuple(steps)


def _observation(space: spaces.Box, names: tuple[str, ...]) -> ObservationSpec:
    size = int(np.prod(space.shape))
    _check_names("--feature-names", names, size, "one for each element of the observation")
    return ObservationSpec(
        dtype=_dtype(space),
        shape=space.shape,
        low=_bounds(space.low),
        high=_bounds(space.high),
        feature_names=names,
    )


def _action(space: spaces.Discrete | spaces.Box, names: tuple[str, ...]) -> DiscreteAction | BoxAction:
    if isinstance(space, spaces.Discrete):
        _check_names("--action-names", names, int(space.n), "one for each choice")
        return DiscreteAction(n=int(space.n), start=int(space.start), names=names, dtype=_dtype(space))
    _check_names("--action-names", names, int(np.prod(space.shape)), "one for each element of the action")
    return BoxAction(
        shape=space.shape,
        low=tuple(map(float, space.low.ravel())),
        high=tuple(map(float, space.high.ravel())),
        names=names,
        dtype=_dtype(space),
    )


def _dtype(space: spaces.Space[object]) -> DTypeName:
    return cast("DTypeName", np.dtype(space.dtype).name)


def _bounds(bound: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> tuple[float, ...]:
    """One value for all where they are the same."""
    values = tuple(map(float, bound.ravel()))
    return values[:1] if len(set(values)) == 1 else values


def _check_names(option: str, names: tuple[str, ...], count: int, expected: str) -> None:
    if not names:
        return
    if len(names) != count:
        raise ExportUsageError(f"got {len(names)} names", where=option, expected=f"{count}, {expected}")
    if len(set(names)) != count:
        raise ExportUsageError("a name comes twice", where=option, expected="distinct names")
