"""Between what the server tells clients of a policy and the contract that safety is compiled for."""

from __future__ import annotations

from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    Contract,
    DiscreteAction,
    Distribution,
    DTypeName,
    MultiBinaryAction,
    MultiDiscreteAction,
    ObservationSpec,
    bounds,
)
from steersman.client import description as described
from steersman.client.description import ActionKind, DistributionKind, PolicyDescription
from steersman.client.errors import NotSupportedError
from steersman.client.tensors import wire_dtype


def contract_of(description: PolicyDescription) -> Contract:
    """The contract of a policy that a server has described: all of it that callers can tell.

    Raises:
        NotSupportedError: The policy is of a kind that only newer clients know.
    """
    kinds: dict[DistributionKind, Distribution] = {
        DistributionKind.CATEGORICAL: "categorical",
        DistributionKind.GAUSSIAN: "gaussian",
        DistributionKind.SQUASHED_GAUSSIAN: "squashed_gaussian",
        DistributionKind.Q_VALUES: "q_values",
    }
    distribution: Distribution = kinds.get(description.distribution, "deterministic")
    return Contract(
        observations=tuple(map(_observation, description.observations)),
        action=_action(description),
        distribution=distribution,
        outputs=("action",) if distribution == "deterministic" else ("action", "distribution"),
    )


def _observation(spec: described.ObservationSpec) -> ObservationSpec:
    return ObservationSpec(
        key=spec.key,
        dtype=_dtype(spec.dtype.name),
        shape=spec.shape,
        low=tuple(spec.low.tolist()),
        high=tuple(spec.high.tolist()),
        feature_names=spec.feature_names,
        units=spec.units,
    )


def _action(description: PolicyDescription) -> ActionSpec:
    spec = description.action
    dtype, names = _dtype(spec.dtype.name), spec.names
    match spec.kind:
        case ActionKind.DISCRETE:
            return DiscreteAction(n=spec.nvec[0], start=spec.start, names=names, dtype=dtype)
        case ActionKind.MULTI_DISCRETE:
            return MultiDiscreteAction(nvec=spec.nvec, names=names, dtype=dtype)
        case ActionKind.MULTI_BINARY:
            return MultiBinaryAction(n=len(spec.nvec), names=names, dtype=dtype)
        case ActionKind.BOX if spec.low is not None and spec.high is not None:
            low, high = tuple(spec.low.tolist()), tuple(spec.high.tolist())
            return BoxAction(shape=spec.shape, low=low, high=high, names=names, dtype=dtype)
        case _:
            message = f"policy {description.policy!r} has actions of a kind that this client cannot check"
            raise NotSupportedError(message, reason="action_kind")


def _dtype(name: str) -> DTypeName:
    return name  # type: ignore[return-value]  # the wire's types are the contract's; pydantic checks it


def description_of(policy: str, contract: Contract) -> PolicyDescription:
    """What a server would tell of a policy with this contract, but for its versions."""
    return PolicyDescription(
        policy=policy,
        observations=tuple(
            described.ObservationSpec(
                key=spec.key,
                dtype=wire_dtype(spec.dtype),
                shape=spec.shape,
                low=bounds(spec)[0].ravel(),
                high=bounds(spec)[1].ravel(),
                feature_names=spec.feature_names,
                units=spec.units,
            )
            for spec in contract.observations
        ),
        action=_described_action(contract.action),
        mask_segments=contract.action.mask_segments,
        recurrent=bool(contract.state),
        modes=contract.modes,
        distribution=DistributionKind(contract.distribution),
    )


def _described_action(action: ActionSpec) -> described.ActionSpec:
    low, high = bounds(action) if isinstance(action, BoxAction) else (None, None)
    return described.ActionSpec(
        kind=ActionKind(action.kind),
        dtype=wire_dtype(action.dtype),
        shape=action.shape,
        nvec=action.mask_segments,
        start=action.start if isinstance(action, DiscreteAction) else 0,
        low=None if low is None else low.ravel(),
        high=None if high is None else high.ravel(),
        names=action.names,
    )
