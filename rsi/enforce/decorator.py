"""`rsi.guard`: one call, one outcome, under the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rsi.client import Client
from rsi.enforce.arguments import Session
from rsi.enforce.guarded import Guarded
from rsi.enforce.options import Options, shape_of
from rsi.enforce.streams import guard_async_generator, guard_generator
from rsi.enforce.wrapping import guard_async, guard_sync
from rsi.model import Kind

F = TypeVar("F", bound=Callable[..., Any])

_WRAPPERS: Mapping[str, Callable[[Guarded], Callable[..., Any]]] = {
    "sync": guard_sync,
    "async": guard_async,
    "generator": guard_generator,
    "async generator": guard_async_generator,
}


def guard(
    task: str | None = None,
    *,
    idempotent: bool = False,
    source: str | None = None,
    kind: Kind = "tool",
    session: Session = None,
    user: str | None = None,
    timeout_arg: str | None = None,
    tokens_arg: str | None = None,
    lessons_arg: str | None = None,
    fallbacks: Mapping[str, Callable[..., Any]] | None = None,
    reask: Callable[..., Any] | None = None,
    inner_retries: int | None = None,
    provider: str | None = None,
    model: str | None = None,
    client: Client | None = None,
) -> Callable[[F], F]:
    """Report every call of a function as one outcome, and act on the policy for it.

    Works on functions, methods, coroutine functions, generators and async generators; arguments, result and exceptions
    pass unchanged. Failed tries that are followed by another are steps of the call. A stream is never tried again after
    its first item. Inside an open run the call is a `tool` of it, and if somebody outside already repeats calls it only
    observes. A knob of the policy is offered to the daemon only if this guard can act on it:

    Args:
        task: what kind of work; default the function's name.
        idempotent: the call may be repeated. Without it (or `sources.<source>.idempotent` in `rsi.yaml`) no `retry`.
        source: which agent; default `RSI_SOURCE`, else the project folder's name.
        kind: what it is inside an open run: `tool`, `step` or `llm`. Outermost it is always a task.
        session: the parameter that holds the session, or a callable of the call's arguments that returns it; the
            session is the unit of a canary.
        user: the parameter that holds the user.
        timeout_arg: the parameter that takes a timeout in seconds (`timeout_s`). A coroutine function needs none.
        tokens_arg: the parameter that takes the largest number of output tokens (`max_output_tokens`).
        lessons_arg: the parameter that takes a list of lessons (`lessons`).
        fallbacks: callables by name, called with the same arguments, that a policy may turn to (`fallbacks`).
        reask: called in place of the function as `reask(error, *args, **kwargs)` when an answer is of no use (`reask`).
        inner_retries: how many tries a layer below makes of one call (0 or 1: it does not repeat). Default:
            what clients that are loaded try by themselves (3 or 2), else 1. Planned times inner never exceeds
            `bounds.max_attempts`.
        provider: who is called; retries have one budget per provider.
        model: reported with the outcome.
        client: instead of the process's own.

    Raises:
        TypeError: at decoration: an option names a parameter that the function does not have.
    """
    if callable(task):
        raise TypeError(f'rsi.guard takes the task\'s name: @rsi.guard("{getattr(task, "__name__", "task")}")')

    def decorate(function: F) -> F:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        name = task if task is not None else str(getattr(function, "__name__", type(function).__name__))
        options = Options(
            function,
            name,
            idempotent=idempotent,
            source=source,
            kind=kind,
            session=session,
            user=user,
            timeout_arg=timeout_arg,
            tokens_arg=tokens_arg,
            lessons_arg=lessons_arg,
            fallbacks=fallbacks,
            reask=reask,
            inner_retries=inner_retries,
            provider=provider,
            model=model,
            client=client,
        )
        return _WRAPPERS[shape_of(function)](Guarded(options))  # type: ignore[return-value]

    return decorate
