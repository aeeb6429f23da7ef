"""What a lesson may say: our sentences with typed slots. No word of an event gets out of its slot."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from rsi.errors import InvalidInputError
from rsi.model import CATEGORIES

#: A name has no blanks, so that it holds no sentence, and is no marker of the block; it is shown as code.
_NAME: Final = re.compile(r"(?!.*(?i:rsi:lesson))[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}")
_MAX_COUNT: Final = 10**9
_MAX_SECONDS: Final = 86_400.0
_SLOT: Final = re.compile(r"\{([a-z_]+)\}")

Shown = Callable[[Any], str | None]


class Template(NamedTuple):
    """A lesson's text and its slots: name → type."""

    text: str
    slots: Mapping[str, str]


def fill(template: str, slots: Mapping[str, Any]) -> str:
    """The text of a lesson.

    Raises:
        InvalidInputError: no such template, a slot too many or too few, or a value that is not of its type.
    """
    found = TEMPLATES.get(template)
    if found is None:
        known = ", ".join(TEMPLATES)
        raise InvalidInputError(f"lesson.template: {template!r} is none; known are {known}", field="lesson.template")
    odd = set(slots) ^ set(found.slots)
    if odd:
        raise InvalidInputError(
            f"lesson.slots: {template} takes exactly {', '.join(found.slots)}; {', '.join(sorted(odd))} does not fit",
            field="lesson.slots",
        )
    shown = {name: _show(name, kind, slots[name]) for name, kind in found.slots.items()}
    return _SLOT.sub(lambda slot: shown[slot[1]], found.text)


def _show(name: str, kind: str, value: Any) -> str:
    shown = _KINDS[kind](value)
    if shown is None:
        raise InvalidInputError(f"lesson.slots.{name}: {value!r:.100} is no {kind}", field=f"lesson.slots.{name}")
    return shown


def _name(value: Any) -> str | None:
    return f"`{value}`" if isinstance(value, str) and _NAME.fullmatch(value) else None


def _category(value: Any) -> str | None:
    return f"`{value}`" if isinstance(value, str) and value in CATEGORIES else None


def _count(value: Any) -> str | None:
    return str(value) if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _seconds(value: Any) -> str | None:
    number = _finite(value)
    return None if number is None or not 0 <= number <= _MAX_SECONDS else f"{number:g} s"


def _share(value: Any) -> str | None:
    number = _finite(value)
    return None if number is None or not 0 <= number <= 1 else f"{number:.0%}"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


_KINDS: Final[Mapping[str, Shown]] = {
    "name": _name,
    "category": _category,
    "count": _count,
    "seconds": _seconds,
    "share": _share,
}
_SEEN: Final = {"task": "name", "failures": "count", "tasks": "count"}

TEMPLATES: Final[Mapping[str, Template]] = {
    "tool_args": Template(
        "In {task}, {failures} of {tasks} recent runs failed because {tool} was called with arguments that it does not "
        "take. Read its schema before calling it, and give every required argument.",
        {**_SEEN, "tool": "name"},
    ),
    "tool_unknown": Template(
        "In {task}, {failures} of {tasks} recent runs failed because they called {tool}, which does not exist here. "
        "Use only the tools that are listed.",
        {**_SEEN, "tool": "name"},
    ),
    "tool_failed": Template(
        "In {task}, {tool} failed in {failures} of {tasks} recent runs ({category}). When it fails twice with the same "
        "arguments, do something else instead of calling it again.",
        {**_SEEN, "tool": "name", "category": "category"},
    ),
    "tool_slow": Template(
        "In {task}, {tool} ran out of time in {failures} of {tasks} recent runs; it has {limit}. Ask it for "
        "less at once.",
        {**_SEEN, "tool": "name", "limit": "seconds"},
    ),
    "tool_calls": Template(
        "In {task}, {failures} of {tasks} recent runs failed because of how a tool was called ({category}). Use only "
        "the tools that are listed, read a tool's schema before calling it, and give every required argument.",
        {**_SEEN, "category": "category"},
    ),
    "missing_resource": Template(
        "In {task}, {failures} of {tasks} recent runs failed on a file or resource that was not there. Check that it "
        "exists before using it.",
        _SEEN,
    ),
    "output_format": Template(
        "In {task}, the answer could not be read in {failures} of {tasks} recent runs ({category}). Answer in exactly "
        "the format that was asked for, with nothing before or after it.",
        {**_SEEN, "category": "category"},
    ),
    "context_overflow": Template(
        "In {task}, {failures} of {tasks} recent runs outgrew the context. Read parts of large files, and do not "
        "repeat long outputs.",
        _SEEN,
    ),
    "no_progress": Template(
        "In {task}, {failures} of {tasks} recent runs repeated themselves without progress. After two tries that end "
        "alike, change the approach or say what is missing.",
        _SEEN,
    ),
    "keeps_failing": Template(
        "In {task}, {share} of {tasks} recent runs failed with {category}. Expect it, and handle it before going on.",
        {"task": "name", "tasks": "count", "share": "share", "category": "category"},
    ),
}
