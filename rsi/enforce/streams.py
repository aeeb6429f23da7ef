"""The wrappers of generators. A stream begins with its first item, and is never tried again after it.

The run is open only while the stream's own code runs: what its reader does between two items is not inside it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, TypeAlias, TypeVar

from rsi.enforce.call import Call
from rsi.enforce.guarded import Guarded
from rsi.enforce.wrapping import apause, pause

_T = TypeVar("_T")
_Opened: TypeAlias = tuple[AsyncGenerator[Any, Any], Any]


def guard_generator(guarded: Guarded) -> Callable[..., Any]:
    """For a generator function."""
    function = guarded.options.function

    @functools.wraps(function)
    def stream_it(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = guarded.begin(args, kwargs)
        if call is None:
            return (yield from function(*args, **kwargs))
        while True:
            try:
                stream, step = _open(call)
            except StopIteration as end:
                call.ok()
                return end.value
            except BaseException as error:
                wait = call.failed(error)
                if wait is None:
                    raise
            else:
                return (yield from _pass_on(call, stream, step))
            pause(call, wait)

    return stream_it


def _open(call: Call) -> tuple[Generator[Any, Any, Any], Any]:
    """The stream and its first item."""
    token = call.enter()
    try:
        call.admit()
        stream = call.target(*call.args, **call.kwargs)
        return stream, next(stream)
    finally:
        call.leave(token)


def _pass_on(call: Call, stream: Generator[Any, Any, Any], item: Any) -> Generator[Any, Any, Any]:
    """The rest of the stream, with whatever its reader sends or throws into it."""
    while True:
        try:
            answer = yield item
        except GeneratorExit:
            _within(call, stream.close)
            call.cancelled()
            raise
        except BaseException as thrown:  # noqa: BLE001 - belongs into the stream, as without us
            resume = functools.partial(stream.throw, thrown)
        else:
            resume = functools.partial(stream.send, answer)
        try:
            item = _within(call, resume)
        except StopIteration as end:
            call.ok()
            return end.value
        except BaseException as error:
            call.failed(error, final=True)
            raise


def _within(call: Call, work: Callable[[], Any]) -> Any:
    token = call.enter()
    try:
        return work()
    finally:
        call.leave(token)


def guard_async_generator(guarded: Guarded) -> Callable[..., Any]:
    """For an async generator function."""
    function = guarded.options.function

    @functools.wraps(function)
    async def stream_it(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = guarded.begin(args, kwargs)
        try:
            stream, item = await (_aopen(call) if call is not None else _first(function(*args, **kwargs)))
        except StopAsyncIteration:
            return
        while True:
            try:
                answer = yield item
            except GeneratorExit:
                await _awithin(call, stream.aclose())
                if call is not None:
                    call.cancelled()
                raise
            except BaseException as thrown:  # noqa: BLE001 - belongs into the stream, as without us
                resume = stream.athrow(thrown)
            else:
                resume = stream.asend(answer)
            try:
                item = await _awithin(call, resume)
            except StopAsyncIteration:
                if call is not None:
                    call.ok()
                return
            except BaseException as error:
                if call is not None:
                    call.failed(error, final=True)
                raise

    return stream_it


async def _aopen(call: Call) -> _Opened:
    """The stream and its first item, after as many tries as the policy allows; an empty stream ends the call."""
    while True:
        try:
            call.admit()
            return await _awithin(call, _first(call.target(*call.args, **call.kwargs)))
        except StopAsyncIteration:
            call.ok()
            raise
        except BaseException as error:
            wait = call.failed(error)
            if wait is None:
                raise
        await apause(call, wait)


async def _first(stream: AsyncGenerator[Any, Any]) -> _Opened:
    return stream, await anext(stream)


async def _awithin(call: Call | None, work: Awaitable[_T]) -> _T:
    if call is None:
        return await work
    token = call.enter()
    try:
        return await work
    finally:
        call.leave(token)
