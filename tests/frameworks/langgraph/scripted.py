"""A chat model that answers what it is told to, and small graphs."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from agent_kit import HTTPError
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import START, StateGraph
from pydantic import PrivateAttr


class State(TypedDict):
    x: Annotated[int, operator.add]


class Scripted(BaseChatModel):
    """`script` in order, then its last again: a message, an exception to raise, or a callable that makes either."""

    model: str = "fake-a"
    script: list[Any]
    seen: list[Any]
    given: list[dict[str, Any]]
    max_retries: int = 0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **more: Any) -> Any:
        return self.bind(**{key: value for key, value in more.items() if key != "tool_choice"})

    def _get_ls_params(self, stop: Any = None, **more: Any) -> Any:
        return {"ls_provider": "fake", "ls_model_name": self.model, "ls_model_type": "chat"}

    def _next(self, messages: Any, more: dict[str, Any]) -> AIMessage:
        with self._lock:
            self.seen.append(messages)
            self.given.append(more)
            at = min(len(self.seen), len(self.script)) - 1
        answer = self.script[at]
        answer = answer() if callable(answer) and not isinstance(answer, BaseException) else answer
        if isinstance(answer, BaseException):
            raise answer
        return answer.model_copy()

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, more))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        import asyncio

        answer = self._next(messages, more)
        if answer.content == "never":
            await asyncio.Event().wait()
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Streaming(Scripted):
    """Gives out its answer word by word."""

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Any:
        for word in str(self._next(messages, more).content).split():
            chunk = ChatGenerationChunk(message=AIMessageChunk(word))
            if run_manager:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk


def model(*script: Any, name: str = "fake-a", kind: type[Scripted] = Scripted, **more: Any) -> Scripted:
    return kind(model=name, script=list(script), seen=[], given=[], **more)


def says(text: str, *calls: tuple[str, dict[str, Any]]) -> AIMessage:
    """An answer, with tool calls."""
    return AIMessage(
        text,
        tool_calls=[{"name": name, "args": given, "id": f"c{n}"} for n, (name, given) in enumerate(calls)],
        usage_metadata={"input_tokens": 10, "output_tokens": 3, "total_tokens": 13},
        response_metadata={"model_name": "fake-a-2026"},
    )


ASKED = {"messages": [{"role": "user", "content": "hi"}]}


def chain_of(
    *nodes: Callable[..., Any], name: str | None = "app", compiled: dict[str, Any] | None = None, **more: Any
) -> Any:
    """A graph with these functions one after the other; `more` goes to every node."""
    builder = StateGraph(State)
    before = START
    for node in nodes:
        builder.add_node(node.__name__, node, **more)
        builder.add_edge(before, node.__name__)
        before = node.__name__
    return builder.compile(name=name, **(compiled or {}))


class Failing:
    """A node's work that fails with these errors one after the other, then adds one."""

    def __init__(self, *errors: BaseException, name: str = "work") -> None:
        self.errors = list(errors)
        self.tries = 0
        self.__name__ = name

    def __call__(self, state: State) -> dict[str, int]:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"x": 1}


def busy(n: int) -> list[HTTPError]:
    return [HTTPError(503, "The engine is currently overloaded") for _ in range(n)]
