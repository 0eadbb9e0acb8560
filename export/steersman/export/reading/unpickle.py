"""Reading pickles without running them.

A pickle is a program: it names functions and classes and calls them. Here every name is looked up in the list
of `allowed.py` and nowhere else; names of classes become `Record`s that only note what the pickle says.
"""

from __future__ import annotations

import pickle
from itertools import islice
from pickletools import genops
from typing import Any, Final

from steersman.bundle.errors import brief
from steersman.export.errors import DamagedFileError, UnsafePickleError
from steersman.export.reading.allowed import DESCRIBED, PLAIN, canonical
from steersman.export.reading.builtin import StandIn
from steersman.export.reading.extent import check_extent
from steersman.export.reading.machine import MOST_OPCODES, Machine
from steersman.export.reading.record import Record

_PROTOCOLS: Final = (b"\x02", b"\x03", b"\x04", b"\x05")
_LONGEST_SHOWN: Final = 200
"""Characters of what a file says that an error repeats."""


def read_pickle(data: bytes, where: str, hint: str | None = None) -> object:
    """The content of a pickle: plain containers, numpy data and `Record`s.

    Args:
        data: The pickle.
        where: What it is of, for errors.
        hint: What a person can do about a name that is not on the list.

    Raises:
        UnsafePickleError: It names something that is not on the list.
        DamagedFileError: It is not a whole pickle, or asks for more work or memory than files of SB3 do.
    """
    if not is_pickle(data):
        raise DamagedFileError("this is not a pickle", where=where)
    try:
        content: object = Machine(data, _Names(where, hint).find).run()
    except UnsafePickleError:
        raise
    except Exception as error:  # a malformed pickle may raise anything
        raise DamagedFileError(f"the pickle cannot be read: {brief(error)}", where=where) from error
    check_extent(content, where)
    return content


def is_pickle(data: bytes) -> bool:
    """Whether bytes are a pickle, whole or not.

    Since protocol 2 its first two bytes say so. Before, nothing does, except that it reads as one to its end.
    """
    if data[:1] == pickle.PROTO:
        return data[1:2] in _PROTOCOLS
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in islice(genops(data), MOST_OPCODES))
    except Exception:  # noqa: BLE001  other bytes may raise anything
        return False


class _Names:
    """What stands for the names of one pickle."""

    def __init__(self, where: str, hint: str | None) -> None:
        self._where, self._hint = where, hint
        self._classes: dict[str, type[Record]] = {}

    def find(self, module: str, name: str) -> Any:
        full = canonical(f"{module}.{name}")
        if full == "copyreg._reconstructor":
            return _RECONSTRUCTOR
        if full in PLAIN:
            return PLAIN[full]
        if full in DESCRIBED:
            return self._classes.setdefault(full, type(name, (Record,), {"name": full}))
        by_value = full.startswith("cloudpickle.")
        what = "holds a class or function by value" if by_value else f"names {full[:_LONGEST_SHOWN]!r}"
        raise UnsafePickleError(
            f"it {what}, which is not on the list of what may be read; nothing was run",
            where=self._where,
            expected="numpy, gymnasium, torch activations and SB3's own classes",
            hint=self._hint,
        )


class _Reconstructor(StandIn):
    """Stands for `copyreg._reconstructor`, by which old protocols make an object without arguments."""

    __slots__ = ()

    def __call__(self, cls: type[Record], *_: object) -> Record:
        if not issubclass(cls, Record):
            raise pickle.UnpicklingError(f"it rebuilds a {cls.__name__}")
        return cls()


_RECONSTRUCTOR = _Reconstructor()
