"""What `steersman export` does once its options are read."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from steersman.export.errors import ExportUsageError
from steersman.export.report.display import open_progress, print_export
from steersman.export.settings import ExportSettings

_FIELDS = {"env": "env_id", "no_int8": "int8"}
"""Options whose field in the settings has another name."""
_LISTS = ("feature_names", "action_names")
_FOR_PRINTING = ("json", "quiet")


def parse_settings(options: Mapping[str, Any]) -> ExportSettings:
    """Settings from the options of the command as typed, by their names; None is one that was not given.

    Raises:
        ExportUsageError: Naming the option and what was wrong with it.
    """
    values = {
        _FIELDS.get(name, name): value
        for name, value in options.items()
        if value is not None and name not in _FOR_PRINTING
    }
    values["int8"] = not values["int8"]
    values |= {name: [part.strip() for part in values[name].split(",")] for name in _LISTS if name in values}
    values["env_kwargs"] = _pairs(values.get("env_kwargs", ()))
    try:
        return ExportSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ExportUsageError(_described(first), where=_option(str(first["loc"][0]))) from error


def _option(field: str) -> str:
    """How the option of a field is typed."""
    if field == "source":
        return "SOURCE"
    typed = {of: name for name, of in _FIELDS.items()}.get(field, field)
    return f"--{typed.replace('_', '-')}"


def _described(error: ErrorDetails) -> str:
    """The value as typed and what is wrong with it; a flag is its own value, a pattern is no explanation."""
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        reason = "lower-case letters, digits, '.', '_' and '-' are allowed, at most 63"
    told = f"{reason[0].lower()}{reason[1:]}"
    return f"got {error['input']!r}: {told}" if isinstance(error["input"], str) else told


def run_export(settings: ExportSettings, *, as_json: bool, quiet: bool) -> None:
    """Exports, showing progress on stderr and the result on stdout."""
    with open_progress(quiet=quiet or as_json) as progress:
        if progress:
            progress("Loading torch", 0.0)
        from steersman.export.pipeline import export_policy  # noqa: PLC0415  it takes seconds: show that first

        exported = export_policy(settings, progress)
    bundle = exported.bundle
    if as_json:
        result = {
            "path": str(bundle.path),
            "digest": bundle.digest,
            "seconds": round(exported.seconds, 1),
            "notes": list(exported.notes),
            "manifest": json.loads(bundle.manifest.model_dump_json()),
        }
        typer.echo(json.dumps(result, indent=2))
    elif quiet:
        typer.echo(str(bundle.path))
    else:
        print_export(bundle, exported.seconds, exported.notes)


def _pairs(texts: Sequence[str]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not (key and separator) or key in pairs:
            raise ExportUsageError(
                f"cannot read {text!r}", where="--env-kwargs", expected="KEY=VALUE, each key once"
            )
        pairs[key] = _literal(value)
    return pairs


def _literal(text: str) -> Any:
    """A number, truth value, list or mapping as JSON or Python write it; anything else is text."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (SyntaxError, ValueError):
            continue
    return text
