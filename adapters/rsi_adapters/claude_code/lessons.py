"""Lessons of the policy, as the model gets them: those of the whole session at its start, the others with a failure.

A lesson is text, or `{text, tool?, category?}`: with a tool or a category it is about failures of that kind only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from rsi.classify import classify
from rsi.model import Category, FixRef, Policy
from rsi.policy import Effective, Prepared
from rsi_adapters.claude_code.reports import TASK

ENFORCES: Final = frozenset({"lessons"})
#: Claude Code replaces context beyond 10,000 characters by a preview; 9,000 were seen to arrive whole.
MAX_CHARS: Final = 9_000
_HEAD: Final = "Lessons from earlier sessions here (by rsi):"


class Known(msgspec.Struct, kw_only=True):
    """A session that is going on: its source, its arms, and the lessons that it was given.

    `arms`: (fix, state) → reference, taken when it started; `None`: it did not start where we could see it, and is in
    no experiment.
    """

    source: str
    arms: dict[tuple[str, str], FixRef] | None = None
    version: int | None = None
    observe_only: bool = False
    given: set[str] = msgspec.field(default_factory=set)


def enter(known: Known, session: str, policy: Policy) -> list[FixRef]:
    """The session starts: it takes its arm in every experiment about lessons. Returns those that it entered now."""
    arms = known.arms = {} if known.arms is None else known.arms
    before = set(arms)
    known.version = policy.version
    if not known.observe_only:
        Prepared(policy, known.source, _tasks(policy), ENFORCES).for_unit(session, arms)
    return [ref for key, ref in arms.items() if key not in before and ref.enforced]


def at_start(known: Known, session: str, policy: Policy) -> str | None:
    """The lessons for the whole session, as `additionalContext`. Those about one tool or category come with it."""
    found = [lesson for lesson in _lessons(known, session, policy, (TASK,)) if not _about(lesson)]
    return _told(known, found)


class Failure(msgspec.Struct, frozen=True):
    """A tool that failed, and what says which category its error is of."""

    tool: str
    error: str
    classifier: Callable[[str], Category] = classify


def at_failure(known: Known, session: str, policy: Policy, failure: Failure) -> str | None:
    """What helps with this failure and was not said in this session yet, as `additionalContext`."""
    lessons = _lessons(known, session, policy, (TASK, failure.tool))
    if not lessons:
        return None
    category = failure.classifier(failure.error).name
    fitting = [lesson for lesson in lessons if _fits(_about(lesson), failure.tool, category)]
    return _told(known, fitting)


def refs(known: Known) -> list[FixRef]:
    """The experiments that the session is in."""
    return list((known.arms or {}).values())


def _lessons(known: Known, session: str, policy: Policy, tasks: tuple[str, ...]) -> list[Any]:
    if known.observe_only:
        return []
    found: list[Any] = _effective(known, session, policy, tasks).scope.get("lessons", [])
    return found


def _effective(known: Known, session: str, policy: Policy, tasks: tuple[str, ...]) -> Effective:
    """A session stays in the experiments that it began with, and enters no other."""
    begun = {fix for fix, _ in known.arms or {}}
    policy = msgspec.structs.replace(policy, experiments=[it for it in policy.experiments if it.fix in begun])
    return Prepared(policy, known.source, tasks, ENFORCES).for_unit(session, dict(known.arms or {}))


def _tasks(policy: Policy) -> tuple[str, ...]:
    """The session and every tool that an experiment is about: the unit is the session, whatever it will use."""
    tools = {it.task for it in policy.experiments} - {"*", TASK}
    return (*sorted(tools), TASK)


def _about(lesson: Any) -> Mapping[str, Any]:
    said = lesson if isinstance(lesson, Mapping) else {}
    return {key: said[key] for key in ("tool", "category") if said.get(key) is not None}


def _fits(about: Mapping[str, Any], tool: str, category: str) -> bool:
    return bool(about.get("tool", tool) == tool and about.get("category", category) == category)


def _text(lesson: Any) -> str:
    said = lesson.get("text") if isinstance(lesson, Mapping) else lesson
    return said.strip() if isinstance(said, str) else ""


def _told(known: Known, lessons: Iterable[Any]) -> str | None:
    """Each once in a session, as many as fit."""
    lines, room = [], MAX_CHARS - len(_HEAD)
    for text in dict.fromkeys(map(_text, lessons)):
        if text and text not in known.given and len(text) + 3 <= room:
            lines.append(text if text.startswith("- ") else f"- {text}")
            room -= len(text) + 3
            known.given.add(text)
    return "\n".join([_HEAD, *lines]) if lines else None
