"""What is reported of a session: outcomes with ids that every way of reporting agrees on.

A failed call may be told by a hook at once, and by the transcript when the session ends: the id makes it one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rsi import clock
from rsi.client import Item
from rsi.client.wire import MAX_TEXT
from rsi.model import FixRef
from rsi.redact.cutting import head
from rsi_adapters.claude_code.normal import Work

TASK: Final = "session"
#: The two ends of an error tell what it is; what lies between is the output of the user's programs.
_ERROR_CHARS: Final = 2_000
#: A tag: the reporter cannot tell whether this was a failure, so that an issue needs it in two sessions.
UNSURE: Final = "rsi:unsure"


def tool_id(session: str, tool_use_id: str) -> str:
    """The id of a tool's outcome."""
    return f"{session}:{tool_use_id}"[:128]


def session_id(session: str, part: int = 1) -> str:
    """The id of a session's outcome; one that was resumed has several parts."""
    return session[:120] if part == 1 else f"{session[:120]}:{part}"


def failed_tool(
    payload: Mapping[str, Any], source: str, work: Work, *, keep_input: bool = False, ts: float | None = None
) -> Item:
    """A tool call that failed.

    Args:
        payload: a `PostToolUseFailure`: `session_id`, `tool_name`, `tool_use_id`, `error`, and what else there is.
        source: which agent.
        work: what `normal.judge` says of it, `failure` for red tests that nobody was working on.
        keep_input: store `tool_input`, which holds the user's code and commands.
        ts: epoch seconds; now by default.
    """
    session, tool = text_of(payload, "session_id"), text_of(payload, "tool_name") or "unknown"
    interrupted = payload.get("is_interrupt") is True
    error = text_of(payload, "error") or "the tool failed without a word"
    known = {"exit_code": work.exit_code, "agent_type": payload.get("agent_type"), "prompt": payload.get("prompt_id")}
    item = Item(
        id=tool_id(session, text_of(payload, "tool_use_id")),
        ts=clock.now() if ts is None else ts,
        source=source,
        task=tool,
        kind="tool",
        status="cancelled" if interrupted else "failed",
        success=False,
        error=shortened(error) if work.kind == "failure" else work.says,
        duration_ms=_duration(payload.get("duration_ms")),
        session=session,
        parent=session_id(session),
        tags=[UNSURE],
        metadata={key: value for key, value in known.items() if value is not None},
    )
    if keep_input and payload.get("tool_input") is not None:
        item.input = _json(payload["tool_input"])
    return item


def started(session: str, source: str, refs: list[FixRef], version: int | None) -> Item:
    """The session entered these experiments. Its id says which, so that it is one however often it is told."""
    names = ",".join(f"{ref.id}.{ref.stage}" for ref in refs)
    return Item(
        id=f"{session[:80]}:in:{names}"[:128],
        ts=clock.now(),
        source=source,
        task=TASK,
        kind="task",
        status="started",
        run=session_id(session),
        session=session,
        fixes=refs,
        policy_version=version,
    )


def shortened(error: str) -> str:
    """At most 2,000 characters: the beginning and the end."""
    half = _ERROR_CHARS // 2
    return error if len(error) <= _ERROR_CHARS else f"{error[:half]} … {error[-half:]}"


def text_of(payload: Mapping[str, Any], key: str) -> str:
    """A field that should be text; empty if it is not."""
    found = payload.get(key)
    return found if isinstance(found, str) else ""


def _duration(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return float(value) if good and isinstance(value, int | float) else None


def _json(value: object) -> str:
    import msgspec  # noqa: PLC0415 - only where it was asked for

    return head(msgspec.json.encode(value, enc_hook=str).decode(), MAX_TEXT)
