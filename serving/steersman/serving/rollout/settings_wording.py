"""Settings of a deployment in words: what a change sets, changes and, above all, removes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from steersman.safety.members import member_names
from steersman.safety.settings import SafetySettings

MOST_LINES = 24
"""Lines about one section; a removed section is one line."""
MOST_LETTERS = 160
"""Of a value that is shown."""
CHAIN = "fallback"
ALTERNATIVES = "serve"
"""A section with one field of several, which is told as a whole."""

Said = Mapping[str, Any]


def section_lines(name: str, before: object, after: object) -> Iterator[str]:
    """Lines about a section that differs: `safety`, `batching`, `precision` ...

    What a document leaves out has its default, so a section without anything else counts as not there.

    Args:
        name: The section.
        before: What was in force, settings or a plain value.
        after: What is to be.
    """
    if before == after:
        return
    if name == ALTERNATIVES or not (isinstance(before, BaseModel) and isinstance(after, BaseModel)):
        yield f"{name}: {_text(_plain(before))} -> {_text(_plain(after))}"
        return
    old, new = said(before), said(after)
    if not new:
        yield f"{name}: removed: {summary(before)}"
    elif not old:
        yield f"{name}: set: {summary(after)}"
    else:
        yield from _capped(name, [*_differences(name, old, new), *_order_line(name, old, new)])


def summary(settings: BaseModel) -> str:
    """What settings say beside the defaults, such as "fallback chain of 2 members (lean, preference)"."""
    shown = said(settings)
    return ", ".join(_entry(name, shown[name], settings) for name in sorted(shown, key=lambda n: n != CHAIN))


def said(settings: BaseModel) -> dict[str, Any]:
    """What settings say beside the defaults, as plain data; a fallback chain by its members' names."""
    shown: dict[str, Any] = settings.model_dump(mode="json", exclude_defaults=True)
    if isinstance(settings, SafetySettings) and settings.fallback.root:
        names = member_names(settings.fallback.root, "safety.fallback")
        shown[CHAIN] = dict(zip(names, shown[CHAIN], strict=True))
    return shown


def _entry(name: str, value: Any, settings: BaseModel) -> str:
    if name == CHAIN and isinstance(settings, SafetySettings):
        members = "1 member" if len(value) == 1 else f"{len(value)} members"
        return f"fallback chain of {members} ({', '.join(value)})"
    return f"{name} {_text(value)}"


def _differences(place: str, before: Said, after: Said) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        here = f"{place}.{name}"
        old, new = before.get(name), after.get(name)
        if name not in after:
            yield f"{here}: removed, was {_text(old)}"
        elif name not in before:
            yield f"{here}: set to {_text(new)}"
        elif old == new:
            continue
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(here, old, new)
        else:
            yield f"{here}: {_text(old)} -> {_text(new)}"


def _order_line(name: str, before: Said, after: Said) -> Iterator[str]:
    """Members of a chain are asked in order, so another order is another chain."""
    old, new = before.get(CHAIN, {}), after.get(CHAIN, {})
    if [member for member in new if member in old] != [member for member in old if member in new]:
        yield f"{name}.{CHAIN}: asked in the order {', '.join(new)}"


def _capped(name: str, lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"{name}: and {more} more changes"]


def _plain(value: object) -> Any:
    return value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace('"', "") if isinstance(value, Mapping | list) else text
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
