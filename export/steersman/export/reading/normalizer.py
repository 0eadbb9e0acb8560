"""The statistics that SB3's VecNormalize put before the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.observations import Observations, input_name
from steersman.export.reading.plain import as_array
from steersman.export.reading.spaces import AnySpace
from steersman.export.reading.unpickle import Record, named, read_pickle

Array = NDArray[Any]
_MODULE = "stable_baselines3.common."
CLASS = f"{_MODULE}vec_env.vec_normalize.VecNormalize"
RUNNING = f"{_MODULE}running_mean_std.RunningMeanStd"
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


def load_normalizer(path: Path, space: AnySpace) -> Normalizer | None:
    """Reads a file that `VecNormalize.save` wrote; None when it leaves observations as they are.

    The running statistics alone, as some people pickle them, are taken with VecNormalize's default settings.

    Raises:
        ExportUsageError: It cannot be read, holds something else, or is of observations of another shape.
        UnsafePickleError: It names what is not on the list.
        DamagedFileError: It is not a whole pickle.
    """
    try:
        content = read_pickle(path.read_bytes(), str(path))
    except OSError as error:
        raise ExportUsageError(
            f"it cannot be read: {error.strerror}",
            where=str(path),
            expected="a file that VecNormalize.save wrote",
        ) from error
    normalizer = _normalizer(_state(content, path), path)
    if normalizer is not None:
        _check_shapes(normalizer, space, path)
    return normalizer


def _state(content: object, path: Path) -> Mapping[str, Any]:
    if isinstance(content, Record) and content.name == CLASS:
        return content.state
    if isinstance(content, Record) and content.name == RUNNING:
        return {"obs_rms": content}
    if isinstance(content, Mapping) and "obs_rms" in content:
        return content
    raise ExportUsageError(
        f"it holds {named(content) or type(content).__name__}",
        where=str(path),
        expected="VecNormalize statistics",
    )


def _normalizer(state: Mapping[str, Any], path: Path) -> Normalizer | None:
    if not state.get("norm_obs", True):
        return None
    try:
        epsilon, saved = float(state.get("epsilon", EPSILON)), state["obs_rms"]
        by_key = saved if isinstance(saved, Mapping) else {"": saved}
        keys = state.get("norm_obs_keys") or list(by_key)
        statistics = {input_name(key): _statistics(by_key[key], epsilon) for key in keys}
        return Normalizer(statistics, float(state.get("clip_obs", CLIP))) if statistics else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            "it holds no running mean and variance of observations", where=str(path)
        ) from error


def _statistics(running: Any, epsilon: float) -> Statistics:
    mean, var = (as_array(running.state[name]).astype(np.float64) for name in ("mean", "var"))
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
