"""Stands around the calls of Routers, and of `litellm.completion` inside an open run."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from rsi.client import current_run
from rsi.client.facts import ErrorFacts, class_name
from rsi.enforce.layer import PLAIN, Attempt, Layer
from rsi_adapters.litellm.layers import Layers
from rsi_adapters.litellm.naming import session_of, told_by_another, used, user_of
from rsi_adapters.litellm.observing import Observer, Scope


class Calls:
    """Makes a call as often, and with what, the policy of its unit says."""

    def __init__(self, observer: Observer, layers: Layers) -> None:
        self._observer = observer
        self._layers = layers

    def around(self, function: Callable[..., Any], *, of_router: bool) -> Callable[..., Any]:
        """A function to stand in for `completion`; `of_router`: its first argument is the Router."""

        def completion(*args: Any, **kwargs: Any) -> Any:
            found = self._taken(args, kwargs, of_router=of_router)
            if found is None:
                return function(*args, **kwargs)
            router, given, layer = found
            first = (router,) if of_router else ()

            def make(attempt: Attempt) -> Any:
                arguments = self._arguments(given, attempt)
                with _cooling():
                    return function(*first, **arguments)

            with self._watched(given, router) as answer:
                made = layer.call(make)
                answer.append(made)
            return made

        return _named(completion, function)

    def around_async(self, function: Callable[..., Awaitable[Any]], *, of_router: bool) -> Callable[..., Any]:
        """The same for `acompletion`."""

        async def acompletion(*args: Any, **kwargs: Any) -> Any:
            found = self._taken(args, kwargs, of_router=of_router)
            if found is None:
                return await function(*args, **kwargs)
            router, given, layer = found
            first = (router,) if of_router else ()

            async def make(attempt: Attempt) -> Any:
                arguments = self._arguments(given, attempt)
                with _cooling():
                    return await function(*first, **arguments)

            with self._watched(given, router) as answer:
                made = await layer.acall(make)
                answer.append(made)
            return made

        return _named(acompletion, function)

    def _taken(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, of_router: bool
    ) -> tuple[Any, dict[str, Any], Layer] | None:
        """Router, arguments and layer of a call that we stand around.

        A call that LiteLLM makes by itself is inside one already; one outside any run has no unit, unless a Router
        makes it, and then not if it streams: what is over when cannot be known from here.
        """
        observer = self._observer
        if observer.off or observer.scope.get() is not None or not observer.watched.client.enabled:
            return None
        router, rest = (args[0], args[1:]) if of_router else (None, args)
        given = dict(zip(("model", "messages"), rest, strict=False)) | kwargs
        if len(rest) > len(("model", "messages")) or not isinstance(given.get("model"), str):
            return None
        if current_run() is None and (router is None or given.get("stream")):
            return None
        return router, given, self._layers.of(given, router)

    def _arguments(self, given: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
        """What the next attempt is made with. A call that is still open was cut, or there would be no next attempt."""
        scope = self._observer.scope.get()
        if scope is not None and attempt.number > 1:
            limit = f" after {attempt.timeout_s:g} s" if attempt.timeout_s is not None else ""
            self._observer.close(scope, None, TimeoutError(f"timed out{limit} (timeout_s of the rsi policy)"))
        return given if attempt is PLAIN else self._layers.applied(given, attempt)

    @contextlib.contextmanager
    def _watched(self, given: Mapping[str, Any], router: Any) -> Iterator[list[Any]]:
        """The scope of one call of the host's; outside any run a Router's call is a task."""
        observer, scope, answer = self._observer, Scope(), list[Any]()
        watched, key, outer = observer.watched, object(), current_run()
        if outer is None and router is not None:
            watched.begin(
                key, str(given["model"]), kind="llm", session=session_of(given), user=user_of(given), enter=True
            )
        token, host = observer.scope.set(scope), None
        try:
            yield answer
        except BaseException as error:
            observer.close(scope, None, error)
            found = error.facts if isinstance(error, CoolingDown) else error
            if outer is not None and isinstance(error, Exception) and not (scope.failed or told_by_another()):
                watched.failed_inside_run(outer, str(given["model"]), found, kind="llm")  # it never came to a call
            watched.end(key, found)
            if not isinstance(error, CoolingDown):
                raise
            host = error.host
        else:
            if not given.get("stream"):
                observer.close(scope, answer[0], None)
            watched.end(key, **used(answer[0]))
        finally:
            observer.scope.reset(token)
        if host is not None:
            raise host from host.__cause__


class CoolingDown(Exception):  # noqa: N818 - it is no error of ours; the host never sees it
    """Every deployment of a group rests: LiteLLM's error, in words that say what it is, and when to come back.

    Attributes:
        host: what LiteLLM raised.
        retry_after: seconds.
        facts: what is reported.
    """

    status_code = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, host: ValueError, model: str, seconds: float) -> None:
        text = f"429 rate limit: every deployment of {model} is cooling down, try again in {seconds:g} s"
        super().__init__(text)
        self.host = host
        self.retry_after = seconds
        self.facts = ErrorFacts(text, type=class_name(type(host)), status=int(self.status_code), provider="litellm")


@contextlib.contextmanager
def _cooling() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        seconds = getattr(error, "cooldown_time", None)
        if not isinstance(seconds, int | float):
            raise
        raise CoolingDown(error, str(getattr(error, "model", "a group")), seconds) from error


def _named(made: Callable[..., Any], function: Any) -> Callable[..., Any]:
    made.__name__, made.__doc__, made.__wrapped__ = function.__name__, function.__doc__, function  # type: ignore[attr-defined]
    return made
