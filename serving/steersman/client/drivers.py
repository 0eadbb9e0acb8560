"""The two drivers: one performs a call's effects by blocking, the other by awaiting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import grpc

from steersman.client.core import Ambient, Effect, Steps, Wait, read_failure

C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")


class BlockingDriver:
    """Performs effects on a blocking channel."""

    def __init__(self, methods: Callable[[str], Any], ambient: Ambient) -> None:
        self._methods = methods
        self._sleep = ambient.sleep

    def run(self, steps: Steps[T]) -> T:
        """The result of a call."""
        reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = self._perform(effect)

    def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, Wait):
            return self._sleep(effect.seconds)
        method = self._methods(effect.rpc)
        try:
            return method(effect.request, timeout=effect.timeout, wait_for_ready=effect.wait_for_ready)
        except grpc.RpcError as error:
            return read_failure(error)


class AwaitingDriver:
    """Performs effects on an asyncio channel."""

    def __init__(self, methods: Callable[[str], Any], ambient: Ambient) -> None:
        self._methods = methods
        self._sleep = ambient.async_sleep

    async def run(self, steps: Steps[T]) -> T:
        """The result of a call."""
        reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = await self._perform(effect)

    async def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, Wait):
            return await self._sleep(effect.seconds)
        method = self._methods(effect.rpc)
        try:
            return await method(effect.request, timeout=effect.timeout, wait_for_ready=effect.wait_for_ready)
        except grpc.RpcError as error:
            return read_failure(error)


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
