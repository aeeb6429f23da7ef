"""A stack trace → one line: exception first, then the innermost frames, then what caused it.

Python, Node, Java and Go print traces differently; here they become `Class: message at file:function < file:function
caused by Class`. The exception comes first because an embedding window that is full of shared frames cannot see it (two
tracebacks that differ only in their last line: cosine 1.000 as they are, .54 with the exception first). Line by line,
so linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

#: Innermost frames that are kept: enough to tell places apart, few enough to survive a refactoring above them.
FRAMES: Final = 3
#: Causes named after the frames.
_CAUSES: Final = 3

_PYTHON = re.compile(r'\s*File "([^"]+)", line \d+(?:, in (\S+))?')
#: A traceback that lost its head.
_PYTHON_FRAME = re.compile(r'(?:^|\n)\s{0,20}File "[^"\n]{1,300}", line \d+')
_NODE = re.compile(r"\s+at (?:async )?(?:new )?(?:([\w.$<>#\[\] ]{1,120}) \()?([^()\s]{1,300}):\d+:\d+\)?,?(?: \{)?$")
_NODE_ELSEWHERE = re.compile(
    r"\s+at (?:async )?[\w.$<>]{1,80} \((?:index \d+|<anonymous>|native)\)$|\s+at <anonymous>$"
)
_NODE_CAUSE = re.compile(r"\s*\[cause\]: (.{1,300})")
_NODE_CODE = re.compile(r"\s+code: '(\w{1,60})'")
_JAVA = re.compile(r"\s+at ([\w.$/<>@-]{1,300})\(([\w$. -]{1,100})(?::\d+)?\)")
_JAVA_HEAD = re.compile(r'Exception in thread "[^"]*" ')
#: Numbers that a compiler gave: `lambda$run$0`, `$Proxy12`, `GeneratedMethodAccessor7`.
_MADE_NUMBER = re.compile(r"(?<=\$)\d+|(?<=Accessor)\d+|(?<=\$Proxy)\d+|(?<=func)\d+(?:\.\d+)*")
_GO = re.compile(r"([\w./*()\[\]~@%-]{1,200}\.[\w.*()\[\]-]{1,100})\(.*\)$")
_GO_FILE = re.compile(r"\t(\S{1,300}\.go):\d+")
_GO_HEAD: Final = ("panic: ", "fatal error: ", "http: panic serving")
#: Parts of a path, and beginnings of a Java class, that are not the user's.
_PATHS_NOT_OURS: Final = (
    "site-packages", "dist-packages", "lib/python", "<frozen", "node_modules", "node:", "/go/src/", "/pkg/mod/",
    "/libexec/src/", "/go/pkg/",
)  # fmt: skip
_CLASSES_NOT_OURS: Final = (
    "java.", "javax.", "jdk.", "sun.", "kotlin.", "kotlinx.", "scala.", "jakarta.", "org.springframework.",
    "org.apache.", "io.netty.", "reactor.", "org.hibernate.", "org.eclipse.", "org.junit.",
)  # fmt: skip
_PYTHON_HEADS: Final = ("Traceback (most recent call last)", "Exception Group Traceback (most recent call last)")
_PYTHON_NOISE: Final = ("During handling of", "The above exception", "Traceback (", "Exception Group Traceback")
#: What `traceback` puts before the lines of a group's member: `  | `, `  +-+---------------- 1 ----------------`.
_MEMBER = re.compile(r"\s*(?:\+(?:-\+)?-{3,}(?: (\d+|\.\.\.) -{3,})?$|\+ (?=Exception Group)|\| ?)")

_HOW_MANY = re.compile(r" \(\d+ sub-exceptions?\)$")


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
    if _PYTHON_HEADS[1] in text:
        return _line(_group(text))
    if _PYTHON_HEADS[0] in text or _PYTHON_FRAME.search(text):
        return _line(_python(text.split("\n")))
    if "goroutine " in text and ".go:" in text:
        return _line(_go(text))
    if "\n\tat " in text or "\n    at " in text or "\n  at " in text:
        return _line(_at(text))
    return text


def _line(found: _Found) -> str:
    frames = [frame for frame, _ in groupby(found.frames)]  # how deep a recursion went is chance
    inner = ([frame for frame in frames if _is_ours(frame[0])] or frames)[-FRAMES:][::-1]
    places = [f"{_base(file)}:{function}" if function else _base(file) for file, function in inner]
    parts = [found.line, "at " + " < ".join(places) if places else ""]
    if found.causes:
        parts.append("caused by " + ", ".join(found.causes[:_CAUSES]))
    return " ".join(part for part in parts if part)


def _is_ours(file: str) -> bool:
    return not (file.startswith(_CLASSES_NOT_OURS) or any(mark in file for mark in _PATHS_NOT_OURS))


def _base(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]


def _class(line: str) -> str:
    """The exception class that a line begins with, without its module."""
    return line.split(":", 1)[0].strip().rsplit(".", 1)[-1]


def _python(lines: list[str]) -> _Found:
    """The last traceback of a chain is what was raised; the exceptions before it are its causes."""
    found, before, in_frames = _Found(), "", False
    for line in lines:
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
        elif found.line and not in_frames and line.strip():
            found.line += " " + line.strip()  # a message of several lines
    found.causes.reverse()
    found.line = found.line or before
    return found


def _group(text: str) -> _Found:
    """An exception group: the group's own trace, and the classes of its members, whose order is chance, as causes."""
    own: list[str] = []
    members: list[list[str]] = []
    for raw in text.split("\n"):
        line, rest = raw, own if not members else members[-1]
        while (found := _MEMBER.match(line)) is not None:
            line = line[found.end() :]
            if found[1]:
                rest = []
                members.append(rest)
        rest.append(line)
    found_group = _python(own)
    found_group.line = _HOW_MANY.sub("", found_group.line)
    classes = {_class(_python(lines).line) for lines in members} - {""}
    found_group.causes = [*sorted(classes), *found_group.causes]
    return found_group


