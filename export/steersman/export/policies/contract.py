"""The contract: what callers of the policy and readers of its graph rely on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    Contract,
    DiscreteAction,
    DTypeName,
    MultiBinaryAction,
    MultiDiscreteAction,
    ObservationSpec,
    WrapperSpec,
)
from steersman.export.errors import ExportUsageError, UnsupportedError
from steersman.export.policies.boxes import delivered_type
from steersman.export.policies.family import Traits
from steersman.export.policies.preparation import Preparation
from steersman.export.reading.spaces import AnySpace


@dataclass(frozen=True, slots=True)
class Names:
    """Names that the user gave; empty where none.

    Attributes:
        features: One for each element of the observation, all tensors one after the other.
        actions: One for each choice of a Discrete space, else for each element of the action.
    """

    features: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()


def observation_specs(space: AnySpace, names: tuple[str, ...] = ()) -> tuple[ObservationSpec, ...]:
    """One spec for a plain space, one per key for a Dict, in its order.

    Raises:
        ExportUsageError: The names do not fit.
        UnsupportedError: SB3 has no such observations.
    """
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    specs = [_observation(key, part) for key, part in parts.items()]
    _check_names(
        "--feature-names", names, sum(s.size for s in specs), "one for each element of the observation"
    )
    named, first = [], 0
    for spec in specs:
        own = names[first : first + spec.size]
        named.append(spec.model_copy(update={"feature_names": own}))
        first += spec.size
    return tuple(named)


def action_spec(space: AnySpace, names: tuple[str, ...] = ()) -> ActionSpec:
    """The spec of an action space.

    Raises:
        ExportUsageError: The names do not fit.
        UnsupportedError: SB3 has no such actions.
    """
    build = _ACTIONS.get(type(space))
    if build is None:
        raise UnsupportedError(
            f"{space} actions are not covered", expected="Discrete, MultiDiscrete, MultiBinary or Box"
        )
    spec: ActionSpec = build(space)
    count = spec.n if isinstance(spec, DiscreteAction) else int(np.prod(spec.shape))
    _check_names("--action-names", names, count, "one for each choice or element of the action")
    return spec.model_copy(update={"names": names})


def build_contract(
    observations: tuple[ObservationSpec, ...],
    action: ActionSpec,
    traits: Traits,
    preparation: Preparation,
    wrappers: Sequence[WrapperSpec] = (),
) -> Contract:
    """The whole contract."""
    return Contract(
        observations=observations,
        action=action,
        state=traits.state,
        noise=traits.noise,
        distribution=traits.distribution,
        outputs=traits.outputs,
        inside=(*_before(preparation), *traits.inside),
        wrappers=tuple(wrappers),
    )


def _before(preparation: Preparation) -> list[str]:
    steps = []
    if preparation.keep is not None:
        steps.append(f"set {int((preparation.keep == 0).sum())} elements to zero (velocity mask)")
    if preparation.normalizer is not None:
        steps.append(f"normalize in float64, clip to ±{preparation.normalizer.clip:g} (VecNormalize)")
    if preparation.channels_last:
        steps.append("put the images' channels first")
    return steps


def _observation(key: str, space: AnySpace) -> ObservationSpec:
    low, high = _limits(space)
    shape = space.shape or ()
    return ObservationSpec(key=key, dtype=_dtype(space), shape=shape, low=_bounds(low), high=_bounds(high))


def _limits(space: AnySpace) -> tuple[NDArray[Any], NDArray[Any]]:
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.Discrete):
        return np.array([space.start]), np.array([space.start + space.n - 1])
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(getattr(space, "start", np.zeros_like(space.nvec)))
        return start, start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return np.array([0]), np.array([1])
    raise UnsupportedError(
        f"{space} observations are not covered",
        expected="Box, Discrete, MultiDiscrete, MultiBinary or a Dict of them",
    )


def _discrete(space: spaces.Discrete[Any]) -> ActionSpec:
    return DiscreteAction(n=int(space.n), start=int(space.start), dtype=_dtype(space))


def _multi_discrete(space: spaces.MultiDiscrete[Any]) -> ActionSpec:
    """SB3 counts from 0 and never adds `start`; it cannot build policies of a `nvec` with two axes."""
    if np.any(getattr(space, "start", 0)) or space.nvec.ndim != 1:
        raise UnsupportedError(
            f"{space} actions are not covered", expected="MultiDiscrete with one axis that counts from 0"
        )
    return MultiDiscreteAction(nvec=tuple(map(int, space.nvec)), dtype=_dtype(space))


def _multi_binary(space: spaces.MultiBinary) -> ActionSpec:
    return MultiBinaryAction(n=int(np.prod(space.shape)), dtype=_dtype(space))


def _box(space: spaces.Box[Any]) -> ActionSpec:
    return BoxAction(
        shape=space.shape,
        low=tuple(map(float, space.low.ravel())),
        high=tuple(map(float, space.high.ravel())),
        dtype=cast("DTypeName", delivered_type(space).name),
    )


_ACTIONS: dict[type[Any], Any] = {
    spaces.Box: _box,
    spaces.Discrete: _discrete,
    spaces.MultiBinary: _multi_binary,
    spaces.MultiDiscrete: _multi_discrete,
}


def _dtype(space: AnySpace) -> DTypeName:
    return cast("DTypeName", np.dtype(space.dtype).name)


def _bounds(bound: NDArray[Any]) -> tuple[float, ...]:
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
