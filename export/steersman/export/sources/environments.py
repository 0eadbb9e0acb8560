"""Making the environment that a policy belongs to, or saying why that cannot be."""

from __future__ import annotations

import difflib
import importlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium

from steersman.bundle.specs import StateSpec
from steersman.export.errors import ExportUsageError
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.copies import Copies, Environment, one_line
from steersman.export.sources.wrapping.wrappers import Wrapping

COPIES = 25
"""Environments stepped together; asking the policy about 25 rows costs little more than about one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """An environment that a policy can play in, as the policy's callers see it.

    Attributes:
        id: gymnasium's id.
        kwargs: Arguments of the environment.
        wrapping: What is put around it.
        space: Raw observation space, with the wrappers.
        masked: Whether the policy takes the masks that it gives.
    """

    id: str
    kwargs: Mapping[str, Any]
    wrapping: Wrapping
    space: AnySpace
    masked: bool = False

    @contextmanager
    def open(self, copies: int = COPIES, state: Sequence[StateSpec] = ()) -> Iterator[Copies]:
        """Copies of it in this process, for a policy with this recurrent state.

        Raises:
            ExportUsageError: They cannot be made.
        """
        with ExitStack() as stack:
            made = [make(self.id, self.kwargs, self.wrapping) for _ in range(copies)]
            for environment in made:
                stack.callback(environment.close)
            yield Copies(made, self.space, state, masked=self.masked)


def make(env_id: str, kwargs: Mapping[str, Any], wrapping: Wrapping) -> Environment:
    """One environment, with its wrappers, begun once to see that it works.

    Raises:
        ExportUsageError: It cannot be made or reset.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on newer versions and on odd spaces help nobody here
            environment = wrapping(gymnasium.make(env_id, **kwargs))
            environment.reset(seed=0)
    except Exception as error:  # a user's environment may raise anything
        raise ExportUsageError(
            f"the environment cannot be made or reset: {one_line(error)}",
            where=f"--env {env_id}",
            hint="Check --env-kwargs and wrappers, and that the environment's own packages are installed.",
        ) from error
    return environment


def find_id(env_id: str) -> str:
    """The id under which gymnasium has an environment; a module before a colon is imported.

    Raises:
        ExportUsageError: The module cannot be imported, or there is no such environment.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module, "--env")
    if found := _registered(name):
        return found
    close = difflib.get_close_matches(name, gymnasium.registry, n=3)
    raise ExportUsageError(
        "no environment is registered under this id",
        where=f"--env {env_id}",
        hint=f"Did you mean {' or '.join(close)}?" if close else "Name its module with --env-import.",
    )


def candidates(env_id: str) -> tuple[str, ...]:
    """What a run of unknown age may mean by an id: that environment, then its later versions, nearest first.

    Nothing is imported for it.
    """
    name, version = _parsed(env_id)
    later = {v: i for i, (n, v) in _versions() if n == name and v > version >= 0}
    found = _registered(env_id)
    return (*([found] if found else []), *(later[v] for v in sorted(later)))


def import_module(module: str, option: str) -> None:
    """Imports a module that registers environments.

    Raises:
        ExportUsageError: It cannot be imported.
    """
    try:
        importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise ExportUsageError(
            f"cannot import it: {one_line(error)}",
            where=f"{option} {module}",
            hint="Python looks for it where PYTHONPATH says: name its folder there.",
        ) from error


def _registered(env_id: str) -> str | None:
    """The id itself; where it has no version, that of the latest."""
    if env_id in gymnasium.registry:
        return env_id
    versions = {version: i for i, (name, version) in _versions() if name == env_id}
    return versions[max(versions)] if versions else None


def _versions() -> list[tuple[str, tuple[str, int]]]:
    return [(env_id, _parsed(env_id)) for env_id in gymnasium.registry]


def _parsed(env_id: str) -> tuple[str, int]:
    """Name and version; -1 where there is none."""
    match = re.fullmatch(r"(.+)-v(\d+)", env_id)
    return (match[1], int(match[2])) if match else (env_id, -1)
