"""Lessons that rules plan: a template of ours, its slots filled with what was counted. Nothing of an event's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rsi.errors import RSIError
from rsi.fix.facts import Facts
from rsi.fix.targets import TEMPLATES, Lesson, render

KNOB: Final = "lessons"


def fill(spec: Any, facts: Facts, struck: Sequence[str]) -> list[Lesson]:
    """The lessons of a rule's value, `[{template: no_progress}]`; none where a slot cannot be filled.

    Args:
        spec: the rule's value.
        facts: the scope's counters.
        struck: the rule's categories that were seen, the rule's first one first.
    """
    names = [one.get("template") for one in spec if isinstance(one, Mapping)] if isinstance(spec, list) else []
    found = [_lesson(name, facts, struck) for name in names]
    return [one for one in found if one is not None]


def _lesson(name: Any, facts: Facts, struck: Sequence[str]) -> Lesson | None:
    template = TEMPLATES.get(name) if isinstance(name, str) else None
    if template is None:
        return None
    failures = sum(facts.failures[one] for one in struck)
    most = max(struck, key=lambda one: facts.failures[one])
    counted: dict[str, Any] = {
        "task": facts.task,
        "failures": failures,
        "tasks": max(facts.tasks, failures),
        "share": min(1.0, failures / facts.tasks) if facts.tasks else 1.0,
        "category": most,
    }
    if not template.slots.keys() <= counted.keys():
        return None
    lesson = Lesson(template=name, slots={slot: counted[slot] for slot in template.slots})
    return lesson if _renders(lesson) else None


def _renders(lesson: Lesson) -> bool:
    """A task whose name is a sentence fits no slot: such a lesson is not written."""
    try:
        render(lesson)
    except RSIError:
        return False
    return True
