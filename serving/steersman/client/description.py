"""What a policy is: its observations, actions and masks, and the versions that the server has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, get_args

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from steersman.client.tensors import WIRE_DTYPES, malformed
from steersman.v1 import policy_pb2 as pb

Mode = Literal["greedy", "sampled"]
"""How the action is taken from the policy's distribution."""

MODES: dict[str, pb.ActionMode.ValueType] = {
    mode: pb.ActionMode.Value(f"ACTION_MODE_{mode.upper()}") for mode in get_args(Mode)
}
_MODE_NAMES: dict[int, Mode] = {pb.ACTION_MODE_GREEDY: "greedy", pb.ACTION_MODE_SAMPLED: "sampled"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ActionKind(StrEnum):
    """Kind of action space."""

    DISCRETE = "discrete"
    MULTI_DISCRETE = "multi_discrete"
    MULTI_BINARY = "multi_binary"
    BOX = "box"
    UNKNOWN = "unknown"
    """A kind that a newer server knows and this client does not."""


class DistributionKind(StrEnum):
    """What the evidence "distribution" holds, per row."""

    CATEGORICAL = "categorical"
    """Masked log-probabilities, one per mask column."""
    GAUSSIAN = "gaussian"
    """Mean, then log standard deviation, of each action element."""
    SQUASHED_GAUSSIAN = "squashed_gaussian"
    """The same, before tanh and rescaling to the action's bounds."""
    Q_VALUES = "q_values"
    """Q-values, one per mask column."""
    DETERMINISTIC = "deterministic"
    """Nothing."""
    UNKNOWN = "unknown"
    """The server does not say, or it is a kind that a newer server knows and this client does not."""


class VersionState(StrEnum):
    """What a version is doing."""

    LOADING = "loading"
    """Not yet able to answer."""
    READY = "ready"
    """Answers."""
    FAILED = "failed"
    """Refused; `detail` says why."""
    UNLOADING = "unloading"
    """Finishes its episodes."""
    AVAILABLE = "available"
    """On disk, not asked for."""
    UNKNOWN = "unknown"
    """A state that a newer server knows and this client does not."""


_KINDS = {pb.ActionKind.Value(f"ACTION_KIND_{kind.name}"): kind for kind in ActionKind if kind != "unknown"}
_DISTRIBUTIONS = {
    pb.DistributionKind.Value(f"DISTRIBUTION_KIND_{kind.name}"): kind
    for kind in DistributionKind
    if kind != "unknown"
}
_STATES = {
    pb.VersionState.Value(f"VERSION_STATE_{state.name}"): state
    for state in VersionState
    if state != "unknown"
}


@dataclass(frozen=True, slots=True, eq=False)
class ObservationSpec:
    """One observation tensor.

    Attributes:
        key: Key in the Dict space; empty for a plain space.
        dtype: Type of the elements.
        shape: Shape of one row.
        low: Lowest value of each element, row-major; one entry where all have the same.
        high: Highest value, likewise; infinite where unbounded.
        feature_names: Name of each element, row-major; empty where there are too many to name.
        units: Unit of each element (SI symbols); empty where unknown.
    """

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    feature_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"observation[{self.key!r}]" if self.key else "observation"


@dataclass(frozen=True, slots=True)
class WrapperSpec:
    """What the training environment did and the policy does not: the caller must.

    Attributes:
        name: Such as `frame_stack`.
        arguments: What it was made with; numbers come as floats.
        instruction: What to do, in a sentence.
    """

    name: str
    arguments: Mapping[str, Any]
    instruction: str


@dataclass(frozen=True, slots=True, eq=False)
class ActionSpec:
    """The action space.

    Attributes:
        kind: Kind of space.
        dtype: Type of the elements.
        shape: Shape of one action; empty for Discrete.
        nvec: Number of choices per dimension, for discrete kinds.
        start: First value of Discrete; choice k of the mask is the action start + k.
        low: Lowest value of each element, row-major, for Box.
        high: Highest value, likewise.
        names: Discrete: name of each choice; otherwise of each element. May be empty.
    """

    kind: ActionKind
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    nvec: tuple[int, ...] = ()
    start: int = 0
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a policy.

    Attributes:
        version: A positive integer.
        state: What it is doing.
        detail: Why it failed, for people.
        digest: SHA-256 of the manifest, lower-case hex.
        variant: Variant in use: fp32 or int8.
        lanes: Lanes and arms that it runs in.
        created: When the bundle was written, UTC; None if unknown.
        labels: Labels that it carries, such as "champion"; `version` takes them, too.
    """

    version: int
    state: VersionState
    detail: str = ""
    digest: str = ""
    variant: str = ""
    lanes: tuple[str, ...] = ()
    created: datetime | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """A policy and its versions, newest first."""

    policy: str
    versions: tuple[PolicyVersion, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PolicyDescription:
    """All that a caller has to know of a policy.

    Attributes:
        policy: Its name.
        observations: One entry for a plain space, one per key for a Dict space.
        action: The action space.
        mask_segments: Width of each segment of the action mask; empty where masks do not apply (Box).
        recurrent: True when it keeps recurrent state, so that an episode must be carried.
        modes: Modes that it can answer.
        algorithm: SB3's name of the algorithm; empty if unknown.
        environment: Id of the environment that it was trained in; empty if unknown.
        versions: Newest first.
        distribution: What the evidence "distribution" holds.
        contract_digest: SHA-256 of the specs, lower-case hex: whoever keeps a description can tell by it
            whether it still holds. Empty if unknown.
        wrappers: What callers have to do to observations or actions themselves.
    """

    policy: str
    observations: tuple[ObservationSpec, ...]
    action: ActionSpec
    mask_segments: tuple[int, ...] = ()
    recurrent: bool = False
    modes: tuple[Mode, ...] = ()
    algorithm: str = ""
    environment: str = ""
    versions: tuple[PolicyVersion, ...] = ()
    distribution: DistributionKind = DistributionKind.UNKNOWN
    contract_digest: str = ""
    wrappers: tuple[WrapperSpec, ...] = ()

    @property
    def is_dict(self) -> bool:
        """Whether an observation is a mapping."""
        return len(self.observations) != 1 or bool(self.observations[0].key)

    @property
    def mask_width(self) -> int:
        """Width of an action mask; 0 where masks do not apply."""
        return sum(self.mask_segments)


def read_description(message: pb.PolicyDescription) -> PolicyDescription:
    """The server's description.

    Raises:
        ClientError: It breaks the wire contract.
    """
    return PolicyDescription(
        policy=message.policy,
        observations=tuple(_read_observation(spec) for spec in message.observations),
        action=_read_action(message.action),
        mask_segments=tuple(message.action_mask.segments),
        recurrent=message.recurrent,
        modes=tuple(_MODE_NAMES[mode] for mode in message.modes if mode in _MODE_NAMES),
        algorithm=message.algorithm,
        environment=message.environment,
        versions=_read_versions(message.versions),
        distribution=_DISTRIBUTIONS.get(message.distribution, DistributionKind.UNKNOWN),
        contract_digest=message.contract_digest,
        wrappers=tuple(
            WrapperSpec(item.name, MessageToDict(item.arguments), item.instruction)
            for item in message.wrappers
        ),
    )


def read_summaries(message: pb.ListPoliciesResponse) -> tuple[PolicySummary, ...]:
    """The server's list."""
    return tuple(PolicySummary(item.policy, _read_versions(item.versions)) for item in message.policies)


def _read_observation(spec: pb.ObservationSpec) -> ObservationSpec:
    return ObservationSpec(
        key=spec.key,
        dtype=_read_dtype(spec.dtype),
        shape=tuple(spec.shape),
        low=np.array(spec.low),
        high=np.array(spec.high),
        feature_names=tuple(spec.feature_names),
        units=tuple(spec.units),
    )


def _read_action(spec: pb.ActionSpec) -> ActionSpec:
    return ActionSpec(
        kind=_KINDS.get(spec.kind, ActionKind.UNKNOWN),
        dtype=_read_dtype(spec.dtype),
        shape=tuple(spec.shape),
        nvec=tuple(spec.nvec),
        start=spec.start,
        low=np.array(spec.low) if spec.low else None,
        high=np.array(spec.high) if spec.high else None,
        names=tuple(spec.names),
    )


def _read_dtype(code: pb.DType.ValueType) -> np.dtype[Any]:
    if code not in WIRE_DTYPES:
        raise malformed(f"the unknown dtype {code}")
    return WIRE_DTYPES[code]


def _read_versions(versions: Sequence[pb.PolicyVersion]) -> tuple[PolicyVersion, ...]:
    return tuple(
        PolicyVersion(
            version=item.version,
            state=_STATES.get(item.state, VersionState.UNKNOWN),
            detail=item.detail,
            digest=item.digest,
            variant=item.variant,
            lanes=tuple(item.lanes),
            created=time_from_nanos(item.created_unix_nanos),
            labels=tuple(item.labels),
        )
        for item in versions
    )


def time_from_nanos(nanos: int) -> datetime | None:
    """Unix time in nanoseconds as UTC; None for 0, which means unknown."""
    return _EPOCH + timedelta(microseconds=nanos // 1000) if nanos else None


def nanos_from_time(time: datetime | None) -> int:
    """The reverse, exact to the microsecond; a time without a zone is local, as everywhere in Python."""
    return 0 if time is None else (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
