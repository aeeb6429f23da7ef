"""A template: one cause that people would file as one issue, and how to make it happen."""

# ruff: noqa: A002 - `id` and `type` are the fields' names
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slots import Slots

CATEGORIES = frozenset(
    [
        "rate_limit",
        "quota_exhausted",
        "overloaded",
        "provider_5xx",
        "timeout_model",
        "timeout_tool",
        "connection",
        "auth",
        "permission",
        "model_not_found",
        "context_overflow",
        "output_truncated",
        "empty_response",
        "refusal",
        "invalid_request",
        "output_parse",
        "schema_validation",
        "tool_args",
        "tool_unknown",
        "tool_execution",
        "no_progress",
        "budget_exceeded",
        "chat_history_invalid",
        "context_lost",
        "state_conflict",
        "missing_resource",
        "code_bug",
        "resource_exhausted",
        "mcp_transport",
        "quality",
        "not_a_failure",
    ]
)


@dataclass(frozen=True, slots=True)
class Template:
    """One cause.

    Attributes:
        make: makes it happen: raises, or returns an exception built as its package builds it, or a text.
        also: categories that a careful reader could give too; counted in the lenient figure only.
        context: `model`, `tool` or `mcp` where the bare message does not tell which of them it was about: then no text of it goes out
            without a sentence around it, a traceback or its fields.
        bare: False where `str(e)` alone says nothing (`'choices'` of a KeyError).
        cause: the true cluster; templates of two packages whose bare messages are the same words share one. Default: the id.
        cut: False where the deciding words may stand behind the 300th character.
        body: the provider's answer as it went over the wire, if there was one.
    """

    id: str
    package: str
    category: str
    make: Callable[[Slots], Any]
    provider: str | None = None
    also: tuple[str, ...] = ()
    context: str = ""
    bare: bool = True
    cause: str = ""
    cut: bool = True
    body: Callable[[Slots], Any] | None = None


REGISTRY: dict[str, Template] = {}


def add(template: Template) -> None:
    """Into the registry; a wrong category or a second use of an id is a mistake in these files."""
    if template.category not in CATEGORIES or not set(template.also) <= CATEGORIES:
        raise ValueError(f"{template.id}: no such category: {template.category} / {template.also}")
    if template.id in REGISTRY:
        raise ValueError(f"{template.id} is defined twice")
    REGISTRY[template.id] = template


def template(
    id: str, category: str, package: str, **more: Any
) -> Callable[[Callable[[Slots], Any]], Callable[[Slots], Any]]:
    """Decorator: the function is `make`."""

    def register(make: Callable[[Slots], Any]) -> Callable[[Slots], Any]:
        add(Template(id=id, package=package, category=category, make=make, **more))
        return make

    return register
