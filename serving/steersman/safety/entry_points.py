"""Members of a fallback chain that are Python functions of the operator's own.

A function is named `package.module:function`, and is called only if the server was started with that very
name among those that it allows: who may write a deployment may not thereby run code. It is called as

    actions, answered = function(features)

with features [N, F] float64, columns in the contract's order, NaN and infinities and all; `actions` is
[N, *action shape] as the environment takes them, `answered` [N] bool. It runs in the worker, on a thread of
its own. What it raises, what is not of this form and what comes too late is no answer, is counted, and the
chain goes on. Python cannot stop a thread: while a late call still runs, the function is not asked again.
Code that holds the interpreter's lock stops the worker itself, which the watchdog then replaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from typing import Annotated, Any

from pydantic import StringConstraints

from steersman.bundle.errors import brief
from steersman.bundle.specs import ActionSpec
from steersman.bundle.validation import close_match
from steersman.safety.asking import Asked, Offer, read_offer
from steersman.safety.bounded_call import BoundedCaller
from steersman.safety.columns import Features
from steersman.safety.errors import SafetyError
from steersman.safety.failures import FailureKind, MemberFailure, Tell

_FORM = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
EntryPointName = Annotated[str, StringConstraints(pattern=f"^{_FORM}$", max_length=200)]
"""`package.module:function`."""
EntryPoint = Callable[[Features], Any]
"""What such a name stands for: features [N, F] -> actions [N, *shape], answered [N]."""
DEFAULT_TIMEOUT_MS = 10.0


class EntryPoints:
    """The functions that chains may call in this process.

    Args:
        allowed: Their names.
        imports: Whether to import them. A supervisor checks names only: the code runs in workers.
    """

    def __init__(self, allowed: Collection[str] = (), *, imports: bool = True) -> None:
        self._allowed = frozenset(allowed)
        self._imports = imports
        for name in sorted(self._allowed):
            if not re.fullmatch(_FORM, name):
                raise SafetyError(
                    f"{name!r} is not an entry point",
                    where="allow_entry_points",
                    expected="package.module:function",
                )

    def get(self, name: str, where: str) -> EntryPoint:
        """The function of this name.

        Raises:
            SafetyError: It is not allowed, or cannot be imported.
        """
        if name not in self._allowed:
            hint = close_match(name, self._allowed) or f"Start the server with --allow-entry-point {name}."
            raise SafetyError(f"the server does not allow the entry point {name!r}", where=where, hint=hint)
        return _imported(name, where) if self._imports else _not_imported


def _imported(name: str, where: str) -> EntryPoint:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # importing runs the operator's code, which may raise anything
        raise SafetyError(
            f"entry point {name!r} cannot be imported: {brief(error)}",
            where=where,
            hint="It has to be installed where the server runs.",
        ) from error
    if not callable(found):
        raise SafetyError(
            f"entry point {name!r} is a {type(found).__name__}", where=where, expected="a function"
        )
    function: EntryPoint = found
    return function


def _not_imported(features: Features) -> Any:
    raise NotImplementedError(f"not imported in this process; asked for {len(features)} rows")


class EntryPointMember:
    """A function of the operator's as a member of a chain; it has one offer.

    Args:
        function: The function.
        action: The action space.
        name: The member, for failures.
        timeout_s: Longest wait for an answer, seconds.
        tell: Told of failures.
    """

    def __init__(
        self, function: EntryPoint, action: ActionSpec, name: str, timeout_s: float, tell: Tell
    ) -> None:
        self._caller = BoundedCaller(function, f"steersman {name}")
        self._action = action
        self._name = name
        self._timeout_s = timeout_s
        self._tell = tell

    def offers(self, asked: Asked) -> Iterator[Offer]:
        """What the function answers, to the rows to which it gives an action of the space."""
        if asked.features is None or not asked.rows:
            return
        call = self._caller.call(asked.features.copy(), self._timeout_s)  # its own: it may write into it
        if isinstance(call, str):
            self._fail(call, f"no answer within {1000 * self._timeout_s:g} ms")
        elif call.error is not None:
            self._fail("raised", f"{type(call.error).__name__}: {brief(Exception(call.error))}")
        else:
            yield from self._read(call.result, asked.rows)

    def _read(self, result: Any, rows: int) -> Iterator[Offer]:
        try:
            offer = read_offer(result, rows, self._action)
        except Exception as error:  # noqa: BLE001  it may be anything
            self._fail("malformed", brief(error))
        else:
            yield offer

    def _fail(self, kind: FailureKind, detail: str) -> None:
        self._tell(MemberFailure(self._name, kind, detail))
