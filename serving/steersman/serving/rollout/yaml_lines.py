"""Where in a YAML text a field is, so that a mistake that is found later can still be pointed at.

Errors of settings name fields by their path, such as `fallback[0].rules[2].when, line 1, column 5`; people
look for a line of their file. The text is read a second time, and only when there is something to point at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import yaml

from steersman.bundle.validation import Place, field_path
from steersman.safety.errors import SafetyError
from steersman.serving.rollout.yaml_text import UNREADABLE, PlainLoader

_WHERE = re.compile(r"(?P<path>[^,]*?)(?:, line (?P<line>\d+), column (?P<column>\d+))?")
_LAST = re.compile(r"(\.[^.\[\]]+|\[\d+\]|^[^.\[\]]+)$")


class _Spot(NamedTuple):
    """Where a field and its value begin; lines and columns counted from 0."""

    line: int
    value: yaml.Node


@dataclass(frozen=True)
class Lines:
    """Where the fields of a YAML text are.

    Attributes:
        text: The text.
        section: Path that fields may be named from, beside the whole: `safety` in a deployment.
    """

    text: str
    section: str = ""

    def line_of(self, place: Place) -> int | None:
        """The line of a field, or of the nearest thing around it, counted from 1; None where it has none."""
        spot = self._nearest(field_path(place))
        return None if spot is None else spot.line + 1

    def pointed(self, where: str, file: str) -> str | None:
        """A `where` of an error with its line: `cart.yaml:12:9: safety.fallback[0].when`; None for none.

        Args:
            where: Path of a field, and perhaps line and column within its text.
            file: What the text is called.
        """
        found = _WHERE.fullmatch(where)
        spot = self._nearest(found["path"]) if found is not None and found["path"] else None
        if found is None or spot is None:
            return None
        path = self._whole(found["path"])
        if found["line"] is None:
            return f"{file}:{spot.line + 1}: {path}"
        inner = self._inside(spot.value, int(found["line"]) - 1, int(found["column"]) - 1)
        if inner is None:
            return f"{file}:{spot.line + 1}: {path}{where.removeprefix(found['path'])}"
        return f"{file}:{inner[0] + 1}:{inner[1] + 1}: {path}"

    def _whole(self, path: str) -> str:
        """The path from the top of the text."""
        first = re.split(r"[.\[]", path)[0]
        inside = self.section and first not in self._spots
        return f"{self.section}.{path}" if inside else path

    def _nearest(self, path: str) -> _Spot | None:
        for candidate in self._candidates(path):
            if candidate in self._spots:
                return self._spots[candidate]
        shorter = _LAST.sub("", path)
        return self._nearest(shorter) if shorter and shorter != path else None

    def _candidates(self, path: str) -> Iterator[str]:
        """The paths that may be meant: rules may be a list, or a list within a mapping; a file, too."""
        whole = [path, f"{self.section}.{path}"] if self.section else [path]
        whole.append(re.sub(r"^(rules|cases)(?=\[)|^rules\.", "", path))  # a file of rules or cases is one
        for each in whole:
            yield each
            yield each.replace(".rules.rules[", ".rules[")
            yield each.replace(".rules[", ".rules.rules[")

    @cached_property
    def _spots(self) -> dict[str, _Spot]:
        try:
            root = yaml.compose(self.text, PlainLoader)
        except (yaml.YAMLError, *UNREADABLE):
            return {}
        return {} if root is None else dict(_spots(root, "", root.start_mark.line))

    def _inside(self, value: yaml.Node, line: int, column: int) -> tuple[int, int] | None:
        """Where a character of a value's text is in the file; None where the text was folded or escaped."""
        style, start = getattr(value, "style", None), value.start_mark
        if style == "|":
            below = self.text.splitlines()[start.line + 1 :]
            first = next((written for written in below if written.strip()), "")  # its indent is the block's
            return start.line + 1 + line, len(first) - len(first.lstrip()) + column
        if style == ">" or line or start.line != value.end_mark.line:
            return None
        quote = 0 if style is None else 1
        written = self.text.splitlines()[start.line][start.column + quote :]
        if not written.startswith(str(value.value)):
            return None
        return start.line, start.column + quote + column


def _spots(node: yaml.Node, path: str, line: int) -> Iterator[tuple[str, _Spot]]:
    yield path, _Spot(line, node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{path}.{key.value}" if path else str(key.value)
            yield from _spots(value, name, key.start_mark.line)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _spots(value, f"{path}[{i}]", value.start_mark.line)


@contextmanager
def pointing(text: str, file: str, section: str = "safety") -> Iterator[None]:
    """Errors of safety settings that were read from a text get its name and the line.

    Raises:
        SafetyError: What was raised inside, pointed at its line.
    """
    try:
        yield
    except SafetyError as error:
        where = Lines(text, section).pointed(error.where or "", file)
        if where is None:
            raise
        raise type(error)(error.what, where=where, expected=error.expected, hint=error.hint) from None
