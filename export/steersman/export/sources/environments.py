"""Making the environment that a policy belongs to, or saying why that cannot be."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from steersman.export.errors import ExportUsageError
from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.spaces import same_space
from steersman.export.sources.source import Source

COPIES = 25
"""Environments stepped together; asking the policy about 25 rows costs little more than about one."""


@contextmanager
def open_environments(source: Source, saved: SavedPolicy, seed: int) -> Iterator[VecEnv]:
    """Copies of the environment in this process.

    Raises:
        ExportUsageError: It is unknown, cannot be made or reset, or its spaces are not the policy's.
    """
    _register(source)
    envs = _make(source, seed)
    try:
        _check_spaces(envs, source, saved)
        yield envs
    finally:
        envs.close()


def _register(source: Source) -> None:
    if source.env_import:
        try:
            importlib.import_module(source.env_import)
        except Exception as error:  # a user's module may raise anything
            raise ExportUsageError(
                f"cannot import it: {_one_line(error)}", where=f"--env-import {source.env_import}"
            ) from error
    env_id = (source.env_id or "").rpartition(":")[2]
    if env_id not in gymnasium.registry:
        close = difflib.get_close_matches(env_id, gymnasium.registry, n=3)
        raise ExportUsageError(
            "no environment is registered under this id",
            where=f"--env {source.env_id}",
            hint=f"Did you mean {' or '.join(close)}?" if close else "Name its module with --env-import.",
        )


def _make(source: Source, seed: int) -> VecEnv:
    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make(source.env_id or "", **dict(source.env_kwargs or {}))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on newer versions and on odd spaces help nobody here
            envs = DummyVecEnv([make] * COPIES)
            envs.seed(seed)
            envs.reset()
    except Exception as error:  # a user's environment may raise anything
        raise ExportUsageError(
            f"the environment cannot be made or reset: {_one_line(error)}",
            where=f"--env {source.env_id}",
            hint="Check --env-kwargs, and that the environment's own packages are installed.",
        ) from error
    return envs


def _check_spaces(envs: VecEnv, source: Source, saved: SavedPolicy) -> None:
    for kind, found, expected in (
        ("observation", envs.observation_space, saved.observation_space),
        ("action", envs.action_space, saved.action_space),
    ):
        if not same_space(found, expected):
            raise ExportUsageError(
                f"its {kind} space is {' '.join(str(found).split())}",
                where=f"--env {source.env_id}",
                expected=f"the policy's, {' '.join(str(expected).split())}",
                hint="Name the environment that the policy was trained in, with its --env-kwargs.",
            )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
