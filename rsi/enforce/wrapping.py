"""The wrappers of functions and coroutine functions: they call, wait, and hold what has to be held."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from rsi import clock
from rsi.enforce.call import Call
from rsi.enforce.guarded import Guarded


def guard_sync(guarded: Guarded) -> Callable[..., Any]:
    """For a function that returns its result."""
    function = guarded.options.function

    @functools.wraps(function)
    def call_it(*args: Any, **kwargs: Any) -> Any:
        call = guarded.begin(args, kwargs)
        if call is None:
            return function(*args, **kwargs)
        token = call.enter()
        try:
            while True:
                try:
                    if call.plain:
                        result = function(*args, **kwargs)
                    else:
                        with slot(call, call.admit()):
                            result = call.target(*call.args, **call.kwargs)
                except BaseException as error:
                    wait = call.failed(error)
                    if wait is None:
                        raise
                else:
                    call.ok()
                    return result
                pause(call, wait)
        finally:
            call.leave(token)

    return call_it


def guard_async(guarded: Guarded) -> Callable[..., Any]:
    """For a coroutine function."""
    function = guarded.options.function

    @functools.wraps(function)
    async def call_it(*args: Any, **kwargs: Any) -> Any:
        call = guarded.begin(args, kwargs)
        if call is None:
            return await function(*args, **kwargs)
        token = call.enter()
        try:
            while True:
                try:
                    result = await (function(*args, **kwargs) if call.plain else _try(call))
                except BaseException as error:
                    wait = call.failed(error)
                    if wait is None:
                        raise
                else:
                    call.ok()
                    return result
                await apause(call, wait)
        finally:
            call.leave(token)

    return call_it


def pause(call: Call, wait: float) -> None:
    """Wait before the next try; whoever goes away meanwhile has cancelled the call."""
    try:
        if wait:
            clock.sleep(wait)
    except BaseException:
        call.cancelled()
        raise


async def apause(call: Call, wait: float) -> None:
    """The same in a task."""
    try:
        await clock.asleep(wait)
    except BaseException:
        call.cancelled()
        raise


async def _try(call: Call) -> Any:
    async with aslot(call, call.admit()):
        result = call.target(*call.args, **call.kwargs)
        if not inspect.isawaitable(result):  # a fallback may be an ordinary function
            return result
        return await (result if call.timeout_s is None else _timed(call, result, call.timeout_s))


async def _timed(call: Call, result: Awaitable[Any], seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await result
    except TimeoutError as error:
        if limit.expired():
            raise call.timed_out(seconds) from error
        raise


@contextlib.contextmanager
def slot(call: Call, limit: int | None) -> Iterator[None]:
    """Hold one of `limit` places for a try."""
    if limit is None:
        yield
        return
    if not call.gate.try_enter(limit):
        call.waits(limit)
        call.gate.wait(limit)
    try:
        call.inside()
        yield
    finally:
        call.gate.leave()


@contextlib.asynccontextmanager
async def aslot(call: Call, limit: int | None) -> AsyncIterator[None]:
    """The same in a task."""
    if limit is None:
        yield
        return
    if not call.gate.try_enter(limit):
        call.waits(limit)
        await call.gate.await_turn(limit)
    try:
        call.inside()
        yield
    finally:
        call.gate.leave()
