"""How a span ended. Only its status decides; an exception event by itself is nothing: interrupts leave one, too."""

from __future__ import annotations

import re
from typing import Any, Final

from rsi.model import Status
from rsi.redact.cutting import head, tail
from rsi_adapters.otel import names
from rsi_adapters.otel.fact import Failure
from rsi_adapters.otel.signals import ERROR, Span

#: What frameworks raise to steer: qualified name → what it is. Bare names are taken as well where no module is said.
_PAUSES: Final = (
    "langgraph.errors.GraphInterrupt", "langgraph.errors.NodeInterrupt", "langgraph.errors.GraphDrained",
)  # fmt: skip
_STEERS: Final = (
    "langgraph.errors.GraphBubbleUp", "langgraph.errors.ParentCommand",
    "pydantic_ai.exceptions.ModelRetry", "pydantic_ai.exceptions.CallDeferred",
    "agent_framework.MiddlewareTermination",
)  # fmt: skip
_DEFERS: Final = ("pydantic_ai.exceptions.ApprovalRequired",)
_CANCELS: Final = (
    "asyncio.exceptions.CancelledError", "asyncio.CancelledError", "concurrent.futures.CancelledError",
    "concurrent.futures._base.CancelledError", "CancelledError", "KeyboardInterrupt", "GeneratorExit", "AbortError",
)  # fmt: skip
_CONTROL: Final[dict[str, Status]] = {
    **dict.fromkeys((*_PAUSES, *_DEFERS), "paused"),
    **dict.fromkeys(_STEERS, "ok"),
    **dict.fromkeys(_CANCELS, "cancelled"),
}
_BARE: Final = {name.rpartition(".")[2]: status for name, status in _CONTROL.items()}
#: OpenInference writes the whole traceback behind the message.
_TRACEBACK: Final = "Traceback (most recent call last)"
#: What LangGraph adds to an exception that passes through a node; the same error without it is no other.
_NOTES: Final = re.compile(r"^During task with name '[^'\n]*' and id '[^'\n]*'\n?", re.MULTILINE)
#: OpenTelemetry's word for "some other error".
_OTHER: Final = "_OTHER"
MESSAGE_CHARS: Final = 8_192
STACK_CHARS: Final = 16_384
_NAME_CHARS: Final = 200
_HTTP: Final = range(100, 600)


def ended(span: Span) -> tuple[Status, Failure | None]:
    """Status, and what ended it if it failed."""
    raised = next((event.attrs for event in reversed(span.events) if event.name == names.EXCEPTION), {})
    control = _control(_text(raised.get(names.EXCEPTION_TYPE)) or _text(span.attrs.get(names.ERROR_TYPE)))
    if control is not None and (control == "paused" or span.code == ERROR):
        return control, None
    if span.code != ERROR:
        return "ok", None
    return "failed", _failure(span, raised)


def _control(kind: str) -> Status | None:
    return _CONTROL.get(kind) or (_BARE.get(kind) if "." not in kind else None)


def _failure(span: Span, raised: dict[str, Any]) -> Failure:
    named = _text(raised.get(names.EXCEPTION_TYPE))
    said = _text(span.attrs.get(names.ERROR_TYPE))
    status = next((code for name in names.HTTP_STATUS if (code := _http(span.attrs.get(name))) is not None), None)
    if status is None:
        status = _http(said)
    if not named and said != _OTHER and not said.isdigit():
        named = said
    told, _, trace = span.message.partition(_TRACEBACK)
    stack = _NOTES.sub("", _text(raised.get(names.EXCEPTION_STACK)) or (_TRACEBACK + trace if trace else ""))
    message = _text(raised.get(names.EXCEPTION_MESSAGE)) or told.strip()
    return Failure(
        type=named.rpartition(".")[2][:_NAME_CHARS] or None,
        message=head(message, MESSAGE_CHARS) or None,  # cut when secrets are out
        stack=tail(stack, STACK_CHARS) or None,
        status=status,
    )


def _http(value: Any) -> int | None:
    try:
        code = int(value) if isinstance(value, int) or (isinstance(value, str) and len(value) == 3) else 0  # noqa: PLR2004 - digits of an HTTP status
    except ValueError:
        return None
    return code if code in _HTTP else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def came_from(outer: Failure, inner: Failure) -> bool:
    """Whether a span ended with what had ended a span inside it: the same error, or one raised because of it."""
    if outer.type is None and outer.message is None:
        return True
    if outer.message is not None and outer.message == inner.message:
        return outer.type is None or inner.type is None or outer.type == inner.type
    if inner.message is None:
        return outer.message is None and outer.type == inner.type
    if outer.type is None or outer.type == inner.type:
        return inner.message in (outer.message or "")
    return inner.type is not None and f"{inner.type}: {inner.message}" in (outer.stack or "")
