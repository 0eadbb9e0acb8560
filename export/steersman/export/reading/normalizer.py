"""The statistics that SB3's VecNormalize put before the policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.reading.plain import as_array
from steersman.export.reading.unpickle import Record, named, read_pickle

Array = NDArray[Any]
CLASS = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"


@dataclass(frozen=True, slots=True)
class Normalizer:
    """`clip((x - mean) / sqrt(var + epsilon))` in float64, then float32: `VecNormalize.normalize_obs`.

    Attributes:
        mean: Of the observation's shape, float64.
        var: Likewise.
        epsilon: Added to the variance.
        clip: Largest absolute value that comes out.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    epsilon: float
    clip: float

    @property
    def scale(self) -> NDArray[np.float64]:
        """What is divided by."""
        return np.asarray(np.sqrt(self.var + self.epsilon))

    def __call__(self, observations: Array) -> NDArray[np.float32]:
        """Normalizes [N, *shape]."""
        return np.clip((observations - self.mean) / self.scale, -self.clip, self.clip).astype(np.float32)


def load_normalizer(path: Path, space: spaces.Box) -> Normalizer | None:
    """Reads a file that `VecNormalize.save` wrote; None when it leaves observations as they are.

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
    if not isinstance(content, Record) or content.name != CLASS:
        raise ExportUsageError(
            f"it holds {named(content) or type(content).__name__}",
            where=str(path),
            expected="VecNormalize statistics",
        )
    normalizer = _normalizer(content.state, path)
    if normalizer is not None and normalizer.mean.shape != space.shape:
        raise ExportUsageError(
            f"its statistics are of observations of shape {normalizer.mean.shape}",
            where=str(path),
            expected=f"{space.shape}, which the policy takes",
            hint="Give the statistics that were saved with this model.",
        )
    return normalizer


def _normalizer(state: dict[str, Any], path: Path) -> Normalizer | None:
    try:
        if not state.get("norm_obs", True):
            return None
        statistics = state["obs_rms"].state
        return Normalizer(
            as_array(statistics["mean"]).astype(np.float64),
            as_array(statistics["var"]).astype(np.float64),
            float(state["epsilon"]),
            float(state["clip_obs"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            "it holds no running mean and variance of observations", where=str(path)
        ) from error
