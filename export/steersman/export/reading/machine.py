"""The pickle machine: a stack, a memo and the few opcodes that SB3's files need.

Python's own unpickler does what a pickle says, whatever that costs: two hundred bytes can name the same list
twice at each of forty levels, and ask for its text, or for its hash. Here memory grows with the file and
nothing else, keys are plain values, and what calls are given is counted.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Iterable, Sized
from typing import Any, Final

from steersman.export.reading.builtin import check_plain

MOST_BYTES: Final = 2**28
"""Of a pickle, and of all that its calls are given. Statistics of images take a thousandth."""
MOST_OPCODES: Final = 1_000_000
"""A policy's arguments and spaces take a few hundred."""

Find = Callable[[str, str], Any]
"""What stands for a name, given its module and itself."""


class Machine:
    """Runs one pickle.

    Args:
        data: The pickle.
        find: Looks names up.
    """

    def __init__(self, data: bytes, find: Find) -> None:
        self._data, self._find = data, find
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._given = 0

    def run(self) -> Any:
        """What it leaves on the stack.

        Raises:
            Exception: Of any kind, where the pickle is malformed; `UnpicklingError` where it asks for more
                than it may.
        """
        if len(self._data) > MOST_BYTES:
            raise pickle.UnpicklingError(f"it has more than {MOST_BYTES:,} bytes")
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._data)):
            if count >= MOST_OPCODES:
                raise pickle.UnpicklingError(f"it has more than {MOST_OPCODES:,} opcodes")
            self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _MARKED:
            items = self._pop_mark()
            self._stack.append(_MARKED[name](items))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in _PASSED_OVER:
            raise pickle.UnpicklingError(f"it uses {name}, which no pickle of SB3 does")

    def _pop_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self._stack = self._stack, self._marked.pop()
        return items

    def mark(self, _: Any) -> None:
        """Begins a row of values."""
        self._marked.append(self._stack)
        self._stack = []

    def pop(self, _: Any) -> None:
        """Drops the last value, or an empty row."""
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def pop_mark(self, _: Any) -> None:
        """Drops a row."""
        self._pop_mark()

    def duplicate(self, _: Any) -> None:
        """Pushes the last value again."""
        self._stack.append(self._stack[-1])

    def get(self, index: int) -> None:
        """Pushes what was noted under an index."""
        self._stack.append(self._memo[index])

    def put(self, index: int) -> None:
        """Notes the last value under an index; any, as the memo is a dictionary."""
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        """Notes the last value under the next index."""
        self._memo[len(self._memo)] = self._stack[-1]

    def tuple_of(self, count: int) -> None:
        """Makes a tuple of the last values."""
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def append(self, _: Any) -> None:
        """Gives a list one value."""
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        """Gives a list a row of values."""
        self._extend(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise pickle.UnpicklingError("it appends to what is no list")
        target.extend(items)

    def set_item(self, _: Any) -> None:
        """Gives a dictionary one key and value."""
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        """Gives a dictionary a row of keys and values."""
        self._update(self._pop_mark())

    def _update(self, items: list[Any]) -> None:
        self._stack[-1].update(_pairs(items))

    def add_items(self, _: Any) -> None:
        """Gives a set a row of values."""
        items = self._pop_mark()
        check_plain(items)
        self._stack[-1].update(items)

    def name(self, argument: str) -> None:
        """Looks up "module name"."""
        module, _, name = argument.partition(" ")
        self._stack.append(self._find(module, name))

    def name_on_stack(self, _: Any) -> None:
        """Looks up a name whose parts were pushed."""
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise pickle.UnpicklingError("a name is no text")
        self._stack.append(self._find(module, name))

    def call(self, _: Any) -> None:
        """Calls what was pushed with a tuple of arguments."""
        arguments, called = self._stack.pop(), self._stack.pop()
        self._call(called, arguments, {})

    def call_with_keywords(self, _: Any) -> None:
        """Calls what was pushed with a tuple and a dictionary of arguments."""
        keywords, arguments, called = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._call(called, arguments, keywords)

    def call_named(self, argument: str) -> None:
        """Looks a name up and calls it with a row of arguments."""
        arguments = self._pop_mark()
        self.name(argument)
        self._call(self._stack.pop(), tuple(arguments), {})

    def call_marked(self, _: Any) -> None:
        """Calls the first of a row with the rest."""
        called, *arguments = self._pop_mark()
        self._call(called, tuple(arguments), {})

    def _call(self, called: Any, arguments: Any, keywords: Any) -> None:
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("arguments are no tuple")
        self._count([*arguments, *keywords.values()])
        self._stack.append(called(*arguments, **keywords))

    def build(self, _: Any) -> None:
        """Gives an object its state, if it takes one; nothing else has attributes to set."""
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, type) or not hasattr(target, "__setstate__"):
            raise pickle.UnpicklingError(f"it sets attributes of a {type(target).__name__}")
        self._count(state if isinstance(state, tuple) else [state])
        target.__setstate__(state)

    def _count(self, values: Iterable[Any]) -> None:
        """Calls copy what they are given, and may be given the same many times."""
        self._given += sum(len(value) for value in values if isinstance(value, Sized))
        if self._given > MOST_BYTES:
            raise pickle.UnpicklingError(f"its calls are given more than {MOST_BYTES:,} bytes or elements")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    check_plain(keys)
    return dict(zip(keys, items[1::2], strict=True))


def _set_of(items: list[Any]) -> frozenset[Any]:
    check_plain(items)
    return frozenset(items)


_LITERALS: Final = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
"""Opcodes that hold the value that they push."""
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: Final[dict[str, Callable[[], Any]]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_MARKED: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "LIST": list,
    "TUPLE": tuple,
    "DICT": _pairs,
    "FROZENSET": _set_of,
}
"""Opcodes that make one value of all that was pushed since the last mark."""
_PASSED_OVER: Final = frozenset({"PROTO", "FRAME", "STOP"})
_STEPS: Final[dict[str, Callable[[Machine, Any], None]]] = {
    "MARK": Machine.mark,
    "POP": Machine.pop,
    "POP_MARK": Machine.pop_mark,
    "DUP": Machine.duplicate,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.put),
    "MEMOIZE": Machine.memoize,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "ADDITEMS": Machine.add_items,
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": Machine.name_on_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), Machine.call),
    "NEWOBJ_EX": Machine.call_with_keywords,
    "INST": Machine.call_named,
    "OBJ": Machine.call_marked,
    "BUILD": Machine.build,
}
