"""`RSIMiddleware`: a `create_agent` agent acts on the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from langchain.agents.middleware import AgentMiddleware
from langchain.chat_models import init_chat_model

from rsi.client import current_run, default_client
from rsi.config import SourceConfig
from rsi.enforce.layer import Attempt, Layer
from rsi_adapters.langgraph.everywhere import install
from rsi_adapters.langgraph.system import with_lessons
from rsi_adapters.langgraph.table import TABLE

#: Tries that the usual SDKs make of one call when a model does not say: their `max_retries` is 2.
SDK_RETRIES: Final = 2


class RSIMiddleware(AgentMiddleware):  # type: ignore[misc] # the framework may be absent here
    """Retries, falls back, cuts, and tells lessons, as the policy of the unit at hand says; live, for sync and async.

    `create_agent(model, tools, middleware=[RSIMiddleware()])`. It also observes, as `install()`. Put it last, next to
    the model, so that other middlewares see one call.

    Args:
        models: models that a policy may turn to, by the name that it uses: chat models, or names that
            `init_chat_model` knows.
        idempotent: tools that may be called twice; those that `rsi.yaml` calls idempotent are added.
        inner_retries: tries that the layer below makes of one model call. Default: the model's `max_retries` and one,
            else 2.
        tokens_setting: the model setting that limits the answer's length; `None`: that knob is not offered.
        timeout_setting: the model setting that limits a call's seconds (`"timeout"` for most). Coroutines are cut
            without one; a sync call is only cut by it.
        source: which agent; default the client's.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, Any] | None = None,
        idempotent: Iterable[str] = (),
        inner_retries: int | None = None,
        tokens_setting: str | None = "max_tokens",
        timeout_setting: str | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__()
        self._models = dict(models or {})
        self._idempotent = frozenset(idempotent)
        self._inner = inner_retries
        self._tokens, self._timeout = tokens_setting, timeout_setting
        self._source = source
        self._layers: dict[tuple[Any, ...], Layer] = {}
        install()

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """One model call of the agent, as often as the policy says."""
        install()
        layer = self._model_layer(request, timed=self._timeout is not None)
        return layer.call(lambda attempt: handler(self._prepared(request, attempt)))

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same for a coroutine."""
        install()
        cut = _Cut("llm")

        async def make(attempt: Attempt) -> Any:
            with cut:
                return await handler(self._prepared(request, attempt))

        return await self._model_layer(request, timed=True).acall(make)

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """One tool call: again only if the tool may be called twice."""
        name = str(request.tool_call["name"])
        if not self._may_repeat(name):
            return handler(request)
        return self._tool_layer(name, timed=False).call(lambda _: handler(request))

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same for a coroutine."""
        name = str(request.tool_call["name"])
        if not self._may_repeat(name):
            return await handler(request)
        cut = _Cut("tool", name)

        async def make(_: Attempt) -> Any:
            with cut:
                return await handler(request)

        return await self._tool_layer(name, timed=True).acall(make)

    def _prepared(self, request: Any, attempt: Attempt) -> Any:
        """The request as this attempt is to be made; always from the host's own, so that nothing piles up."""
        settings: dict[str, Any] = {}
        if attempt.max_output_tokens is not None and self._tokens is not None:
            settings[self._tokens] = attempt.max_output_tokens
        if attempt.timeout_s is not None and self._timeout is not None:
            settings[self._timeout] = attempt.timeout_s
        changes: dict[str, Any] = {}
        if settings:
            changes["model_settings"] = {**(request.model_settings or {}), **settings}
        if attempt.fallback is not None:
            changes["model"] = self._model(attempt.fallback)
        return with_lessons(request.override(**changes) if changes else request, attempt.lessons)

    def _model(self, name: str) -> Any:
        found = self._models[name]
        if isinstance(found, str):
            found = self._models[name] = init_chat_model(found)
        return found

    def _model_layer(self, request: Any, *, timed: bool) -> Layer:
        inner = self._inner if self._inner is not None else _tries_of(request.model)
        knobs = {"retry", "lessons"}
        knobs |= {"max_output_tokens"} if self._tokens is not None else set()
        knobs |= {"timeout_s"} if timed else set()
        made = self._layers.get(("model", timed, inner))
        if made is None:
            made = Layer("model", knobs=knobs, fallbacks=self._models, source=self._source, inner_retries=inner)
        return self._layers.setdefault(("model", timed, inner), made)

    def _tool_layer(self, name: str, *, timed: bool) -> Layer:
        made = self._layers.get((name, timed))
        if made is None:
            knobs = ("retry", "timeout_s") if timed else ("retry",)
            made = Layer(name, knobs=knobs, kind="tool", source=self._source, inner_retries=self._inner or 1)
        return self._layers.setdefault((name, timed), made)

    def _may_repeat(self, tool: str) -> bool:
        if tool in self._idempotent:
            return True
        client = default_client()
        return tool in client.config.sources.get(self._source or client.source, SourceConfig()).idempotent


class _Cut:
    """Around each attempt of one call: if the last one was cancelled and there is another, it was cut by us.

    The observer saw only that it was cancelled.
    """

    def __init__(self, kind: str, name: str | None = None) -> None:
        self._kind, self._name = kind, name
        self._run = current_run()  # now: a tool that is cut does not leave its own
        self._was_cut = False

    def __enter__(self) -> None:
        if self._was_cut and self._run is not None:
            TABLE.tried_again(self._run, self._kind, self._name)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._was_cut = kind is not None and issubclass(kind, asyncio.CancelledError)


def _tries_of(model: Any) -> int | None:
    """What a chat model makes of one call itself; `None` where it does not say that it repeats."""
    if not hasattr(model, "max_retries"):
        return None
    said = model.max_retries
    return (said if isinstance(said, int) else SDK_RETRIES) + 1
