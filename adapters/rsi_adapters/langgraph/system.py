"""Lessons for a model, added to what its system message says already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import SystemMessage

from rsi.enforce.told import told


def with_lessons(request: Any, lessons: Iterable[Any] | None) -> Any:
    """The model request with the lessons at the end of its system message; the same one for none."""
    text = told(lessons)
    if not text:
        return request
    if not hasattr(request, "system_message"):  # langchain 1.0
        said = request.system_prompt
        return request.override(system_prompt=f"{said}\n\n{text}" if said else text)
    message = request.system_message
    if message is None:
        return request.override(system_message=SystemMessage(text))
    content = message.content
    content = [*content, {"type": "text", "text": text}] if isinstance(content, list) else f"{content}\n\n{text}"
    return request.override(system_message=message.model_copy(update={"content": content}))
