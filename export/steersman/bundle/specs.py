"""What a policy observes and what it may do, as data.

These specs are the part of the manifest that callers depend on: the `contract_digest` is taken over them,
all versions of a policy that serve together share them, and `GetPolicy` answers with them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

DTypeName = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]
"""Names of element types: numpy's own."""

Shape = tuple[Annotated[int, Field(ge=0)], ...]


class Spec(BaseModel):
    """Base of everything in a manifest: immutable, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class ObservationSpec(Spec):
    """One observation tensor, as the environment gives it.

    Attributes:
        key: Key in a Dict space; empty for a plain space.
        dtype: Type of the elements.
        shape: Shape of one observation.
        low: Lowest value of each element, row-major, or one value for all; infinite where unbounded.
        high: Highest value, likewise.
        feature_names: Name of each element, row-major; empty where there are too many to name.
        units: Unit of each element (SI symbols); empty where unknown.
    """

    key: str = ""
    dtype: DTypeName
    shape: Shape
    low: tuple[float, ...]
    high: tuple[float, ...]
    feature_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements of one observation."""
        return math.prod(self.shape)

    @property
    def input_name(self) -> str:
        """Name of the graph input that takes this tensor."""
        return f"obs/{self.key}" if self.key else "obs"

    @model_validator(mode="after")
    def _lengths_fit(self) -> ObservationSpec:
        for name, allowed in (
            ("low", {1, self.size}),
            ("high", {1, self.size}),
            ("feature_names", {0, self.size}),
            ("units", {0, self.size}),
        ):
            found = len(getattr(self, name))
            if found not in allowed:
                msg = f"{name} has {found} entries, expected one of {sorted(allowed)}"
                raise ValueError(msg)
        return self


class DiscreteAction(Spec):
    """One choice out of `n`; choice k is the action `start + k`."""

    kind: Literal["discrete"] = "discrete"
    n: Annotated[int, Field(ge=1)]
    start: int = 0
    names: tuple[str, ...] = ()
    dtype: DTypeName = "int64"

    @property
    def shape(self) -> Shape:
        """Shape of one action: a scalar."""
        return ()

    @property
    def mask_segments(self) -> tuple[int, ...]:
        """Width of each mask segment."""
        return (self.n,)


class MultiDiscreteAction(Spec):
    """Several choices at once, dimension i out of `nvec[i]`, counted from 0."""

    kind: Literal["multi_discrete"] = "multi_discrete"
    nvec: tuple[Annotated[int, Field(ge=1)], ...]
    names: tuple[str, ...] = ()
    dtype: DTypeName = "int64"

    @property
    def shape(self) -> Shape:
        """Shape of one action."""
        return (len(self.nvec),)

    @property
    def mask_segments(self) -> tuple[int, ...]:
        """Width of each mask segment."""
        return self.nvec


class MultiBinaryAction(Spec):
    """Several switches at once, each 0 or 1."""

    kind: Literal["multi_binary"] = "multi_binary"
    n: Annotated[int, Field(ge=1)]
    names: tuple[str, ...] = ()
    dtype: DTypeName = "int8"

    @property
    def shape(self) -> Shape:
        """Shape of one action."""
        return (self.n,)

    @property
    def mask_segments(self) -> tuple[int, ...]:
        """Width of each mask segment: a pair [off, on] per switch, as sb3-contrib has it."""
        return (2,) * self.n


class BoxAction(Spec):
    """Continuous actions within bounds; masks do not apply."""

    kind: Literal["box"] = "box"
    shape: Shape
    low: tuple[float, ...]
    high: tuple[float, ...]
    names: tuple[str, ...] = ()
    dtype: DTypeName = "float32"

    @property
    def mask_segments(self) -> tuple[int, ...]:
        """No segments."""
        return ()

    @property
    def size(self) -> int:
        """Number of elements of one action."""
        return math.prod(self.shape)

    @model_validator(mode="after")
    def _lengths_fit(self) -> BoxAction:
        if len(self.low) != self.size or len(self.high) != self.size:
            msg = f"low and high need {self.size} entries each"
            raise ValueError(msg)
        return self


ActionSpec = Annotated[
    DiscreteAction | MultiDiscreteAction | MultiBinaryAction | BoxAction, Field(discriminator="kind")
]


class StateSpec(Spec):
    """One recurrent state tensor: graph input `state/<name>`, output `next_state/<name>`, zero at first.

    A recurrent graph also takes `episode_start` (bool [N]): true in a row means that its state is taken as
    zero, whatever it holds.
    """

    name: str
    dtype: DTypeName = "float32"
    shape: Shape


class NoiseSpec(Spec):
    """The graph input `noise` [N, width] that makes sampling a pure function.

    `uniform`: float32 in the open interval (0, 1), one column per mask column (Gumbel-max).
    `normal`: float32 standard normals, one column per action element; with gSDE (state-dependent
    exploration) one per entry of the exploration matrix [latent features, action elements], row-major.

    Attributes:
        law: Distribution of the numbers.
        width: Columns.
        scope: `step` for fresh numbers at every decision; `episode` where training kept them for longer
            (gSDE). Fresh numbers are right in law for every single decision; kept ones also give the
            smooth exploration over time.
    """

    law: Literal["uniform", "normal"]
    width: Annotated[int, Field(ge=1)]
    scope: Literal["step", "episode"] = "step"


