"""The setting that a policy was trained in: what it observed, what lay between, and where it can play.

The raw observation space is that of the contract: what callers send. It is the environment's own where one is
known, with the wrappers that callers apply; otherwise it is worked out from the policy's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from steersman.export.errors import ExportUsageError, UnsupportedError
from steersman.export.policies.preparation import Preparation
from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.normalizer import Normalizer, Statistics, load_normalizer
from steersman.export.reading.spaces import AnySpace
from steersman.export.reading.trusted import TrustedCode, TrustedReading
from steersman.export.sources.environments import Stage
from steersman.export.sources.layout import channels_last, channels_moved_last, tensors, with_tensors
from steersman.export.sources.source import Source
from steersman.export.sources.stages import find_stage
from steersman.export.sources.wrapping.playing import filled
from steersman.export.sources.wrapping.stacking import stack_axis, stacked, unstacked, with_ordered_bounds
from steersman.export.sources.wrapping.velocities import velocity_mask
from steersman.export.sources.wrapping.wrappers import Wrapping, resolve
from steersman.export.vocabulary import ImageLayout


@dataclass(frozen=True, slots=True)
class Setting:
    """See the module.

    Attributes:
        observation_space: Raw observations, in the order of the policy's own.
        preparation: From raw observations to what SB3 takes.
        wrapping: Wrappers; its `declared` belong into the contract.
        stage: Where the policy can play; None where that is not known.
        notes: What a person should know about it.
        trusted_code: Names of the user that were imported for the statistics.
    """

    observation_space: AnySpace
    preparation: Preparation
    wrapping: Wrapping
    stage: Stage | None
    notes: tuple[str, ...] = ()
    trusted_code: tuple[str, ...] = ()


def find_setting(source: Source, saved: SavedPolicy, trust: TrustedCode | None = None) -> Setting:
    """Works the setting out.

    Args:
        source: The files, and what is known about them.
        saved: The policy.
        trust: Leave to run what the statistics name; None refuses that.

    Raises:
        ExportUsageError: A wrapper is unknown, an environment that must be there cannot be made or is not the
            policy's, or statistics do not fit.
        UnsupportedError: SB3 itself has no answer to such observations.
    """
    _check_covered(saved.observation_space)
    wrapping = resolve(source.wrappers, source.declared_wrappers, str(source.zip))
    frames = _frames(wrapping)
    own = with_ordered_bounds(saved.observation_space, frames) if frames > 1 else saved.observation_space
    stage, notes = find_stage(source, saved, own, wrapping)
    wrapping = stage.wrapping if stage else wrapping
    raw = stage.space if stage else _assumed(own, source.image_layout)
    turned = channels_last(raw, own, normalized=source.vecnormalize is not None) or frozenset()
    _check_layout(source.image_layout, raw, turned)
    trusted = TrustedReading(trust, saved.libraries.get("python")) if trust else None
    normalizer, fill = _normalization(source.vecnormalize, raw, frames, trusted)
    _check_statistics(normalizer, raw, source.vecnormalize)
    if fill:
        wrapping = wrapping.changed("frame_stack", fill=fill)
        raw = stacked(filled(unstacked(raw, frames), fill), frames)
    keep = velocity_mask(wrapping, source.env_id, raw, frames)
    return Setting(
        observation_space=raw,
        preparation=Preparation(keep, normalizer, turned),
        wrapping=wrapping,
        stage=replace(stage, wrapping=wrapping, space=raw) if stage else None,
        notes=notes,
        trusted_code=tuple(sorted(trusted.used)) if trusted else (),
    )


def _frames(wrapping: Wrapping) -> int:
    frames = (wrapping.arguments("frame_stack") or {"frames": 1})["frames"]
    if not isinstance(frames, int) or frames < 1:
        raise ExportUsageError(f"frames is {frames!r}", where="frame_stack", expected="a number from 1")
    return frames


def _assumed(own: AnySpace, layout: ImageLayout | None) -> AnySpace:
    """Raw observations where no environment says what they are."""
    if layout != "channels-last":
        return own
    parts = tensors(own)
    images = {name: channels_moved_last(part) for name, part in parts.items() if is_image_space(part)}
    return with_tensors(own, {**parts, **images})


def _check_layout(asked: ImageLayout | None, raw: AnySpace, turned: frozenset[str]) -> None:
    images = [name for name, part in tensors(raw).items() if is_image_space(part)]
    found = "channels-last" if turned else "channels-first"
    if asked and (not images or asked != found):
        what = (
            f"the images have their channels {found.rpartition('-')[2]}" if images else "there are no images"
        )
        raise ExportUsageError(what, where=f"--image-layout {asked}", hint="Leave the option out.")


def _check_covered(own: AnySpace) -> None:
    """SB3 encodes whole numbers from 0 on whatever they start with (`preprocess_obs`)."""
    for name, part in tensors(own).items():
        counted = isinstance(part, spaces.Discrete | spaces.MultiDiscrete)
        if counted and np.any(getattr(part, "start", 0)):
            raise UnsupportedError(
                f"{part} observations are not covered: SB3 counts them from 0",
                where=name,
                expected="whole numbers that start with 0",
            )


def _check_statistics(normalizer: Normalizer | None, raw: AnySpace, file: Path | None) -> None:
    """Statistics are of what callers send, so they tell where those have the channels of their images."""
    parts = tensors(raw)
    for name, known in (normalizer.statistics if normalizer else {}).items():
        if known.mean.shape != parts[name].shape:
            raise ExportUsageError(
                f"its statistics are of images with their channels last, {known.mean.shape}",
                where=f"{file}: {name}",
                expected=f"{parts[name].shape}, as the policy has them",
                hint="Say --image-layout channels-last, or name the environment with --env.",
            )


def _normalization(
    file: Path | None, raw: AnySpace, frames: int, trusted: TrustedReading | None
) -> tuple[Normalizer | None, dict[str, object]]:
    """The normalizer, and by graph input what stands for frames before an episode's first; empty for zeros.

    rl-baselines3-zoo normalizes single frames and stacks them afterwards, so that zeros stand for missing
    ones after normalization. Statistics of one frame, repeated, do the same to a stack; and what they turn to
    zero exactly, in float64, is the mean itself.
    """
    if file is None:
        return None, {}
    if frames == 1:
        return load_normalizer(file, raw, trusted), {}
    try:
        return load_normalizer(file, raw, trusted), {}
    except ExportUsageError:
        single = unstacked(raw, frames)
        normalizer = load_normalizer(file, single, trusted)
    if normalizer is None:
        return None, {}
    axes = {name: stack_axis(part) for name, part in tensors(single).items()}
    repeated = {n: _repeated(s, frames, axes[n]) for n, s in normalizer.statistics.items()}
    fill: dict[str, object] = {name: s.mean.tolist() for name, s in normalizer.statistics.items()}
    return Normalizer(repeated, normalizer.clip), fill


def _repeated(known: Statistics, frames: int, axis: int) -> Statistics:
    mean, var = (np.concatenate([values] * frames, axis=axis) for values in (known.mean, known.var))
    return Statistics(mean, var, known.epsilon)
