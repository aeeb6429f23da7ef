"""What is known of one task under way."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_OURS: Final = __package__ or "rsi_adapters.crewai"


class Seen:
    """Between a task's first event and its last.

    Attributes:
        key: the id of the event that began it.
        task_id: CrewAI's id of the task.
        fields: model and tokens of its model calls, summed.
        failed_tools: names of tools whose failure was told since the model last spoke: CrewAI tells one several times.
        last_error: the text of the last tool error; a model client that called the tool itself repeats it as its own.
        below: what ended a crew that was kicked off inside.
    """

    __slots__ = (
        "_frame",
        "_loop_task",
        "_on_done",
        "_thread",
        "below",
        "failed_tools",
        "fields",
        "key",
        "last_error",
        "task_id",
    )

    def __init__(self, key: str, task_id: str | None) -> None:
        self.key = key
        self.task_id = task_id
        self.fields: dict[str, Any] = {}
        self.failed_tools: set[str] = set()
        self.last_error: str | None = None
        self.below: BaseException | None = None
        self._frame: FrameType | None = None
        self._thread = threading.get_ident()
        self._loop_task: asyncio.Task[Any] | None = None
        self._on_done: Callable[[asyncio.Task[Any]], None] | None = None

    def asked(self) -> None:
        """The model is asked: what its last answer led to is over."""
        self.failed_tools.clear()
        self.last_error = None

    def answered(self, model: Any, usage: Any) -> None:
        """The model answered; add what it used."""
        if isinstance(model, str):
            self.fields["model"] = model
        for field, name in (("tokens_in", "prompt_tokens"), ("tokens_out", "completion_tokens")):
            value = usage.get(name) if isinstance(usage, dict) else None
            if isinstance(value, int | float):
                self.fields[field] = self.fields.get(field, 0) + value

    def watch(self, over: Callable[[], None]) -> bool:
        """CrewAI tells nothing of a task that was cancelled; the loop's task does. Whether there is one."""
        try:
            self._loop_task = asyncio.current_task()
        except RuntimeError:
            return False
        if self._loop_task is None:
            return False
        self._on_done = lambda _: over()
        self._loop_task.add_done_callback(self._on_done)
        return True

    def stands_on_stack(self) -> None:
        """The function that told of the beginning is there until the end; remember it."""
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to one's callers
        while frame is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
            frame = frame.f_back
        self._frame = frame

    def left(self) -> bool:
        """Whether that function is gone, though the task has not ended: it was left by what no `except` caught."""
        if self._frame is None or self._thread != threading.get_ident():
            return False
        frame: FrameType | None = sys._getframe()  # noqa: SLF001
        while frame is not None:
            if frame is self._frame:
                return False
            frame = frame.f_back
        return True

    def unwatch(self) -> None:
        """It told of its end."""
        if self._loop_task is not None and self._on_done is not None:
            self._loop_task.remove_done_callback(self._on_done)
        self._loop_task = self._on_done = self._frame = None
