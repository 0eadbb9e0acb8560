"""The tokenizer: an expression's text as a list of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from steersman.safety.expressions.source import MAX_LENGTH, Source

Kind = Literal["int", "double", "name", "string", "operator", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token; a string's text is what is between the quotes, escapes resolved."""

    kind: Kind
    text: str
    offset: int


_TOKEN = re.compile(
    r"""
    (?P<blank>(?:[\t\n\f\r ]|//[^\n]*)+)
  | (?P<double>(?:[0-9]*\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?)
  | (?P<int>[0-9]+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<operator>&&|\|\||[=!<>]=|[-+*/%<>!?:(),\[\]])
    """,
    re.VERBOSE,
)
_KINDS: dict[str, Kind] = {
    "double": "double", "int": "int", "name": "name", "string": "string", "operator": "operator",
}  # fmt: skip
_HINTS = {"&": "Write && for and.", "|": "Write || for or.", "=": "Write == to compare."}
_ESCAPE = re.compile(r"\\(.)")


def tokenize(source: Source) -> list[Token]:
    """The tokens of an expression, and one of kind "end" after them.

    Raises:
        ExpressionError: It is too long, or a character begins no token.
    """
    if len(source.text) > MAX_LENGTH:
        expected = f"at most {MAX_LENGTH}"
        raise source.error(MAX_LENGTH, f"the expression has {len(source.text)} characters", expected=expected)
    return [*_tokens(source), Token("end", "", len(source.text))]


def _tokens(source: Source) -> Iterator[Token]:
    offset = 0
    while offset < len(source.text):
        match = _TOKEN.match(source.text, offset)
        if match is None:
            raise _unreadable(source, offset)
        group, offset = str(match.lastgroup), match.end()
        if group in {"int", "double"} and source.text[offset : offset + 1].isidentifier():
            expected = "a decimal number such as 16 or 1.5e3"
            raise source.error(match.start(), "this number cannot be read", expected=expected)
        if group == "string":
            yield Token("string", _unquoted(match[0], source, match.start()), match.start())
        elif group != "blank":
            yield Token(_KINDS[group], match[0], match.start())


def _unreadable(source: Source, offset: int) -> Exception:
    character = source.text[offset]
    if character in "'\"":
        return source.error(offset, "this text has no closing quote")
    return source.error(offset, f"unexpected {character!r}", hint=_HINTS.get(character))


def _unquoted(literal: str, source: Source, offset: int) -> str:
    for escape in _ESCAPE.finditer(literal):
        if escape[1] not in "\\\"'":
            known = "\\\\, \\\" or \\'"
            raise source.error(offset + escape.start(), f"unknown escape {escape[0]!r}", expected=known)
    return _ESCAPE.sub(r"\1", literal[1:-1])
