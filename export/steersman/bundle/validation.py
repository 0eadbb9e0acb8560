"""Settings that people write: models that refuse typos, and their errors as one clear line."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from steersman.bundle.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of everything that people configure: immutable, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SettingsError(UsageError):
    """A configuration file does not have the form that it should have."""


def validated(model: type[Model], data: object, *, where: str) -> Model:
    """The settings in `data`, which came from YAML or JSON.

    Args:
        model: What the settings should be.
        data: Plain data: mappings, sequences, numbers, strings.
        where: The file or option that the data came from, for the error.

    Raises:
        SettingsError: The data do not fit; the line names the field, what is wrong with it, what was
            expected, and what was perhaps meant.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise settings_error(error, model, where=where) from None


def settings_error(error: ValidationError, model: type[BaseModel], *, where: str) -> SettingsError:
    """A validation error of `model` as one line about its first problem, counting the others."""
    first, *others = _own_problems(error.errors(include_url=False))
    parts, beside = _located(first, model)
    if first["type"].startswith("union_tag"):
        parts = [*parts, _context(first, "discriminator").strip("'")]
    what, expected, hint = _explained(first, beside)
    if others:
        what += f" (the first of {len(others) + 1} problems)"
    field = field_path(parts)
    return SettingsError(what, where=f"{where}: {field}" if field else where, expected=expected, hint=hint)


def field_path(loc: Iterable[int | str]) -> str:
    """The way to a field as people write it, such as `fallback[0].rules[2].when`."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def close_match(word: str, known: Iterable[str]) -> str | None:
    """A question naming what was perhaps meant, or None when nothing is close."""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=3)
    return f"Did you mean {' or '.join(by_folded[name] for name in close)}?" if close else None


def _own_problems(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without those that only follow from others: a list is also too short when its entries do not fit."""
    return [
        problem
        for problem in problems
        if problem["type"] != "too_short"
        or not any(_is_within(other["loc"], problem["loc"]) for other in problems)
    ]


def _is_within(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _explained(problem: ErrorDetails, beside: Sequence[str]) -> tuple[str, str | None, str | None]:
    """What is wrong, what was expected, and a hint; `beside` are the fields that there are at its place."""
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        expected = f"one of {', '.join(beside)}" if beside else None
        return "unknown field", expected, close_match(str(problem["loc"][-1]), beside)
    if kind in {"missing", "union_tag_not_found"}:
        return "missing field", None, None
    if kind == "union_tag_invalid":
        return _choice(_context(problem, "tag"), _context(problem, "expected_tags").replace(", ", " or "))
    if kind in {"literal_error", "enum"}:
        return _choice(value, _context(problem, "expected"))
    if kind == "value_error":
        return _context(problem, "error"), None, None
    return f"got {_short(value)}", _expected(problem), None


def _choice(value: object, allowed: str) -> tuple[str, str, str | None]:
    hint = close_match(value, re.findall(r"'([^']*)'", allowed)) if isinstance(value, str) else None
    return f"got {_short(value)}", allowed, hint


def _expected(problem: ErrorDetails) -> str:
    """What pydantic says after "Input should be", in words that are not Python's."""
    words = problem["msg"].removeprefix("Input should be ").partition(", unable to")[0]
    for pattern, plain in _PLAIN_WORDS.items():
        words = re.sub(pattern, plain, words)
    return words[0].lower() + words[1:]


_PLAIN_WORDS = {
    r"^a valid (dictionary|mapping).*": "a mapping",
    r"^a valid (tuple|list|set|frozenset|sequence)$": "a list",
    r"^(Tuple|List|Set|Frozenset) should have (.*) after validation, not \d+$": r"\2",
}


def _context(problem: ErrorDetails, key: str) -> str:
    return str(problem.get("ctx", {})[key])


def _short(value: object, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _located(problem: ErrorDetails, model: type[BaseModel]) -> tuple[list[int | str], list[str]]:
    """The way to the problem, without pydantic's marks for branches of unions, and the fields there."""
    options = _options(model)
    parts: list[int | str] = []
    for part in problem["loc"]:
        inner = [found for option in options for found in _inside(option, part)]
        marked = [option for option in options if part in _marks(option)]
        if inner or not (marked or "[" in str(part)):
            parts.append(part)
        options = inner or marked or options
    return parts, sorted({name for option in options if _is_model(option) for name in option.model_fields})


def _options(annotation: Any) -> list[Any]:
    """What a value of this annotation can be: branches of unions, roots, without what is annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        return [found for branch in get_args(annotation) for found in _options(branch)]
    if _is_model(annotation) and "root" in annotation.model_fields:
        return _options(annotation.model_fields["root"].annotation)
    return [annotation]


def _inside(option: Any, part: int | str) -> list[Any]:
    """What stands at this field, position or key of a model, sequence or mapping."""
    if _is_model(option):
        field = option.model_fields.get(part)
        return _options(field.annotation) if field else []
    origin, arguments = get_origin(option), get_args(option)
    if not isinstance(origin, type) or not arguments:
        return []
    if issubclass(origin, Mapping):
        return _options(arguments[1])
    return _options(arguments[0]) if isinstance(part, int) else []


def _marks(option: Any) -> set[object]:
    """What pydantic calls this branch of a union: its name, or a discriminator's value."""
    marks: set[object] = {getattr(option, "__name__", "")}
    if _is_model(option):
        for field in option.model_fields.values():
            marks |= set(get_args(field.annotation)) if get_origin(field.annotation) is Literal else set()
    return marks


def _is_model(annotation: Any) -> bool:
    is_class = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    return is_class and issubclass(annotation, BaseModel)