def _at(text: str) -> _Found:
    """Node and Java: the exception, then its frames innermost first; `Caused by:` and `[cause]:` name the causes."""
    found, frames, done = _Found(), [], False
    head: list[str] = []
    code = ""
    for line in text.split("\n"):
        if cause := _cause(line):
            found.causes.append(_class(cause))
            done = True
        elif done:
            continue
        elif frame := _frame(line):
            frames.append(frame)
        elif _NODE_ELSEWHERE.match(line):
            continue
        elif not frames:
            head = _headed(head, line)
        elif not code and (said := _NODE_CODE.match(line)):
            code = said[1]
    found.line = _JAVA_HEAD.sub("", " ".join(head))
    if code and code not in found.line:
        found.line += f" ({code})"
    found.frames = frames[::-1]
    return found


def _cause(line: str) -> str:
    if line.startswith("Caused by: "):
        return line[len("Caused by: ") :]
    said = _NODE_CAUSE.match(line)
    return said[1] if said else ""


def _frame(line: str) -> tuple[str, str] | None:
    node = _NODE.match(line)
    if node:
        return node[2], (node[1] or "").split(" [as ", 1)[0].strip()
    java = _JAVA.match(line)
    if not java:
        return None
    owner, _, function = _MADE_NUMBER.sub("", java[1].rsplit("/", 1)[-1]).rpartition(".")
    return owner, function


def _headed(head: list[str], line: str) -> list[str]:
    """The lines before the frames, without the echo of the source that Node prints before them."""
    said = line.strip()
    if said and not said.strip("^"):
        return []
    return [*head, said] if said else head


def _go(text: str) -> _Found:
    """A panic: its message, then the first goroutine's frames innermost first (function, then file)."""
    found, function, frames = _Found(), "", []
    goroutines = 0
    for line in text.split("\n"):
        goroutines += line.startswith("goroutine ")
        if goroutines == 0:
            if not found.line or (line.startswith(_GO_HEAD) and not found.line.startswith(_GO_HEAD)):
                found.line = line.strip()
        elif goroutines == 1:
            place = _GO_FILE.match(line)
            if place and function and not function.startswith(("runtime.", "panic")):
                frames.append((place[1], function))
            called = _GO.match(line)
            function = _MADE_NUMBER.sub("", called[1].rsplit("/", 1)[-1]) if called else ""
    found.frames = frames[::-1]
    return found
