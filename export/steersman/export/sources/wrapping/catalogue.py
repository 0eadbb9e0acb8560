"""The catalogue of wrappers that are known: what each changes, and how it is applied for playing.

Most are those of rl-baselines3-zoo's published hyperparameters, and of SB3, sb3-contrib and gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import gymnasium
from gymnasium import wrappers as standard
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3.common import atari_wrappers as atari

from steersman.export.sources.wrapping import playing

Environment = gymnasium.Env[Any, Any]
REQUIRED: Final = object()
"""Stands for the default of an argument that has none."""


@dataclass(frozen=True, slots=True)
class Known:
    """A wrapper that is known.

    Attributes:
        name: Its name in contracts and options.
        treatment: `baked` into the graph, `declared` to callers, or `harmless`.
        classes: Names of the classes that do this.
        arguments: All arguments, with their defaults.
        aliases: Other names of arguments.
        instruction: What callers have to do; arguments stand in braces.
        wrap: Puts it around an environment; None where playing does not need it.
    """

    name: str
    treatment: Literal["baked", "declared", "harmless"]
    classes: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    instruction: str = ""
    wrap: Callable[..., Environment] | None = None


def _stacked(environment: Environment, *, frames: int, fill: Mapping[str, Any] | None) -> Environment:
    return playing.FrameStack(environment, frames, fill)


def _timed(environment: Environment, *, max_steps: int, test_mode: bool) -> Environment:
    return TimeFeatureWrapper(environment, max_steps, test_mode)


def _resized(environment: Environment, *, shape: Any) -> Environment:
    height, width = shape if isinstance(shape, list | tuple) else (shape, shape)
    return standard.ResizeObservation(environment, (int(height), int(width)))


_ATARI = {
    "noop_max": 30,
    "frame_skip": 4,
    "screen_size": 84,
    "terminal_on_life_loss": True,
    "clip_reward": True,
    "action_repeat_probability": 0.0,
}

_BAKED = (Known("velocity_mask", "baked", ("MaskVelocityWrapper",), {"indices": None}),)

_DECLARED = (
    Known(
        "frame_stack",
        "declared",
        ("VecFrameStack",),
        {"frames": REQUIRED, "fill": None},
        {"n_stack": "frames"},
        "Put the last {frames} observations side by side along the last axis (images: along their channels), "
        "the newest last; before an episode's first stands `fill`, zeros where it is not given.",
        _stacked,
    ),
    Known(
        "time_feature",
        "declared",
        ("TimeFeatureWrapper",),
        {"max_steps": 1000, "test_mode": False},
        instruction="Append 1 - step / max_steps to the observation, in a Dict to `observation`. step is 0 "
        "when an episode begins; max_steps is the environment's own limit, or {max_steps} where it has none.",
        wrap=_timed,
    ),
    Known(
        "history",
        "declared",
        ("HistoryWrapper", "HistoryWrapperObsDict"),
        {"horizon": 2},
        instruction="Send the last {horizon} observations, then the last {horizon} actions, oldest first, "
        "zeros before an episode's first; in a Dict under `observation`.",
        wrap=playing.History,
    ),
    Known(
        "frame_skip",
        "declared",
        ("FrameSkip",),
        {"skip": 4},
        instruction="Take each action for {skip} steps and ask again with the last observation.",
        wrap=playing.FrameSkip,
    ),
    Known(
        "action_smoothing",
        "declared",
        ("ActionSmoothingWrapper",),
        {"smoothing_coef": 0.0},
        instruction="Apply {smoothing_coef} * applied + (1 - {smoothing_coef}) * action, where applied is "
        "what was applied at the step before, 0 when an episode begins.",
        wrap=playing.ActionSmoothing,
    ),
    Known(
        "rescale_action",
        "declared",
        ("RescaleAction",),
        {"min_action": -1.0, "max_action": 1.0},
        instruction="Rescale actions linearly from [{min_action}, {max_action}] to the environment's own "
        "bounds.",
        wrap=standard.RescaleAction,
    ),
    Known(
        "clip_action",
        "declared",
        ("ClipAction",),
        instruction="Clip actions to the environment's own bounds.",
        wrap=standard.ClipAction,
    ),
    Known(
        "flatten_observation",
        "declared",
        ("FlattenObservation",),
        instruction="Flatten the observation to one vector, as gymnasium.spaces.flatten does.",
        wrap=standard.FlattenObservation,
    ),
    Known(
        "filter_observation",
        "declared",
        ("FilterObservation",),
        {"filter_keys": REQUIRED},
        instruction="Send only these keys of the observation: {filter_keys}.",
        wrap=standard.FilterObservation,
    ),
    Known(
        "resize_observation",
        "declared",
        ("ResizeObservation", "YAMLCompatResizeObservation"),
        {"shape": REQUIRED},
        instruction="Resize images to {shape} (gymnasium's ResizeObservation).",
        wrap=_resized,
    ),
    Known(
        "grayscale_observation",
        "declared",
        ("GrayscaleObservation", "GrayScaleObservation"),
        {"keep_dim": False},
        instruction="Turn images to gray (gymnasium's GrayscaleObservation, keep_dim={keep_dim}).",
        wrap=standard.GrayscaleObservation,
    ),
    Known(
        "atari",
        "declared",
        ("AtariWrapper",),
        _ATARI,
        instruction="Prepare the screen and repeat actions as SB3's AtariWrapper does: the maximum of the "
        "last two of {frame_skip} frames, gray, {screen_size} x {screen_size}.",
        wrap=atari.AtariWrapper,
    ),
    Known(
        "warp_frame",
        "declared",
        ("WarpFrame",),
        {"width": 84, "height": 84},
        instruction="Turn images to gray and resize them to {height} x {width} (SB3's WarpFrame).",
        wrap=atari.WarpFrame,
    ),
    Known(
        "max_and_skip",
        "declared",
        ("MaxAndSkipEnv",),
        {"skip": 4},
        instruction="Take each action for {skip} steps and send the maximum of the last two observations.",
        wrap=atari.MaxAndSkipEnv,
    ),
)

_HARMLESS = (
    Known(
        "time_limit",
        "harmless",
        ("TimeLimit",),
        {"max_episode_steps": REQUIRED},
        wrap=standard.TimeLimit,
    ),
    Known(
        "end_on_success",
        "harmless",
        ("TruncatedOnSuccessWrapper", "DoneOnSuccessWrapper"),
        {"reward_offset": 0.0, "n_successes": 1},
        wrap=playing.EndOnSuccess,
    ),
)

KNOWN: Mapping[str, Known] = {known.name: known for known in (*_BAKED, *_DECLARED, *_HARMLESS)}
"""By name."""

HARMLESS_CLASSES = frozenset(
    {
        "ActionNoiseWrapper",
        "ClipReward",
        "ClipRewardEnv",
        "DelayedRewardWrapper",
        "EpisodicLifeEnv",
        "FireResetEnv",
        "Monitor",
        "NoopResetEnv",
        "NormalizeReward",
        "OrderEnforcing",
        "PassiveEnvChecker",
        "RecordEpisodeStatistics",
        "RecordVideo",
        "StickyActionEnv",
        "TransformReward",
        "VecCheckNan",
        "VecMonitor",
        "VecTransposeImage",
        "VecVideoRecorder",
    }
)
"""Classes that leave observations and actions as they are, and that playing goes without."""
