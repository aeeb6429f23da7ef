"""What a run of LangChain is called, and whose it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import PurePath
from types import FrameType
from typing import Any, Final

#: Names that say nothing: what LangGraph calls a graph, and LangChain a chain, that nobody named.
_NAMELESS: Final = ("LangGraph", "Runnable")
#: Modules between the host's call and our handler.
_BETWEEN: Final = (
    "rsi_adapters.",
    "langchain",
    "langgraph",
    "langsmith",
    "asyncio",
    "concurrent.",
    "threading",
    "contextlib",
    "contextvars",
    "functools",
    "uvloop",
    "anyio",
    "runpy",
)
#: Frames that are looked at for the host's module; LangGraph needs fewer than ten.
_DEEPEST: Final = 40
#: The contract's limit for an id; a session is one.
_LONGEST: Final = 128
_GENERATOR: Final = 0x20  # inspect.CO_GENERATOR
_ASYNC_GENERATOR: Final = 0x200  # inspect.CO_ASYNC_GENERATOR
_SESSION: Final = ("thread_id", "session_id", "conversation_id")
_USER: Final = ("user_id", "langgraph_auth_user_id")


def task_of(name: str, metadata: Mapping[str, Any]) -> str:
    """An outermost run's task: the name that somebody gave it, else the server's for the graph, else its caller's."""
    if not name.startswith(_NAMELESS):
        return name
    return str(metadata.get("graph_id") or _module() or name)


def session_of(metadata: Mapping[str, Any]) -> str | None:
    """The thread: what is asked, interrupted and resumed under one `thread_id` is one unit."""
    return _first(metadata, _SESSION)


def user_of(metadata: Mapping[str, Any]) -> str | None:
    """For whom."""
    return _first(metadata, _USER)


def streamed() -> bool:
    """Whether the run that begins now is given out piece by piece.

    Then its context is the reader's, who does other things between two pieces: it must not be entered.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to ask who calls
    for _ in range(_DEEPEST):
        if frame is None:
            return True
        if not str(frame.f_globals.get("__name__")).startswith(("rsi_adapters.", "langchain_core.callbacks")):
            return bool(frame.f_code.co_flags & (_GENERATOR | _ASYNC_GENERATOR))
        frame = frame.f_back
    return True


def _module() -> str | None:
    """The host's module that is calling, `app.agents` or the program's file name; `None` from a bare task or thread."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to ask who calls
    for _ in range(_DEEPEST):
        if frame is None:
            return None
        name = str(frame.f_globals.get("__name__") or "")
        if name == "__main__":
            return PurePath(str(frame.f_globals.get("__file__") or "main")).stem
        if name and not name.startswith(_BETWEEN):
            return name
        frame = frame.f_back
    return None


def _first(metadata: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        found = metadata.get(name)
        if found:
            return str(found)[:_LONGEST]
    return None
