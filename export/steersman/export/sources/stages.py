"""Finding the stage of a policy: the environment that it was trained in, or why there is none."""

from __future__ import annotations

from steersman.export.errors import ExportUsageError
from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.copies import MASKS, Environment
from steersman.export.sources.environments import Stage, candidates, find_id, import_module, make
from steersman.export.sources.layout import channels_last, same_actions, tensors, with_tensors
from steersman.export.sources.source import Source
from steersman.export.sources.wrapping.wrappers import Wrapping

Notes = tuple[str, ...]


def find_stage(
    source: Source, saved: SavedPolicy, own: AnySpace, wrapping: Wrapping
) -> tuple[Stage | None, Notes]:
    """The stage, and what a person should know about it.

    An environment that was asked for, or that a Steersman run names, must be there. One that a run of
    rl-baselines3-zoo names may be a later version of itself, or not be there at all.

    Args:
        source: Names the environment.
        saved: Has the action space, and says whether masks are taken.
        own: The policy's observation space.
        wrapping: What was around the environment.

    Raises:
        ExportUsageError: An environment that must be there cannot be made, or is not the policy's.
    """
    if source.env_id is None:
        return None, ()
    if wrapping.foreign:
        names = ", ".join(wrapping.foreign)
        return None, (f"no episodes were played, as only you can apply {names}",)
    if source.env_import:
        import_module(source.env_import, "--env-import")
    if source.env_required:
        return _stage(find_id(source.env_id), source, saved, own, wrapping)
    return _first_that_fits(source, saved, own, wrapping)


def _first_that_fits(
    source: Source, saved: SavedPolicy, own: AnySpace, wrapping: Wrapping
) -> tuple[Stage | None, Notes]:
    reason = "gymnasium does not know it"
    for env_id in candidates(source.env_id or ""):
        try:
            stage, notes = _stage(env_id, source, saved, own, wrapping)
        except ExportUsageError as error:
            reason = f"{env_id}: {error.what}"
        else:
            if env_id == source.env_id:
                return stage, notes
            return stage, (f"{env_id} was played in place of {source.env_id}, which is not available", *notes)
    return None, (f"no episodes were played in {source.env_id} ({reason})",)


def _stage(
    env_id: str, source: Source, saved: SavedPolicy, own: AnySpace, wrapping: Wrapping
) -> tuple[Stage, Notes]:
    kwargs = source.env_kwargs or {}
    environment = make(env_id, kwargs, wrapping)
    try:
        _check_spaces(environment, env_id, saved, own, normalized=source.vecnormalize is not None)
        notes = _mask_notes(environment, env_id, saved)
        raw = with_tensors(own, tensors(environment.observation_space))
        limit = environment.spec.max_episode_steps if environment.spec else None
    finally:
        environment.close()
    if limit is not None:
        wrapping = wrapping.changed("time_feature", max_steps=limit)  # as the wrapper itself does
    return Stage(env_id, kwargs, wrapping, raw, masked=saved.algorithm == "MaskablePPO"), notes


def _mask_notes(environment: Environment, env_id: str, saved: SavedPolicy) -> Notes:
    if saved.algorithm != "MaskablePPO" or environment.has_wrapper_attr(MASKS):
        return ()
    return (f"{env_id} has no method {MASKS}, so every choice was allowed in the episodes",)


def _check_spaces(
    environment: Environment, env_id: str, saved: SavedPolicy, own: AnySpace, *, normalized: bool
) -> None:
    observed, acted = environment.observation_space, environment.action_space
    if channels_last(observed, own, normalized=normalized) is None:
        kind, found, expected = "observation", observed, own
    elif not same_actions(acted, saved.action_space):
        kind, found, expected = "action", acted, saved.action_space
    else:
        return
    raise ExportUsageError(
        f"its {kind} space is {_brief(found)}",
        where=f"--env {env_id}",
        expected=f"the policy's, {_brief(expected)}",
        hint="Name the environment that the policy was trained in, with its --env-kwargs and wrappers.",
    )


def _brief(space: AnySpace) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
