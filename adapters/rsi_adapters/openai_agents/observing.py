"""A trace processor: the SDK's spans become steps, and a trace that the host opens around several runs becomes a task.

All of it is called in the run's own thread, so nothing here waits or sends.
"""

from __future__ import annotations

from typing import Any, Final

from agents.tracing import TracingProcessor

from rsi.client import Client, current_run
from rsi.client.facts import ErrorFacts
from rsi.enforce.watched import Watched

#: Span types that are calls of their own; agents, turns and handoffs only frame them.
_CALLS: Final = {"function": "tool", "mcp_tools": "tool", "generation": "llm", "response": "llm", "guardrail": "step"}
_UNKNOWN_TOOL: Final = ("Tool not found", "not found in agent")


class Processor(TracingProcessor):
    """Registered beside the host's own processors.

    `acted` holds the ids of runs in which a tool has been called: they cannot be made again.
    """

    def __init__(self, *, source: str | None, client: Client | None) -> None:
        self.watched = Watched(source=source, client=client)
        self.acted: set[str] = set()
        self.off = False
        #: Model calls that ended without an answer and without an error, by run: older SDKs let the error pass by.
        self._unanswered: dict[str, str] = {}
        #: Traces of the host, and what the last run inside ended with.
        self._around: dict[str, BaseException | None] = {}

    def on_trace_start(self, trace: Any) -> None:
        """A trace outside any run of ours is the host's own: the task that its runs are steps of."""
        if self.off or current_run() is not None:
            return
        if self.watched.begin(trace.trace_id, trace.name, session=_text(getattr(trace, "group_id", None)), enter=True):
            self._around[trace.trace_id] = None

    def on_trace_end(self, trace: Any) -> None:
        """The SDK says nothing of a trace's failure: it failed if its last run did."""
        if trace.trace_id in self._around:
            self.watched.end(trace.trace_id, self._around.pop(trace.trace_id))

    def ended_in(self, trace_id: str | None, error: BaseException | None) -> None:
        """A run inside a trace of the host has ended."""
        if trace_id in self._around:
            self._around[str(trace_id)] = error

    def on_span_start(self, span: Any) -> None:
        """A call began; tools are entered, so that guards inside them are parts of them."""
        kind = _CALLS.get(span.span_data.type)
        run = current_run()
        if self.off or kind is None or run is None:
            return
        self.settle(run.id, None)
        if kind == "tool":
            self.acted.add(run.root.id)
            self.acted.add(run.id)
        self.watched.begin(
            span.span_id,
            _name_of(span.span_data),
            parent=span.parent_id,
            kind=kind,  # type: ignore[arg-type]
            enter=kind == "tool",
            quiet=kind == "step",
        )

    def on_span_end(self, span: Any) -> None:
        """A call ended. An error that frames a call is told by the call."""
        data = span.span_data
        run = current_run()
        if run is not None and span.error is None and _is_unanswered(data):
            self._unanswered[run.id] = span.span_id
        elif data.type in _CALLS:
            self.watched.end(span.span_id, _facts(span.error) or _tripped(data), **_known(data))
        elif span.error is not None and _is_unknown_tool(span.error) and run is not None and not self.off:
            self.watched.failed_inside_run(
                run, _named_tool(span.error), _facts(span.error) or ErrorFacts("unknown tool")
            )

    def settle(self, run: str, error: BaseException | None) -> None:
        """What the model call that ended without an answer in this run had ended with."""
        span = self._unanswered.pop(run, None)
        if span is not None:
            self.watched.end(span, error)

    def shutdown(self) -> None:
        """The client sends what is queued when the process ends."""

    def force_flush(self) -> None:
        """The same."""


def _is_unanswered(data: Any) -> bool:
    if data.type == "generation":
        return not data.output and not data.usage
    return data.type == "response" and data.response is None


def _name_of(data: Any) -> str:
    return str(getattr(data, "name", None) or getattr(data, "model", None) or data.type)


def _facts(error: Any) -> ErrorFacts | None:
    """`{message, data}` of a span; the message is often a frame around the error that is in `data`."""
    if not error:
        return None
    data = error.get("data") or {}
    inner = data.get("error") if isinstance(data, dict) else None
    message = str(error.get("message") or "failed")
    return ErrorFacts(f"{message}: {inner}" if inner and str(inner) not in message else message)


def _tripped(data: Any) -> ErrorFacts | None:
    if data.type == "guardrail" and getattr(data, "triggered", False):
        return ErrorFacts(f"guardrail {data.name} tripped", type="GuardrailTripwireTriggered")
    return None


def _known(data: Any) -> dict[str, Any]:
    """Model and tokens, wherever this kind of span keeps them."""
    response = getattr(data, "response", None)
    usage = getattr(response, "usage", None) or getattr(data, "usage", None) or {}
    read: Any = usage.get if isinstance(usage, dict) else lambda name: getattr(usage, name, None)
    found = {
        "model": getattr(response, "model", None) or getattr(data, "model", None),
        "tokens_in": read("input_tokens"),
        "tokens_out": read("output_tokens"),
    }
    return {name: value for name, value in found.items() if isinstance(value, int | float | str)}


def _is_unknown_tool(error: Any) -> bool:
    return any(words in str(error.get("message")) for words in _UNKNOWN_TOOL)


def _named_tool(error: Any) -> str:
    data = error.get("data") or {}
    return str(data.get("tool_name") or "unknown tool") if isinstance(data, dict) else "unknown tool"


def _text(value: Any) -> str | None:
    return str(value)[:128] if value else None
