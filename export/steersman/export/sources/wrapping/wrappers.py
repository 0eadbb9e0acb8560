"""Wrappers that lie between an environment and a policy outside its file, and what becomes of each.

A graph takes over what can be computed from one observation (baked). What needs memory, or changes actions or
images, stays with the caller and is declared in the contract. What only concerns rewards and the ends of
episodes does not change the contract (harmless). Anything else is refused by name: behind a wrapper that
nobody knows of, a policy would be served wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from pydantic import JsonValue

from steersman.bundle.specs import WrapperSpec
from steersman.export.errors import ExportUsageError, UnsupportedError
from steersman.export.settings import NamedWrapper
from steersman.export.sources.wrapping.catalogue import HARMLESS_CLASSES, KNOWN, REQUIRED, Environment, Known

HOMES = frozenset({"gym", "gymnasium", "rl_zoo3", "sb3_contrib", "stable_baselines3", "utils"})
"""Packages whose wrappers are known by their class names; `utils` is an early rl-baselines3-zoo."""


@dataclass(frozen=True, slots=True)
class Use:
    """A wrapper of the catalogue with its arguments filled in, or one that the user has declared.

    Attributes:
        kind: The catalogue's entry.
        arguments: All of them.
        foreign: Whether nobody here knows how to apply it.
    """

    kind: Known
    arguments: Mapping[str, Any]
    foreign: bool = False

    @property
    def spec(self) -> WrapperSpec:
        """What the contract says."""
        arguments = {name: value for name, value in self.arguments.items() if value is not None}
        text = self.kind.instruction.format(**self.arguments)
        return WrapperSpec(name=self.kind.name, arguments=arguments, instruction=text)

    def __call__(self, environment: Environment) -> Environment:
        """The wrapped environment, where playing needs the wrapper."""
        wrap = self.kind.wrap
        return environment if wrap is None else wrap(environment, **self.arguments)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """All wrappers of a policy, innermost first."""

    uses: tuple[Use, ...] = ()

    @property
    def declared(self) -> tuple[WrapperSpec, ...]:
        """Those that callers apply."""
        return tuple(use.spec for use in self.uses if use.kind.treatment == "declared")

    @property
    def baked(self) -> tuple[str, ...]:
        """Names of those that the graph applies."""
        return tuple(use.kind.name for use in self.uses if use.kind.treatment == "baked")

    @property
    def foreign(self) -> tuple[str, ...]:
        """Names of those that cannot be applied here, so that no environment can be made."""
        return tuple(use.kind.name for use in self.uses if use.foreign)

    def arguments(self, name: str) -> Mapping[str, Any] | None:
        """Arguments of the one of this name; None where there is none."""
        found = [use.arguments for use in self.uses if use.kind.name == name]
        return found[-1] if found else None

    def changed(self, name: str, **arguments: Any) -> Wrapping:
        """The same with other arguments of the one of this name."""
        return Wrapping(
            tuple(
                replace(use, arguments={**use.arguments, **arguments}) if use.kind.name == name else use
                for use in self.uses
            )
        )

    def __call__(self, environment: Environment) -> Environment:
        """The environment as the policy's callers see it: with all wrappers but the baked ones."""
        for use in self.uses:
            environment = use(environment)
        return environment


def resolve(applied: Sequence[NamedWrapper], declared: Sequence[NamedWrapper], where: str) -> Wrapping:
    """Looks every wrapper up.

    Args:
        applied: Innermost first.
        declared: Those that the user takes on himself; ones that are not among `applied` come last.
        where: Who names them, for error messages.

    Raises:
        UnsupportedError: One is not known and not declared.
        ExportUsageError: Arguments are missing or unknown.
    """
    own = {wrapper.name: wrapper for wrapper in declared}
    uses = [_use(wrapper, own.pop(wrapper.name, None), where) for wrapper in applied]
    return Wrapping((*uses, *(_foreign(wrapper) for wrapper in own.values())))


def _use(applied: NamedWrapper, declared: NamedWrapper | None, where: str) -> Use:
    if declared is not None:
        return _foreign(
            NamedWrapper(name=applied.name, arguments={**applied.arguments, **declared.arguments})
        )
    known = _lookup(applied.name)
    if known is None and _kind(applied.name) in HARMLESS_CLASSES:
        return Use(Known(applied.name, "harmless", ()), {})
    if known is None:
        close = get_close_matches(applied.name, KNOWN, n=1)
        raise UnsupportedError(
            f"the environment has a wrapper {applied.name}, and export cannot tell what it changes",
            where=where,
            expected=None if "." in applied.name else f"one of {', '.join(KNOWN)}",
            hint=f"Did you mean {close[0]}?"
            if close
            else f"If callers of the policy will apply it themselves: --declare-wrapper {applied.name}",
        )
    return Use(known, _arguments(known, applied, where))


def _lookup(name: str) -> Known | None:
    if name in KNOWN:
        return KNOWN[name]
    kind = _kind(name)
    return next((known for known in KNOWN.values() if kind in known.classes), None)


def _kind(name: str) -> str:
    """The class of a path in a package that is known; empty for any other."""
    home, _, kind = name.rpartition(".")
    return kind if home.partition(".")[0] in HOMES else ""


def _arguments(known: Known, applied: NamedWrapper, where: str) -> dict[str, Any]:
    given = {known.aliases.get(name, name): value for name, value in applied.arguments.items()}
    filled = {**known.arguments, **given}
    if unknown := given.keys() - known.arguments.keys():
        what = f"has no argument {', '.join(sorted(unknown))}"
    elif missing := [name for name, value in filled.items() if value is REQUIRED]:
        what = f"needs {', '.join(missing)}"
    elif wrong := [name for name, value in given.items() if _is_no_number(value, known.arguments[name])]:
        what = f"takes a number as {', '.join(wrong)}"
    else:
        return filled
    takes = ", ".join(known.arguments) or "no arguments"
    raise ExportUsageError(f"the wrapper {known.name} {what}", where=where, expected=takes)


def _is_no_number(value: JsonValue, default: object) -> bool:
    """Whether a number stands by default where something is given that is neither one nor a list of them."""
    return isinstance(default, int | float) and isinstance(value, str | dict | None)


def _foreign(declared: NamedWrapper) -> Use:
    text = f"Apply {declared.name} as in training."
    known = Known(declared.name, "declared", (), instruction=text.replace("{", "{{").replace("}", "}}"))
    return Use(known, declared.arguments, foreign=True)
