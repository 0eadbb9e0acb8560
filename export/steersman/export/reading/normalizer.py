"""The statistics that SB3's VecNormalize put before the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from steersman.export.errors import DamagedFileError, ExportUsageError, UnsafePickleError, UnsupportedError
from steersman.export.observations import Observations, input_name
from steersman.export.reading.machine import MOST_BYTES
from steersman.export.reading.plain import as_array
from steersman.export.reading.record import Record, named
from steersman.export.reading.spaces import AnySpace
from steersman.export.reading.trusted import TRUST_HINT, TrustedReading
from steersman.export.reading.unpickle import is_pickle, read_pickle

Array = NDArray[Any]
_MODULE = "stable_baselines3.common."
CLASS = f"{_MODULE}vec_env.vec_normalize.VecNormalize"
RUNNING = f"{_MODULE}running_mean_std.RunningMeanStd"
_EXPECTED = "a file that VecNormalize.save wrote"
CLIP, EPSILON = 10.0, 1e-8
"""VecNormalize's own defaults, for files that hold its running statistics and nothing else."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one observation tensor, in its shape, float64.

    Attributes:
        mean: Running mean.
        var: Running variance.
        epsilon: Added to the variance.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    epsilon: float

    @property
    def scale(self) -> NDArray[np.float64]:
        """What is divided by."""
        return np.asarray(np.sqrt(self.var + self.epsilon))


@dataclass(frozen=True, slots=True)
class Normalizer:
    """`clip((x - mean) / sqrt(var + epsilon))` in float64, then float32: `VecNormalize.normalize_obs`.

    Attributes:
        statistics: By graph input name; tensors that are not here pass as they are.
        clip: Largest absolute value that comes out.
    """

    statistics: Mapping[str, Statistics]
    clip: float

    def __call__(self, observations: Observations) -> dict[str, Array]:
        """Normalizes [N, *shape] of each tensor."""
        normalized = dict(observations)
        for name, known in self.statistics.items():
            standard = (observations[name] - known.mean) / known.scale
            normalized[name] = np.clip(standard, -self.clip, self.clip).astype(np.float32)
        return normalized


def load_normalizer(path: Path, space: AnySpace, trusted: TrustedReading | None = None) -> Normalizer | None:
    """Reads a file that `VecNormalize.save` wrote; None when it leaves observations as they are.

    The running statistics alone, as some people pickle them, are taken with VecNormalize's default settings.

    Args:
        path: The file.
        space: Observations before they are normalized.
        trusted: Reads it for real where it names what is not on the list, such as a subclass of the user's;
            None refuses that.

    Raises:
        ExportUsageError: It cannot be read, holds something else, or is of observations of another shape.
        UnsupportedError: It is of a class that normalizes in a way of its own.
        UnsafePickleError: It names what is not on the list.
        DamagedFileError: It is not a whole pickle.
    """
    normalizer = _normalizer(_state(_content(path, trusted), path), path)
    if normalizer is not None:
        _check_shapes(normalizer, space, path)
    return normalizer


def _content(path: Path, trusted: TrustedReading | None) -> object:
    data = _read_bytes(path)
    if not is_pickle(data):
        raise ExportUsageError("this is not a pickle", where=str(path), expected=_EXPECTED)
    try:
        return read_pickle(data, str(path), TRUST_HINT)
    except UnsafePickleError:
        if trusted is None:
            raise
        return trusted.read(data, str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ExportUsageError(
            f"it cannot be read: {error.strerror}", where=str(path), expected=_EXPECTED
        ) from error
    if len(data) > MOST_BYTES:
        raise ExportUsageError(f"it has more than {MOST_BYTES:,} bytes", where=str(path), expected=_EXPECTED)
    return data


def _state(content: object, path: Path) -> Mapping[str, Any]:
    if isinstance(content, VecNormalize):
        return _own_state(content, path)
    if named(content) == CLASS or (isinstance(content, Mapping) and "obs_rms" in content):
        return _attributes(content)
    if named(content) == RUNNING or isinstance(content, RunningMeanStd):
        return {"obs_rms": content}
    raise ExportUsageError(
        f"it holds {named(content) or type(content).__name__}",
        where=str(path),
        expected="VecNormalize statistics",
    )


def _own_state(envs: VecNormalize, path: Path) -> Mapping[str, Any]:
    """The state of a real VecNormalize, which trusted reading makes; its statistics mean what SB3's do."""
    for method in ("normalize_obs", "_normalize_obs"):
        if getattr(type(envs), method) is not getattr(VecNormalize, method):
            raise UnsupportedError(
                f"{type(envs).__name__} has a {method} of its own, which export cannot know",
                where=str(path),
                expected="observations that SB3's VecNormalize normalizes",
                hint="Copy obs_rms, clip_obs and epsilon to a VecNormalize of SB3's, and save that.",
            )
    return vars(envs)


def _attributes(value: Any) -> Mapping[str, Any]:
    """Of what a pickle describes, or of what was made of it."""
    if isinstance(value, Record):
        return value.state
    return value if isinstance(value, Mapping) else vars(value)


def _normalizer(state: Mapping[str, Any], path: Path) -> Normalizer | None:
    if not state.get("norm_obs", True):
        return None
    try:
        epsilon, saved = float(state.get("epsilon", EPSILON)), state["obs_rms"]
        by_key = saved if isinstance(saved, Mapping) else {"": saved}
        keys = state.get("norm_obs_keys") or list(by_key)
        statistics = {input_name(key): _statistics(by_key[key], epsilon) for key in keys}
        return Normalizer(statistics, float(state.get("clip_obs", CLIP))) if statistics else None
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            "it holds no running mean and variance of observations", where=str(path)
        ) from error


def _statistics(running: Any, epsilon: float) -> Statistics:
    mean, var = (as_array(_attributes(running)[name]).astype(np.float64) for name in ("mean", "var"))
    if mean.shape != var.shape or not (
        np.isfinite(mean).all() and np.isfinite(var).all() and (var >= 0).all()
    ):
        raise ValueError("a variance is a finite number, and not negative")
    return Statistics(mean, var, epsilon)


def _check_shapes(normalizer: Normalizer, space: AnySpace, path: Path) -> None:
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    expected = {input_name(key): part.shape or () for key, part in parts.items()}
    for name, known in normalizer.statistics.items():
        shape = expected.get(name)
        if shape is None or known.mean.shape not in _raw_shapes(shape):
            raise ExportUsageError(
                f"its statistics are of observations of shape {known.mean.shape}",
                where=f"{path}: {name}",
                expected=f"{shape or 'no such observation'}, which the policy takes",
                hint="Give the statistics that were saved with this model.",
            )


def _raw_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Images may be normalized before SB3 brings their channels to the front."""
    return (shape, (*shape[1:], shape[0])) if len(shape) == 3 else (shape,)
