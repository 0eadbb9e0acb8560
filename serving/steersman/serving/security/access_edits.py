"""Changes to the file of callers that people make: one more, or one less. What is around them stays."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from steersman.bundle.errors import UsageError
from steersman.bundle.validation import close_match
from steersman.serving.security.access import Caller
from steersman.serving.security.access_file import parse_access, read_text

HEADER = (
    "# Who may call a Steersman server: `steersman tokens` writes this. Hashes only; see docs/security.md.\n"
)


class Edited(NamedTuple):
    """A file with a change.

    Attributes:
        text: Its new text.
        rewritten: Whether the change did not fit in place, so that its comments are lost.
    """

    text: str
    rewritten: bool = False


def add_caller(path: Path, caller: Caller) -> Edited:
    """Adds a caller to the file, which is made if it is not there.

    Raises:
        UsageError: The file is wrong, or has a caller of that name.
    """
    if not path.exists():
        return _write(path, Edited(HEADER + _yaml([caller])))
    text = read_text(path)
    before = parse_access(text, where=str(path)).callers
    if any(known.name == caller.name for known in before):
        hint = "Revoke it first, or choose another name."
        raise UsageError(f"there is a caller {caller.name!r}", where=str(path), hint=hint)
    return _write(path, _fitted(_appended(text, caller), text, (*before, caller)))


def revoke_caller(path: Path, name: str) -> Edited:
    """Takes a caller out of the file.

    Raises:
        UsageError: The file is wrong, or has no caller of that name.
    """
    text = read_text(path)
    before = parse_access(text, where=str(path)).callers
    names = [caller.name for caller in before]
    if name not in names:
        raise UsageError(f"there is no caller {name!r}", where=str(path), hint=close_match(name, names))
    index = names.index(name)
    return _write(path, _fitted(_without(text, index), text, (*before[:index], *before[index + 1 :])))


def _fitted(edited: str | None, text: str, callers: Sequence[Caller]) -> Edited:
    """The edited text if it says just these callers, else one that does."""
    with contextlib.suppress(UsageError):
        if edited is not None and parse_access(edited, where="").callers == tuple(callers):
            return Edited(edited)
    if text.lstrip().startswith("{"):
        return Edited(json.dumps({"callers": _plain(callers)}, indent=2) + "\n")
    return Edited(HEADER + _yaml(callers), rewritten="#" in text.removeprefix(HEADER))


def _appended(text: str, caller: Caller) -> str | None:
    """The text with one more item at its end; None where its list is not a YAML block."""
    items = _block_items(text)
    if not items:
        return None
    indent = " " * (items[0].start_mark.column - 2)
    lines = yaml.safe_dump(_plain([caller]), sort_keys=False, allow_unicode=True).splitlines()
    return "\n".join([text.rstrip("\n"), *(f"{indent}{line}" for line in lines), ""])


def _without(text: str, index: int) -> str | None:
    """The text without the lines of an item; None where its list is not a YAML block."""
    items = _block_items(text)
    if not items:
        return None
    first, last = items[index].start_mark.line, items[index].value[-1][1].end_mark.line
    lines = text.splitlines(keepends=True)
    return "".join(lines[:first] + lines[last + 1 :])


def _block_items(text: str) -> list[yaml.MappingNode]:
    """The callers as YAML nodes, which know their lines; empty where they are written another way."""
    document = yaml.compose(text, Loader=yaml.SafeLoader)
    lists = [value for _, value in document.value] if isinstance(document, yaml.MappingNode) else []
    if len(lists) != 1 or not isinstance(lists[0], yaml.SequenceNode) or lists[0].flow_style:
        return []
    return list(lists[0].value)


def _yaml(callers: Sequence[Caller]) -> str:
    text: str = yaml.safe_dump({"callers": _plain(callers)}, sort_keys=False, allow_unicode=True)
    return text


def _plain(callers: Sequence[Caller]) -> list[dict[str, str]]:
    return [caller.model_dump(mode="json", exclude_none=True) for caller in callers]


def _write(path: Path, edited: Edited) -> Edited:
    """Replaces the file as a whole: mode 0600, and the owner that it had, for the server to read it.

    Raises:
        UsageError: It cannot be written.
    """
    target = path.resolve()
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        with os.fdopen(handle, "w") as file:
            file.write(edited.text)
            if target.exists():
                with contextlib.suppress(PermissionError):
                    os.fchown(handle, target.stat().st_uid, target.stat().st_gid)
        Path(temporary).replace(target)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return edited
