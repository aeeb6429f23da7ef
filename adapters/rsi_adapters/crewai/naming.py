"""What a CrewAI task is called, and what an event says of an error."""

from __future__ import annotations

import sys
from typing import Any, Final

from rsi.client.facts import ErrorFacts, class_name

#: Errors of one chain that are looked at.
MAX_CHAIN: Final = 20


def task_name(task: Any, agent: Any = None) -> str:
    """The task's name, else role and description, both before inputs were filled in: one kind of work, one name."""
    if task is None:
        return "task"
    if getattr(task, "name", None):
        return str(task.name)
    what = getattr(task, "_original_description", None) or getattr(task, "description", None) or "task"
    role = role_of(getattr(task, "agent", None) or agent)
    return f"{role}: {what}" if role else str(what)


def role_of(agent: Any) -> str:
    """The agent's role as it was written."""
    return str(getattr(agent, "_original_role", None) or getattr(agent, "role", None) or "").strip()


def error_of(event: Any) -> BaseException | ErrorFacts:
    """What the event tells of: the exception itself wherever it can be had, for class, status and place.

    Most events are emitted while their exception is handled, with its text. A text that is not the handled exception's
    belongs to another one.
    """
    told = getattr(event, "error", None)
    if isinstance(told, BaseException):
        return told
    text = str(told or "failed")
    handled = sys.exception()
    seen = 0
    while handled is not None and seen < MAX_CHAIN:
        own = str(handled)
        if own and (own in text or text in own):
            return handled
        handled, seen = handled.__cause__ or handled.__context__, seen + 1
    kind = getattr(event, "error_type", None)
    return ErrorFacts(text, type=class_name(kind) if isinstance(kind, type) else None)
