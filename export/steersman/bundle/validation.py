"""Settings that people write: models that refuse typos, and their errors as one clear line."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args

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
    first, *others = error.errors(include_url=False)
    what, expected, hint = _explained(first, model)
    if others:
        what += f" (the first of {len(others) + 1} problems)"
    field = field_path(first["loc"])
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


def _explained(problem: ErrorDetails, model: type[BaseModel]) -> tuple[str, str | None, str | None]:
    """What is wrong, what was expected, and a hint."""
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        known = sorted(_fields_beside(problem["loc"], model))
        expected = f"one of {', '.join(known)}" if known else None
        return "unknown field", expected, close_match(str(problem["loc"][-1]), known)
    if kind == "missing":
        return "missing field", None, None
    if kind in {"literal_error", "enum"}:
        allowed = str(problem.get("ctx", {})["expected"])
        hint = (
            close_match(value, [word.strip("'") for word in _words(allowed)])
            if isinstance(value, str)
            else None
        )
        return f"got {value!r}", allowed, hint
    if kind == "value_error":
        return str(problem.get("ctx", {})["error"]), None, None
    message = problem["msg"].removeprefix("Input should be ")
    return f"got {_short(value)}", message[0].lower() + message[1:], None


def _words(allowed: str) -> list[str]:
    return allowed.replace(" or ", ", ").split(", ")


def _short(value: object, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _fields_beside(loc: tuple[int | str, ...], model: type[BaseModel]) -> set[str]:
    """Fields of the model that the last part of `loc` was meant to be a field of."""
    models = {model}
    for part in loc[:-1]:
        fields = [
            each.model_fields[part] for each in models if isinstance(part, str) and part in each.model_fields
        ]
        if fields:
            models = {found for field in fields for found in _models_in(field.annotation)}
    return {name for each in models for name in each.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation can hold: in unions, in collections and as roots."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            root = annotation.model_fields.get("root")
            yield from _models_in(root.annotation) if root else (annotation,)
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)
