"""What CrewAI's events of a tool say: its name, and how it failed."""

from __future__ import annotations

from typing import Any, Final

from rsi.client.facts import ErrorFacts

#: Classes that tell the classifier what CrewAI's events of that type mean.
_TYPES: Final = {"tool_selection_error": "ToolNotFound", "tool_validate_input_error": "ToolInputError"}


def tool_name(event: Any) -> str:
    """One spelling: CrewAI tells some events with the tool's own name and some with its sanitised one."""
    name = str(getattr(event, "tool_name", None) or "tool").strip().lower()
    return "".join(char if char.isalnum() else "_" for char in name)


def answered_failure(event: Any) -> ErrorFacts | None:
    """A tool that says it failed; CrewAI before 1.15 tells of an unknown tool only what it tells the model."""
    if "failure" in type(event).model_fields:
        return _facts_of(event.failure) if event.failure is not None else None
    return ErrorFacts("Tool not found", type="ToolNotFound") if event.output == "Tool not found" else None


def unusable(event: Any) -> ErrorFacts:
    """Why a tool could not even begin."""
    failure = getattr(event, "failure", None)
    if failure is not None:
        return _facts_of(failure)
    # CrewAI puts the description of every tool behind the error.
    return ErrorFacts(str(event.error).partition("\n")[0], type=_TYPES.get(event.type))


def _facts_of(failure: Any) -> ErrorFacts:
    reason = getattr(failure, "reason", None)
    kind = getattr(failure, "exception_type", None) or getattr(reason, "value", None)
    return ErrorFacts(str(getattr(failure, "message", None) or failure), type=str(kind) if kind else None)