class WrapperSpec(Spec):
    """A wrapper of the training environment that stays outside the graph: the caller applies it.

    Attributes:
        name: Such as `frame_stack`, `time_feature` or `history`.
        arguments: What it was made with, such as `{"frames": 4}`.
        instruction: What the caller has to do, in a sentence.
    """

    name: str
    arguments: dict[str, JsonValue] = {}
    instruction: str


Mode = Literal["greedy", "sampled"]
Distribution = Literal["categorical", "gaussian", "squashed_gaussian", "q_values", "deterministic"]


class Contract(Spec):
    """Everything that a caller of the policy and a reader of the graph rely on.

    Attributes:
        observations: One tensor for a plain space, one per key for a Dict space.
        action: The action space.
        state: Recurrent state, empty for most policies.
        noise: What sampling needs; None where the algorithm has no distribution.
        distribution: Says what the output `distribution` holds. `categorical`: masked log-probabilities,
            one column per mask column. `gaussian`: mean, then log standard deviation, of each action
            element. `squashed_gaussian`: the same before tanh and rescaling to the action's bounds.
            `q_values`: masked Q-values, one per mask column. `deterministic`: there is no such output.
        outputs: Names of the graph's outputs.
        inside: What the graph does beside the networks, in order, for people.
        wrappers: What the training environment did to observations or actions that the graph does not:
            callers must.
    """

    observations: tuple[ObservationSpec, ...]
    action: ActionSpec
    state: tuple[StateSpec, ...] = ()
    noise: NoiseSpec | None = None
    distribution: Distribution
    outputs: tuple[str, ...]
    inside: tuple[str, ...] = ()
    wrappers: tuple[WrapperSpec, ...] = ()

    @model_validator(mode="after")
    def _outputs_suffice(self) -> Contract:
        needed = {"action"} if self.distribution == "deterministic" else {"action", "distribution"}
        if missing := sorted(needed - set(self.outputs)):
            msg = f"outputs lack {', '.join(missing)}"
            raise ValueError(msg)
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in the order in which the graph takes them."""
        names = [spec.input_name for spec in self.observations]
        names += ["action_mask"] if self.mask_width else []
        names += ["noise"] if self.noise else []
        names += [f"state/{spec.name}" for spec in self.state]
        return (*names, "episode_start") if self.state else tuple(names)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Modes that the policy can answer."""
        return ("greedy", "sampled") if "sampled_action" in self.outputs else ("greedy",)

    @property
    def mask_width(self) -> int:
        """Number of mask columns; 0 where masks do not apply."""
        return sum(self.action.mask_segments)


def specs_difference(one: Contract, other: Contract) -> str | None:
    """The first thing by which callers could tell one contract from the other; None where there is nothing.

    Observations, action and mask count. Recurrent state, noise and evidence do not: callers carry them
    unseen. Names and units count where both contracts give them.

    Example: "observation obs: shape (4,) and (6,)"
    """
    ours = {spec.key: spec for spec in one.observations}
    theirs = {spec.key: spec for spec in other.observations}
    if ours.keys() != theirs.keys():
        return f"observations {sorted(ours)} and {sorted(theirs)}"
    pairs = [(f"observation {ours[key].input_name}", ours[key], theirs[key]) for key in ours]
    for what, left, right in (*pairs, ("action", one.action, other.action)):
        if found := _field_difference(left, right):
            return f"{what}: {found}"
    return None


def _field_difference(one: Spec, other: Spec) -> str | None:
    left, right = one.model_dump(), other.model_dump()
    for name in dict.fromkeys((*left, *right)):
        ours, theirs = left.get(name), right.get(name)
        unsaid = name in {"names", "feature_names", "units"} and not (ours and theirs)
        if ours != theirs and not unsaid:
            return f"{name} {_brief(ours)} and {_brief(theirs)}"
    return None


def _brief(value: object, most: int = 60) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def feature_names(contract: Contract) -> tuple[str, ...]:
    """Name of every observation element, all tensors one after the other; made up where not declared."""
    return tuple(
        name for spec in contract.observations for name in (spec.feature_names or _made_up_names(spec))
    )


def _made_up_names(spec: ObservationSpec) -> tuple[str, ...]:
    stem = spec.key or "obs"
    return tuple(f"{stem}_{i}" for i in range(spec.size))


def bounds(spec: ObservationSpec | BoxAction) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of every element, each of the spec's shape."""
    low = np.broadcast_to(np.asarray(spec.low, np.float64), (spec.size,)).reshape(spec.shape)
    high = np.broadcast_to(np.asarray(spec.high, np.float64), (spec.size,)).reshape(spec.shape)
    return low, high
