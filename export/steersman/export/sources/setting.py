"""The setting that a policy was trained in: what it observed, what lay between, and where it can play.

The raw observation space is that of the contract: what callers send. It is the environment's own where one is
known, with the wrappers that callers apply; otherwise it is worked out from the policy's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from stable_baselines3.common.preprocessing import is_image_space

from steersman.export.errors import ExportUsageError
from steersman.export.policies.preparation import Preparation
from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.normalizer import Normalizer, Statistics, load_normalizer
from steersman.export.reading.spaces import AnySpace
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
    """

    observation_space: AnySpace
    preparation: Preparation
    wrapping: Wrapping
    stage: Stage | None
    notes: tuple[str, ...] = ()


def find_setting(source: Source, saved: SavedPolicy) -> Setting:
    """Works the setting out.

    Raises:
        ExportUsageError: A wrapper is unknown, an environment that must be there cannot be made or is not the
            policy's, or statistics do not fit.
    """
    wrapping = resolve(source.wrappers, source.declared_wrappers, str(source.zip))
    frames = _frames(wrapping)
    own = with_ordered_bounds(saved.observation_space, frames) if frames > 1 else saved.observation_space
    stage, notes = find_stage(source, saved, own, wrapping)
    wrapping = stage.wrapping if stage else wrapping
    raw = stage.space if stage else _assumed(own, source.image_layout)
    turned = channels_last(raw, own, normalized=source.vecnormalize is not None) or frozenset()
    _check_layout(source.image_layout, raw, turned)
    normalizer, fill = _normalization(source.vecnormalize, raw, frames)
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


def _normalization(
    file: Path | None, raw: AnySpace, frames: int
) -> tuple[Normalizer | None, dict[str, object]]:
    """The normalizer, and by graph input what stands for frames before an episode's first; empty for zeros.

    rl-baselines3-zoo normalizes single frames and stacks them afterwards, so that zeros stand for missing
    ones after normalization. Statistics of one frame, repeated, do the same to a stack; and what they turn to
    zero exactly, in float64, is the mean itself.
    """
    if file is None:
        return None, {}
    if frames == 1:
        return load_normalizer(file, raw), {}
    try:
        return load_normalizer(file, raw), {}
    except ExportUsageError:
        single = unstacked(raw, frames)
        normalizer = load_normalizer(file, single)
    if normalizer is None:
        return None, {}
    axes = {name: stack_axis(part) for name, part in tensors(single).items()}
    repeated = {n: _repeated(s, frames, axes[n]) for n, s in normalizer.statistics.items()}
    fill: dict[str, object] = {name: s.mean.tolist() for name, s in normalizer.statistics.items()}
    return Normalizer(repeated, normalizer.clip), fill


def _repeated(known: Statistics, frames: int, axis: int) -> Statistics:
    mean, var = (np.concatenate([values] * frames, axis=axis) for values in (known.mean, known.var))
    return Statistics(mean, var, known.epsilon)
