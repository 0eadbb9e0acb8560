"""From observations, masks and episodes to an `ActRequest`; what cannot be right is refused here, by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from numpy.typing import ArrayLike, NDArray

from steersman.client.description import MODES, Mode, ObservationSpec, PolicyDescription
from steersman.client.errors import InvalidRequestError
from steersman.client.tensors import BOOL, CODES, cast
from steersman.v1 import policy_pb2 as pb

Observation = ArrayLike | Mapping[str, ArrayLike]
"""Anything that numpy takes; for Dict spaces a mapping of such."""

Evidence = Literal["value", "entropy", "distribution"]
"""What may be asked for beside the action."""

_EVIDENCE: dict[str, pb.Evidence.ValueType] = {
    item: pb.Evidence.Value(f"EVIDENCE_{item.upper()}") for item in get_args(Evidence)
}


Version = int | str
"""A version by its number, or by a label that it carries."""


@dataclass(slots=True)
class EpisodeState:
    """What is carried from one step of an episode to the next. The client moves it on; callers only pass it.

    Attributes:
        id: Name of the episode, up to 256 bytes of UTF-8. Decides its lane and arm.
        step: Steps decided so far.
        token: The server's own state, opaque; empty at the first step, or where it keeps none.
    """

    id: str
    step: int = 0
    token: bytes = field(default=b"", repr=False)

    def advance(self, token: bytes) -> None:
        """One step was decided, and the server gave this token."""
        self.step += 1
        self.token = token


@dataclass(frozen=True, slots=True)
class Ask:
    """How an action is wanted, for all rows of a call.

    Attributes:
        mode: "greedy" takes the most probable action or the mean, "sampled" draws from the distribution.
        version: A version, or the label of one, to be asked instead of the one that routing would choose.
        evidence: What is wanted beside the action: any of "value", "entropy", "distribution".
    """

    mode: Mode = "greedy"
    version: Version | None = None
    evidence: Sequence[Evidence] = ()


Episodes = Sequence[str] | Sequence[EpisodeState] | Sequence[str | EpisodeState]
"""The episode of each row: all names, or all states."""


def start_request(description: PolicyDescription, ask: Ask) -> pb.ActRequest:
    """A request without rows.

    Raises:
        InvalidRequestError: The mode or the evidence is unknown.
    """
    request = pb.ActRequest(policy=description.policy)
    if isinstance(ask.version, str):
        request.version_label = ask.version
    elif ask.version is not None:
        request.version = ask.version
    if ask.mode not in MODES:
        raise InvalidRequestError(f"mode is {ask.mode!r}; expected one of {', '.join(MODES)}", reason="mode")
    request.mode = MODES[ask.mode]
    for item in ask.evidence:
        if item not in _EVIDENCE:
            known = ", ".join(_EVIDENCE)
            raise InvalidRequestError(f"evidence has {item!r}; expected any of {known}", reason="evidence")
        request.evidence.append(_EVIDENCE[item])
    return request


def add_observation(request: pb.ActRequest, description: PolicyDescription, value: Observation) -> None:
    """One row."""
    for spec, part in _parts(description, value):
        array = cast(part, spec.dtype, spec.label)
        if array.shape != spec.shape:
            raise _wrong_shape(description, spec, array.shape, "act_batch takes several rows at once")
        _fill(_tensor_of(request, spec), array, (1, *spec.shape))


def add_observations(request: pb.ActRequest, description: PolicyDescription, value: Observation) -> int:
    """N rows, N in the first axis; gives N."""
    counts: dict[str, int] = {}
    for spec, part in _parts(description, value):
        array = cast(part, spec.dtype, spec.label)
        if array.shape[1:] != spec.shape or array.ndim == 0:
            raise _wrong_shape(description, spec, array.shape, "act takes one row without it", "rows")
        counts[spec.label] = len(array)
        _fill(_tensor_of(request, spec), array, array.shape)
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise InvalidRequestError(f"the tensors differ in their rows: {found}", reason="row_count")
    rows = next(iter(counts.values()))
    if rows == 0:
        raise InvalidRequestError("observations have no rows; expected at least 1", reason="row_count")
    return rows


def _parts(description: PolicyDescription, value: Observation) -> list[tuple[ObservationSpec, ArrayLike]]:
    specs = description.observations
    if not description.is_dict:
        if isinstance(value, Mapping):
            raise InvalidRequestError(
                f"observation is a mapping of {_names(value)}; {description.policy!r} expects one array",
                reason="observation_keys",
            )
        return [(specs[0], value)]
    keys = {spec.key for spec in specs}
    if not isinstance(value, Mapping) or value.keys() != keys:
        found = f"keys {_names(value)}" if isinstance(value, Mapping) else "one array"
        raise InvalidRequestError(
            f"observation has {found}; {description.policy!r} expects a mapping with the keys {_names(keys)}",
            reason="observation_keys",
        )
    return [(spec, value[spec.key]) for spec in specs]


def _names(keys: Collection[str]) -> str:
    return ", ".join(sorted(map(str, keys))) or "(none)"


def _wrong_shape(
    description: PolicyDescription, spec: ObservationSpec, found: tuple[int, ...], hint: str, *axis: str
) -> InvalidRequestError:
    expected = f"[{', '.join([*axis, *map(str, spec.shape)])}]"
    return InvalidRequestError(
        f"{spec.label} has shape {list(found)}; {description.policy!r} expects {expected} {spec.dtype.name} "
        f"({hint})",
        reason="observation_shape",
    )


def _tensor_of(request: pb.ActRequest, spec: ObservationSpec) -> pb.Tensor:
    return request.observation_dict[spec.key] if spec.key else request.observation


def _fill(tensor: pb.Tensor, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    tensor.dtype = CODES[array.dtype]
    tensor.shape.extend(shape)
    tensor.data = array.tobytes()


def add_mask(request: pb.ActRequest, description: PolicyDescription, mask: ArrayLike, rows: int) -> None:
    """The action mask: [mask width] for all rows, or [rows, mask width]."""
    width = description.mask_width
    if width == 0:
        raise InvalidRequestError(
            f"an action mask is given, but {description.policy!r} has continuous actions, which take none",
            reason="action_mask_not_applicable",
        )
    array = cast(mask, BOOL, "action mask")
    if array.shape not in {(width,), (rows, width)}:
        each = " + ".join(map(str, description.mask_segments))
        expected = f"[{width}]" if rows == 1 else f"[{width}] or [{rows}, {width}]"
        raise InvalidRequestError(
            f"action mask has shape {list(array.shape)}; {description.policy!r} expects {expected}, "
            f"one entry per choice ({each})",
            reason="action_mask_shape",
        )
    _fill(request.action_mask, array, (rows, width))
    if array.ndim == 1:
        request.action_mask.data *= rows


def add_episodes(request: pb.ActRequest, episodes: Episodes, rows: int) -> None:
    """The episode of each row: names, or states with their steps and tokens."""
    if isinstance(episodes, str) or len(episodes) != rows:
        found = "one name" if isinstance(episodes, str) else f"{len(episodes)} entries"
        raise InvalidRequestError(
            f"episode_ids has {found}; expected {rows}, one per row", reason="episode_ids"
        )
    states = [episode for episode in episodes if isinstance(episode, EpisodeState)]
    if states and len(states) != rows:
        raise InvalidRequestError(
            "episode_ids mixes names and states; expected all of one kind", reason="episode_ids"
        )
    request.episode_ids.extend(e.id if isinstance(e, EpisodeState) else e for e in episodes)
    if states:
        request.steps.extend(state.step for state in states)
        request.episode_starts.extend(state.step == 0 for state in states)
        if any(state.token for state in states):
            request.episode_tokens.extend(state.token for state in states)
