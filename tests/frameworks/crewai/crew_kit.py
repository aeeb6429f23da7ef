"""A scripted model of CrewAI's own kind."""

from __future__ import annotations

from typing import Any

from crewai import BaseLLM
from crewai.events.types.llm_events import LLMCallType

#: What a ReAct agent says when it is done.
FINAL = "Thought: I now can give a great answer\nFinal Answer: X is 42"


def asks(tool: str, given: str = '{"q": "x"}') -> str:
    """What a ReAct agent says to use a tool."""
    return f"Thought: use a tool\nAction: {tool}\nAction Input: {given}"


class Scripted(BaseLLM):
    """Says what it is told to, then `FINAL`; reports its calls as CrewAI's own models do. No function calling: a ReAct agent."""

    def __init__(self, *script: Any, model: str = "m") -> None:
        super().__init__(model=model)
        self._told = {"script": list(script), "heard": []}

    @property
    def heard(self) -> list[str]:
        return self._told["heard"]

    def call(
        self, messages: Any, tools: Any = None, callbacks: Any = None, available_functions: Any = None, **more: Any
    ) -> Any:
        around = {"from_task": more.get("from_task"), "from_agent": more.get("from_agent")}
        self._emit_call_started_event(messages=messages, tools=tools, **around)
        self._told["heard"].append(str(messages))
        script = self._told["script"]
        said = script.pop(0) if script else FINAL
        if isinstance(said, BaseException):
            if isinstance(said, Exception):
                self._emit_call_failed_event(error=str(said), **around)
            raise said
        self._emit_call_completed_event(
            response=said,
            call_type=LLMCallType.LLM_CALL,
            messages=messages,
            usage={"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
            **around,
        )
        return said

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def supports_function_calling(self) -> bool:
        return False

    def get_context_window_size(self) -> int:
        return 8192
