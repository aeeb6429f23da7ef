"""`RSICallbackHandler`: LangChain's events become outcomes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from rsi.client import Client, default_client
from rsi.client.facts import ErrorFacts
from rsi.client.recorded import StepFields
from rsi.enforce.watched import Watched
from rsi_adapters.langgraph.answers import failure_of, refused_tools, resumes, usage_of
from rsi_adapters.langgraph.table import TABLE

_F = TypeVar("_F", bound=Callable[..., None])


def _border(method: _F) -> _F:
    """Into the host: whatever goes wrong here is counted and said once, and the host goes on."""

    @functools.wraps(method)
    def told(self: RSICallbackHandler, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border into the host
            tally = self.client.tally
            tally.count("adapter_errors")
            tally.say_once(f"langgraph: {method.__name__} was not told: {type(error).__name__}: {error}")

    return cast("_F", told)


class RSICallbackHandler(BaseCallbackHandler):  # type: ignore[misc] # the framework may be absent here
    """Reports each outermost run as a task, and what happens inside as steps, tools and model calls of it.

    For one call: `graph.invoke(x, {"callbacks": [RSICallbackHandler()]})`. For all of them: `install()`. Both at once
    tell each run once. It runs in the caller's thread, only queues, and never raises.

    Args:
        source: which agent; default the client's.
        client: instead of the process's own.
    """

    run_inline = True
    raise_error = False

    def __init__(self, *, source: str | None = None, client: Client | None = None) -> None:
        self._client = client
        self._watched = Watched(source=source, client=client)

    @property
    def client(self) -> Client:
        """Who sends."""
        return self._client or default_client()

    @property
    def off(self) -> bool:
        """Whether nothing is to be heard."""
        return not (self._client or default_client()).enabled

    ignore_chain = ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = cast("bool", off)
    ignore_retry = ignore_custom_event = cast("bool", property(lambda _: True))

    @_border
    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A graph, a node, or a chain."""
        TABLE.begin(
            self._watched,
            run_id.int,
            _int(parent_run_id),
            "chain",
            _name(serialized, kwargs, "chain"),
            metadata=metadata,
            resumed=parent_run_id is None and resumes(inputs),
        )

    @_border
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It ended; a node may tell of tools that never began."""
        del kwargs
        key = run_id.int
        for message in refused_tools(outputs):
            TABLE.refused(key, str(getattr(message, "name", None) or "tool"), ErrorFacts(str(message.content)))
        TABLE.end(key)

    @_border
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It raised: a failure, control flow, or cancelling."""
        del kwargs
        TABLE.end(run_id.int, error)

    @_border
    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A call of a chat model."""
        del messages
        self._model_began(serialized, run_id, parent_run_id, metadata, kwargs)

    @_border
    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A call of a model that takes text."""
        del prompts
        self._model_began(serialized, run_id, parent_run_id, metadata, kwargs)

    def _model_began(
        self,
        serialized: dict[str, Any] | None,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: dict[str, Any] | None,
        more: dict[str, Any],
    ) -> None:
        said = metadata or {}
        model = str(said.get("ls_model_name") or _name(serialized, more, "model"))
        fields: StepFields = {"model": model}
        if said.get("ls_provider"):
            fields["provider"] = str(said["ls_provider"])
        TABLE.begin(self._watched, run_id.int, _int(parent_run_id), "llm", model, metadata=said, fields=fields)

    @_border
    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It answered."""
        del kwargs
        TABLE.end(run_id.int, **usage_of(response))

    @_border
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It did not."""
        del kwargs
        TABLE.end(run_id.int, error)

    @_border
    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool. What it was asked is not kept."""
        del input_str
        name = _name(serialized, kwargs, "tool")
        TABLE.begin(self._watched, run_id.int, _int(parent_run_id), "tool", name, metadata=metadata)

    @_border
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It gave a result, which may say that it failed."""
        del kwargs
        TABLE.end(run_id.int, failure_of(output))

    @_border
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It raised."""
        del kwargs
        TABLE.end(run_id.int, error)

    @_border
    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A retriever is asked for documents."""
        del query
        name = _name(serialized, kwargs, "retriever")
        TABLE.begin(self._watched, run_id.int, _int(parent_run_id), "retriever", name, metadata=metadata)

    @_border
    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **kwargs: Any) -> None:
        """It found something, or nothing."""
        del documents, kwargs
        TABLE.end(run_id.int)

    @_border
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It raised."""
        del kwargs
        TABLE.end(run_id.int, error)


def _int(run_id: UUID | None) -> int | None:
    """What an id is known by: a UUID's own hash is computed anew, in Python, at every look-up."""
    return None if run_id is None else run_id.int


def _name(serialized: dict[str, Any] | None, more: dict[str, Any], otherwise: str) -> str:
    return str(more.get("name") or (serialized or {}).get("name") or otherwise)
