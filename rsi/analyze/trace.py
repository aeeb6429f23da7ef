"""A stack trace → one line: exception first, then the innermost frames, then what caused it.

Python, Node, Java and Go print traces differently; here they become `Class: message at file:function < file:function`.
The exception comes first because an embedding window that is full of shared frames cannot see it (two tracebacks that
differ only in their last line: cosine 1.000 as they are, .54 with the exception first). Line by line, so linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

#: Innermost frames that are kept: enough to tell places apart, few enough to survive a refactoring above them.
FRAMES: Final = 3
#: Causes named after the frames.
_CAUSES: Final = 3

_PYTHON = re.compile(r'\s*File "([^"]+)", line \d+(?:, in (\S+))?')
_NODE = re.compile(r"\s+at (?:async )?(?:new )?(?:([\w.$<>\[\] ]{1,120}) \()?([^()\s]{1,300}):\d+:\d+\)?$")
_JAVA = re.compile(r"\s+at ([\w.$/<>]{1,300})\(([\w$. ]{1,100})(?::\d+)?\)")
_GO = re.compile(r"([\w./*()-]{1,200}\.[\w.*()-]{1,100})\(.*\)$")
_GO_FILE = re.compile(r"\t(\S{1,300}\.go):\d+")
_OUR_CODE_NOT: Final = (
    "site-packages", "dist-packages", "lib/python", "<frozen", "node_modules", "node:", "java.", "jdk.", "sun.",
    "runtime.",
)  # fmt: skip
_PYTHON_HEAD: Final = "Traceback (most recent call last)"
_PYTHON_NOISE: Final = ("During handling of", "The above exception", "Traceback (", "Exception Group Traceback")


@dataclass(slots=True)
class _Found:
    """What a trace says while it is read: frames outermost first."""

    line: str = ""
    frames: list[tuple[str, str]] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)


def condense(text: str) -> str:
    """The text with its stack trace, if it holds one, put in the short form; other text comes back as it is."""
    if "\n" not in text:
        return text
    if _PYTHON_HEAD in text:
        return _line(_python(text))
    if "goroutine " in text and ".go:" in text:
        return _line(_go(text))
    if "\n\tat " in text or "\n    at " in text or "\n  at " in text:
        return _line(_at(text))
    return text


def _line(found: _Found) -> str:
    ours = [frame for frame in found.frames if not any(mark in frame[0] for mark in _OUR_CODE_NOT)]
    inner = (ours or found.frames)[-FRAMES:][::-1]
    places = [f"{_base(file)}:{function}" if function else _base(file) for file, function in inner]
    parts = [found.line, "at " + " < ".join(places) if places else ""]
    if found.causes:
        parts.append("caused by " + ", ".join(found.causes[:_CAUSES]))
    return " ".join(part for part in parts if part)


def _base(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]


def _class(line: str) -> str:
    """The exception class that a line begins with, without its module."""
    return line.split(":", 1)[0].strip().rsplit(".", 1)[-1]


def _python(text: str) -> _Found:
    """The last traceback of a chain is what was raised; the exceptions before it are its causes."""
    found, before, in_frames = _Found(), "", False
    for raw in text.split("\n"):
        line = raw.lstrip(" |+") if raw.lstrip().startswith(("|", "+")) else raw
        frame = _PYTHON.match(line)
        if frame:
            found.frames.append((frame[1], frame[2] or ""))
            in_frames = True
        elif line.startswith(_PYTHON_NOISE):
            if in_frames or found.line:
                found.causes += [_class(found.line)] if found.line else []
                found.line, found.frames, in_frames = "", [], False
        elif line and not line.startswith((" ", "\t")):
            if in_frames:
                found.line, in_frames = line, False
            elif found.line:
                found.line += " " + line
            else:
                before = before or line
    found.causes.reverse()
    found.line = found.line or before
    return found


def _at(text: str) -> _Found:
    """Node and Java: the exception, then its frames innermost first; `Caused by:` names the causes."""
    found, frames, done = _Found(), [], False
    head: list[str] = []
    for line in text.split("\n"):
        java, node = _JAVA.match(line), _NODE.match(line)
        if java and not node:
            if not done:
                frames.append((java[1].rsplit(".", 1)[0], java[1].rsplit(".", 1)[-1]))
        elif node:
            if not done:
                frames.append((node[2], (node[1] or "").strip()))
        elif line.startswith("Caused by: "):
            found.causes.append(_class(line[len("Caused by: ") :]))
            done = True
        elif line.strip() and not frames and not done:
            head.append(line.strip())
    found.line = re.sub(r'^Exception in thread "[^"]*" ', "", " ".join(head))
    found.frames = frames[::-1]
    return found


def _go(text: str) -> _Found:
    """A panic: its message, then the first goroutine's frames innermost first (function, then file)."""
    found, function, frames = _Found(), "", []
    goroutines = 0
    for line in text.split("\n"):
        goroutines += line.startswith("goroutine ")
        if goroutines == 0:
            found.line = found.line or line.strip()
        elif goroutines == 1:
            place = _GO_FILE.match(line)
            if place and function and not function.startswith(("runtime.", "panic")):
                frames.append((place[1], function))
            called = _GO.match(line)
            function = called[1].rsplit("/", 1)[-1] if called else ""
    found.frames = frames[::-1]
    return found
