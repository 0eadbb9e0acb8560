"""What a pickle says about objects, which are never made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Record:
    """What a pickle says about one object: its class's name, arguments and state. Never the object itself.

    A class that the pickle only mentions is a subclass of `Record` with that name, without an instance.
    """

    name: ClassVar[str] = ""

    args: tuple[object, ...]
    state: dict[str, Any]

    def __init__(self, *args: object, **_: object) -> None:
        self.args = args
        self.state = {}

    def __setstate__(self, state: object) -> None:
        """Notes the object's attributes; state of another form is of no use here."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)

    def update(self, items: Mapping[str, object]) -> None:
        """Notes what the object holds, where it is a dictionary."""
        self.state.update(items)


def named(value: object) -> str | None:
    """The full name of the class that a pickle mentions or describes; None for plain data."""
    if isinstance(value, Record):
        return value.name
    if isinstance(value, type) and issubclass(value, Record):
        return value.name
    return None
