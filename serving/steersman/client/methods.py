"""From the steps of a call to a method that blocks, or one that is awaited."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from steersman.client.drivers import AwaitingDriver, BlockingDriver
from steersman.client.effects import Steps

C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")


class Blocking(Generic[C]):
    """Something whose calls block."""

    def __init__(self, calls: C, driver: BlockingDriver) -> None:
        self._calls = calls
        self._driver = driver


class Awaitable(Generic[C]):
    """Something whose calls are awaited."""

    def __init__(self, calls: C, driver: AwaitingDriver) -> None:
        self._calls = calls
        self._driver = driver


def blocking(method: Callable[Concatenate[C, P], Steps[T]]) -> Callable[Concatenate[Blocking[C], P], T]:
    """The method that makes this call and blocks until it has its result."""

    @wraps(method)
    def call(self: Blocking[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.run(method(self._calls, *args, **kwargs))

    return _with_result(call, method)


def awaited(
    method: Callable[Concatenate[C, P], Steps[T]],
) -> Callable[Concatenate[Awaitable[C], P], Coroutine[Any, Any, T]]:
    """The method that makes this call and is awaited."""

    @wraps(method)
    async def call(self: Awaitable[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._driver.run(method(self._calls, *args, **kwargs))

    return _with_result(call, method)


F = TypeVar("F", bound=Callable[..., Any])


def _with_result(call: F, method: Callable[..., Any]) -> F:
    """`help()` shall show what the caller gets, `Decision`, and not the steps to it, `Steps[Decision]`."""
    signature = inspect.signature(method)
    result = str(signature.return_annotation).removeprefix("Steps[").removesuffix("]")
    call.__signature__ = signature.replace(return_annotation=result)  # type: ignore[attr-defined]
    return call
