"""Reading pickles without running them.

A pickle is a program: it names functions and classes and calls them. Here every name is looked up in the list
of `allowed.py` and nowhere else; names of classes become `Record`s that only note what the pickle says.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, ClassVar

from steersman.export.errors import DamagedFileError, UnsafePickleError
from steersman.export.reading.allowed import DESCRIBED, PLAIN, canonical
from steersman.export.reading.plain import StandIn


class Record:
    """What a pickle says about one object: its class's name, arguments and state. Never the object itself.

    A class that the pickle only mentions is a subclass of `Record` with that name, without an instance.
    """

    name: ClassVar[str] = ""

    args: tuple[object, ...]
    state: dict[str, Any]

    def __new__(cls, *args: object, **_: object) -> Record:  # noqa: PYI034  not of the class that is named
        """Notes the arguments."""
        record = object.__new__(cls)
        record.args = args
        record.state = {}
        return record

    def __init__(self, *_: object, **__: object) -> None:
        """Arguments were noted in `__new__`, which is all that some protocols call."""

    def __setstate__(self, state: object) -> None:
        """Notes the object's attributes; state of another form is of no use here."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)

    def __setitem__(self, key: str, value: object) -> None:
        self.state[key] = value


def read_pickle(data: bytes, where: str, hint: str | None = None) -> object:
    """The content of a pickle: plain containers, numpy data and `Record`s.

    Args:
        data: The pickle.
        where: What it is of, for errors.
        hint: What a person can do about a name that is not on the list.

    Raises:
        UnsafePickleError: It names something that is not on the list.
        DamagedFileError: It is not a whole pickle.
    """
    try:
        return _Reader(data, where, hint).load()
    except UnsafePickleError:
        raise
    except Exception as error:  # a malformed pickle may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFileError(f"the pickle cannot be read: {reason}", where=where) from error


def named(value: object) -> str | None:
    """The full name of the class that a pickle mentions or describes; None for plain data."""
    if isinstance(value, Record):
        return value.name
    if isinstance(value, type) and issubclass(value, Record):
        return value.name
    return None


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, where: str, hint: str | None) -> None:
        super().__init__(io.BytesIO(data))
        self._where, self._hint = where, hint
        self._classes: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = canonical(f"{module}.{name}")
        if full == "copyreg._reconstructor":
            return _RECONSTRUCTOR
        if full in PLAIN:
            return PLAIN[full]
        if full in DESCRIBED:
            return self._classes.setdefault(full, type(name, (Record,), {"name": full}))
        what = "holds a class or function by value" if full.startswith("cloudpickle.") else f"names {full!r}"
        raise UnsafePickleError(
            f"it {what}, which is not on the list of what may be read; nothing was run",
            where=self._where,
            expected="numpy, gymnasium, torch activations and SB3's own classes",
            hint=self._hint,
        )

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError(f"it refers to something outside the file ({type(pid).__name__})")


class _Reconstructor(StandIn):
    """Stands for `copyreg._reconstructor`, by which old protocols make an object without arguments."""

    __slots__ = ()

    def __call__(self, cls: type[Record], *_: object) -> Record:
        if not issubclass(cls, Record):
            raise pickle.UnpicklingError(f"it rebuilds a {cls.__name__}")
        return cls()


_RECONSTRUCTOR = _Reconstructor()
