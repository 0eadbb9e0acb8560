"""Settings that people write: models that refuse typos, and their errors as one clear line."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from steersman.bundle.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[int | str, ...]
"""The way to a field: names and positions."""
LineOf = Callable[[Place], int | None]
"""Gives the line of a field in the text that it was read from, counted from 1."""
UNKNOWN = "extra_forbidden"
"""What pydantic calls a field that there is not."""
MOST_ALSO = 8
"""Problems that are told beside the first one."""


class Settings(BaseModel):
    """Base of everything that people configure: immutable, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SettingsError(UsageError):
    """A configuration file does not have the form that it should have."""


def validated(model: type[Model], data: object, *, where: str, line_of: LineOf | None = None) -> Model:
    """The settings in `data`, which came from YAML or JSON.

    Args:
        model: What the settings should be.
        data: Plain data: mappings, sequences, numbers, strings.
        where: The file or option that the data came from, for the error.
        line_of: Says in which line of that file a field is; None where there are no lines.

    Raises:
        SettingsError: The data do not fit; the line names each field, what is wrong with it, what was
            expected, and what was perhaps meant. Fields that there are not come first.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise settings_error(error, model, where=where, line_of=line_of) from None


def settings_error(
    error: ValidationError, model: type[BaseModel], *, where: str, line_of: LineOf | None = None
) -> SettingsError:
    """A validation error of `model` as one line with all its problems; what is misspelt comes first."""
    first, *others = _in_order(_mistakes(error.errors(include_url=False), model))
    field = field_path(first.place)
    line = line_of(first.place) if line_of else None
    where = f"{where}:{line}" if line else where
    return SettingsError(
        first.what,
        where=f"{where}: {field}" if field else where,
        expected=first.expected,
        hint=" ".join(filter(None, (first.hint, _also(others, line_of)))) or None,
    )


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


class _Mistake(NamedTuple):
    """One thing that is wrong at one place."""

    place: Place
    kind: str
    what: str
    expected: str | None
    hint: str | None

    @property
    def line(self) -> str:
        """Where, what and what else, without the end of a sentence."""
        said = f"{field_path(self.place)}: {self.what}"
        said += f", expected {self.expected}" if self.expected else ""
        return f"{said} ({self.hint})" if self.hint else said


def _mistakes(problems: list[ErrorDetails], model: type[BaseModel]) -> list[_Mistake]:
    """What is wrong, once for each place: branches of a union complain one by one."""
    found: dict[tuple[object, str], _Mistake] = {}
    for problem in problems:
        parts, beside = _located(problem, model)
        if problem["type"].startswith("union_tag"):
            parts = [*parts, _context(problem, "discriminator").strip("'")]
        mistake = _Mistake(tuple(parts), problem["type"], *_explained(problem, beside))
        key = (mistake.place, mistake.what)
        found[key] = _either(found[key], mistake) if key in found else mistake
    return list(found.values())


def _either(one: _Mistake, other: _Mistake) -> _Mistake:
    """Two complaints of one value: it could have been either."""
    wanted = dict.fromkeys(filter(None, (one.expected, other.expected)))
    return one._replace(expected=" or ".join(wanted) or None, hint=one.hint or other.hint)


def _in_order(mistakes: list[_Mistake]) -> list[_Mistake]:
    """Without those that follow from others, unknown fields before the rest.

    What holds a mistake is not one more: a list is also too short when its entries do not fit. And a field is
    not missing where it is misspelt.
    """
    own = [
        mistake
        for mistake in mistakes
        if not any(_is_within(other.place, mistake.place) for other in mistakes)
        and not (mistake.kind == "missing" and any(_is_misspelt(mistake, other) for other in mistakes))
    ]
    return sorted(own, key=lambda mistake: mistake.kind != UNKNOWN)


def _is_misspelt(missing: _Mistake, other: _Mistake) -> bool:
    if other.kind != UNKNOWN or other.place[:-1] != missing.place[:-1]:
        return False
    return close_match(str(other.place[-1]), [str(missing.place[-1])]) is not None


def _also(others: Sequence[_Mistake], line_of: LineOf | None) -> str | None:
    lines = [_said(mistake, line_of) for mistake in others[:MOST_ALSO]]
    if len(others) > MOST_ALSO:
        lines.append(f"and {len(others) - MOST_ALSO} more")
    return f"Also wrong: {'; '.join(lines)}." if lines else None


def _said(mistake: _Mistake, line_of: LineOf | None) -> str:
    line = line_of(mistake.place) if line_of else None
    return f"line {line}: {mistake.line}" if line else mistake.line


def _is_within(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _explained(problem: ErrorDetails, beside: Sequence[str]) -> tuple[str, str | None, str | None]:
    """What is wrong, what was expected, and a hint; `beside` are the fields that there are at its place."""
    kind, value = problem["type"], problem["input"]
    if kind == UNKNOWN:
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
    r"^String should match pattern (.*)$": r"text that matches \1",
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
    return parts, sorted({name for option in options if _is_model(option) for name in _fields(option)})


def _fields(model: Any) -> dict[str, Any]:
    """The fields of a model by the names that people write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


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
        field = _fields(option).get(str(part))
        return _options(field.annotation) if field else []
    origin, arguments = get_origin(option), get_args(option)
    if not isinstance(origin, type) or not arguments:
        return []
    if issubclass(origin, Mapping):
        return _options(arguments[1])
    return _options(arguments[0]) if isinstance(part, int) else []


def _marks(option: Any) -> set[object]:
    """What pydantic calls this branch of a union: its name, or a discriminator's value."""
    name = getattr(option, "__name__", "")
    marks: set[object] = {name, f"constrained-{name}"}
    if _is_model(option):
        for field in option.model_fields.values():
            marks |= set(get_args(field.annotation)) if get_origin(field.annotation) is Literal else set()
    return marks


def _is_model(annotation: Any) -> bool:
    is_class = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    return is_class and issubclass(annotation, BaseModel)
