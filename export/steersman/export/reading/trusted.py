"""Reading the pickles of a file that is trusted: then its names are imported and its code runs.

This is what `--trust-code` allows, for the policy's class, its arguments and its statistics alone, and only
where they name something that is not on the list. Functions that were pickled by value hold bytecode, which
another version of Python does not refuse but crashes on; they are let through only when the zip says that it
was saved by the same one.
"""

from __future__ import annotations

import io
import pickle
import platform
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.bundle.errors import brief
from steersman.export.errors import ExportError, ExportUsageError, UnsafePickleError
from steersman.export.reading.allowed import DESCRIBED, PLAIN, canonical

TRUST_HINT = (
    "If you trust the file, --trust-code runs its code (--import-path names the folder of its modules)."
)


@dataclass(frozen=True, slots=True)
class TrustedCode:
    """Leave to run the code that a file names or holds.

    Attributes:
        import_paths: Folders to import the user's modules from. They stay on `sys.path`, because what was
            imported may import more when it runs.
    """

    import_paths: tuple[Path, ...] = ()


class TrustedReading:
    """Reads the pickles of one file for real.

    Args:
        trust: Leave to do this.
        python: Version that saved the file, such as 3.11.7; None where it does not say.

    Attributes:
        used: Names beside the list that were imported, and classes that the file held by value.
    """

    def __init__(self, trust: TrustedCode, python: str | None) -> None:
        folders = [str(folder.resolve()) for folder in trust.import_paths]
        sys.path[:0] = [folder for folder in folders if folder not in sys.path]
        self.used: set[str] = set()
        self._same_python = _minor(python) == _minor(platform.python_version())

    def read(self, data: bytes, where: str) -> Any:
        """The content of a pickle.

        Raises:
            ExportUsageError: What it names cannot be imported, or fails.
            UnsafePickleError: It holds bytecode of another version of Python.
        """
        reader = _TrustedReader(data, where, same_python=self._same_python)
        try:
            found = reader.load()
        except ExportError:
            raise
        except Exception as error:  # code of the user's may raise anything
            raise ExportUsageError(
                f"the trusted code cannot be imported: {brief(error)}",
                where=where,
                hint="Name the folder of its modules with --import-path.",
            ) from error
        self.used |= reader.used
        return found


_FORMER_HELPERS = frozenset({"_fill_function", "_make_skel_func", "_rehydrate_skeleton_class"})
"""What cloudpickle 1.x put functions and classes together with; later ones have it no more."""


def _minor(version: str | None) -> Sequence[str] | None:
    return version.split(".")[:2] if version else None


class _TrustedReader(pickle.Unpickler):
    """Imports what it is told to, with the old names of gym spelled as gymnasium's."""

    def __init__(self, data: bytes, where: str, *, same_python: bool) -> None:
        super().__init__(io.BytesIO(data))
        self.used: set[str] = set()
        self._where, self._same_python = where, same_python

    def find_class(self, module: str, name: str) -> Any:
        full = canonical(f"{module}.{name}")
        if full in {"types.CodeType", "builtins.code"}:
            return self._code()
        if module.startswith("cloudpickle."):
            return self._helper(module, name)
        if module.startswith("gym."):
            module = f"gymnasium.{module.removeprefix('gym.')}"
        if full not in PLAIN and full not in DESCRIBED:
            self.used.add(f"{module}.{name}")
        return super().find_class(module, name)

    def _helper(self, module: str, name: str) -> Any:
        """A function of cloudpickle, with an eye on classes that the file holds, and on bytecode."""
        if not self._same_python and name in _FORMER_HELPERS:
            return self._code()
        found = super().find_class(module, name)
        if name == "_builtin_type":
            return lambda kind: self._code() if kind == "CodeType" else found(kind)
        if name != "_make_skeleton_class":
            return found

        def make(kind: Any, name: str, bases: Any, names: dict[str, Any], *rest: Any) -> Any:
            self.used.add(f"{names.get('__module__', '?')}.{name} (by value)")
            return found(kind, name, bases, names, *rest)

        return make

    def _code(self) -> Any:
        if not self._same_python:
            raise UnsafePickleError(
                "it holds functions as bytecode, and this is not the Python that saved it",
                where=self._where,
                expected=f"a file of Python {'.'.join(_minor(platform.python_version()) or ())}",
                hint="Export it with the Python that trained it.",
            )
        return types.CodeType
