"""Span → `Fact`: which convention it speaks, what it was for, and how it ended."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Final

from rsi.redact.cutting import head
from rsi_adapters.otel import names
from rsi_adapters.otel.fact import Fact, Failure, Role
from rsi_adapters.otel.failure import MESSAGE_CHARS, STACK_CHARS, ended
from rsi_adapters.otel.grade import grade
from rsi_adapters.otel.signals import Attributes, Record, Resource, Span

_OPERATIONS: Final[dict[str, Role]] = {
    "chat": "llm", "generate_content": "llm", "text_completion": "llm", "embeddings": "llm",
    "execute_tool": "tool",
    "invoke_agent": "run", "invoke_workflow": "run",
    "create_agent": "step", "retrieval": "step",
}  # fmt: skip
_KINDS: Final[dict[str, Role]] = {
    "LLM": "llm", "EMBEDDING": "llm", "DECISION": "llm", "TOOL": "tool", "AGENT": "run", "CHAIN": "run",
}  # fmt: skip
#: On a span that says nothing else these make it a model call.
_MODEL_ONLY: Final = frozenset((*names.MODEL, *names.PROVIDER, *names.TOKENS_IN, *names.TOKENS_OUT))
#: The scope of an agent's spans that are outcomes already (`rsi.client`), and of the daemon's own.
OURS: Final = "rsi"
#: Instrumentations that see a model call in a bare thread as a root of its own: it belongs to a run all the same.
_OF_RUNS: Final = ("openinference.instrumentation.langchain",)
_UNNAMED: Final = "unknown_service"
_NAME_CHARS: Final = 200
_MOST: Final = 1e18
"""Ingest's own bound for amounts."""


class Reader:
    """Reads spans and records of this home.

    Args:
        source: who reports where a sender does not say: the project's name.
        clean: takes the secrets out of a text.
    """

    def __init__(self, source: str, clean: Callable[[str], str]) -> None:
        self._source = source
        self._clean = clean

    def span(self, span: Span) -> Fact | None:
        """What is kept of it; `None` for an announcement that is no span of its own, and for what we say ourselves."""
        attrs = span.attrs
        key, value = names.PENDING
        if attrs.get(key) == value or span.resource.scope == OURS:
            return None
        role = role_of(attrs)
        status, failure = ended(span)
        clean = self._name
        return Fact(
            trace=span.trace, span=span.span, parent=span.parent, source=self._source_of(span.resource),
            role=role, name=clean(_called(span, role)), run_name=clean(_run_called(span)),
            start=span.start, end=span.end, status=status, failure=self._cleaned(failure),
            model=clean(_first(attrs, names.MODEL)) or None, provider=clean(_first(attrs, names.PROVIDER)) or None,
            tokens_in=_amount(attrs, names.TOKENS_IN), tokens_out=_amount(attrs, names.TOKENS_OUT),
            cost_usd=_amount(attrs, names.COST),
            quality=_lowest(event.attrs for event in span.events if event.name == names.EVALUATION),
            session=clean(_first(attrs, names.SESSION)) or None, user=clean(_first(attrs, names.USER)) or None,
            release=clean(_first(span.resource.attrs, names.RELEASE)) or None,
            env=clean(_first(span.resource.attrs, names.ENVIRONMENT)) or None,
            alone=role in ("llm", "tool", "step") and span.resource.scope in _OF_RUNS, remote=span.remote,
        )  # fmt: skip

    def record(self, record: Record) -> Fact | None:
        """A judge's grade of the span that it belongs to; `None` where there is no grade in it."""
        found = grade(record.attrs)
        if found is None:
            return None
        name = self._name(_first(record.attrs, (names.EVALUATION_NAME,))) or "evaluation"
        told = (record.trace, record.span, name, found, record.at, record.attrs.get(names.RESPONSE_ID))
        ident = hashlib.sha256(repr(told).encode("utf-8", "replace")).hexdigest()
        return Fact(
            trace=record.trace or ident[:32], span=ident[32:48], parent=record.span,
            source=self._source_of(record.resource), role="grade", name=name, run_name=name,
            start=record.at, end=record.at, quality=found,
            session=self._name(_first(record.attrs, names.SESSION)) or None,
            release=self._name(_first(record.resource.attrs, names.RELEASE)) or None,
            env=self._name(_first(record.resource.attrs, names.ENVIRONMENT)) or None,
        )  # fmt: skip

    def _source_of(self, resource: Resource) -> str:
        """`service.name`, unless the SDK has made it up."""
        said = self._name(_first(resource.attrs, (names.SERVICE,)))
        if said and not said.startswith(_UNNAMED):
            return said
        return self._name(_first(resource.attrs, (names.PROJECT,))) or self._source

    def _name(self, text: str) -> str:
        return self._clean(head(text.strip(), _NAME_CHARS))[:_NAME_CHARS] if text else ""

    def _cleaned(self, failure: Failure | None) -> Failure | None:
        if failure is None:
            return None
        clean = self._clean
        return Failure(
            failure.type and clean(failure.type), failure.message and clean(failure.message)[:MESSAGE_CHARS],
            failure.stack and clean(failure.stack)[-STACK_CHARS:], failure.status,
        )  # fmt: skip


def role_of(attrs: Attributes) -> Role:
    """What the span was for; empty for one that is no agent's."""
    operation = attrs.get(names.OPERATION)
    if isinstance(operation, str) and operation:
        return _OPERATIONS.get(operation, "step")
    kind = attrs.get(names.KIND)
    if isinstance(kind, str) and kind:
        return _KINDS.get(kind.upper(), "step")
    if _first(attrs, names.TOOL):
        return "tool"
    if _first(attrs, (*names.WORKFLOW, *names.AGENT)):
        return "run"
    return "llm" if not _MODEL_ONLY.isdisjoint(attrs) else ""


def _called(span: Span, role: Role) -> str:
    """Inside a run: the tool's or agent's own name, else the span's."""
    own = {"tool": names.TOOL, "run": (*names.AGENT, *names.WORKFLOW)}.get(role, ())
    return _first(span.attrs, own) or _bare(span) or role


def _run_called(span: Span) -> str:
    """As a root: the workflow's or agent's name, else the span's."""
    return _first(span.attrs, (*names.WORKFLOW, *names.AGENT, *names.FUNCTION)) or _bare(span) or "run"


def _bare(span: Span) -> str:
    """`invoke_agent support` → `support`: what the conventions put before the name says nothing new."""
    operation = span.attrs.get(names.OPERATION)
    name = span.name.strip()
    if isinstance(operation, str) and _OPERATIONS.get(operation) in ("run", "tool"):
        return name.removeprefix(f"{operation} ").strip() or name
    return name


def _first(attrs: Attributes, keys: Iterable[str]) -> str:
    """The first that is there, as text."""
    for key in keys:
        value = attrs.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _amount(attrs: Attributes, keys: Iterable[str]) -> float | None:
    for key in keys:
        value = attrs.get(key)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value <= _MOST
            and math.isfinite(value)
        ):
            return float(value)
    return None


def _lowest(found: Iterable[Attributes]) -> float | None:
    """Several judges of one span: the worst word counts."""
    return min((value for attrs in found if (value := grade(attrs)) is not None), default=None)
