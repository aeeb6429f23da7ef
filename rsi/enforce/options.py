"""What `guard(...)` was told about one function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from rsi.client import Client
from rsi.enforce.arguments import Argument, Session
from rsi.model import Kind
from rsi.policy import mask_task

Shape: TypeAlias = Literal["sync", "async", "generator", "async generator"]


class Options:
    """One guarded function and its options, checked.

    Raises:
        TypeError: an option names a parameter that the function does not have.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        task: str,
        *,
        idempotent: bool,
        source: str | None,
        kind: Kind,
        session: Session,
        user: str | None,
        timeout_arg: str | None,
        tokens_arg: str | None,
        lessons_arg: str | None,
        fallbacks: Mapping[str, Callable[..., Any]] | None,
        reask: Callable[..., Any] | None,
        inner_retries: int | None,
        provider: str | None,
        model: str | None,
        client: Client | None,
        reports: bool = True,
    ) -> None:
        self.function = function
        self.task = mask_task(task)  # as the daemon will know it
        self.idempotent = idempotent
        self.source = source
        self.kind: Kind = kind
        self.shape = shape_of(function)
        self.session = Argument(function, session, "session").get if isinstance(session, str) else session_of(session)
        self.user = Argument(function, user, "user") if user else None
        self.timeout = Argument(function, timeout_arg, "timeout_arg") if timeout_arg else None
        self.tokens = Argument(function, tokens_arg, "tokens_arg") if tokens_arg else None
        self.lessons = Argument(function, lessons_arg, "lessons_arg") if lessons_arg else None
        self.fallbacks = dict(fallbacks or {})
        self.reask = reask
        self.inner_retries = inner_retries
        self.model = model
        self.provider = provider
        self.client = client
        self.reports = reports
        """`False` where a framework's observer reports the same calls."""

    def enforces(self, *, idempotent: bool) -> frozenset[str]:
        """The knobs that this guard can really act on; nothing else is offered to the daemon."""
        plain = self.shape in ("sync", "async")
        able = {
            "retry": idempotent,
            "timeout_s": self.timeout is not None or self.shape == "async",
            "fallbacks": bool(self.fallbacks),
            "max_concurrency": plain,  # a suspended stream would hold its slot for as long as somebody thinks
            "breaker": True,
            "max_output_tokens": self.tokens is not None,
            "reask": self.reask is not None,
            "lessons": self.lessons is not None,
        }
        return frozenset(knob for knob, can in able.items() if can)


def session_of(given: Callable[..., str | None] | None) -> Callable[[tuple[Any, ...], dict[str, Any]], Any] | None:
    """A callable of the call's own arguments → one of (args, kwargs)."""
    if given is None:
        return None
    return lambda args, kwargs: given(*args, **kwargs)


def shape_of(function: Callable[..., Any]) -> Shape:
    """How the function gives its result; an object is judged by its `__call__`."""
    for it in (function, getattr(function, "__call__", None)):  # noqa: B004 - its kind is asked, not whether
        if inspect.iscoroutinefunction(it):
            return "async"
        if inspect.isasyncgenfunction(it):
            return "async generator"
        if inspect.isgeneratorfunction(it):
            return "generator"
    return "sync"
