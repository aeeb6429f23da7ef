"""An effective policy → what one guard will do with a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rsi.config import Bounds
from rsi.enforce.breaker import FAILURES, RESET_S
from rsi.enforce.repeating import Retry
from rsi.policy import Effective

_Callable = Callable[..., Any]


class Plan:
    """The knobs that this guard can act on, in the form it acts on them. Made once per policy and arm."""

    __slots__ = (
        "breaker",
        "fallbacks",
        "labels",
        "lessons",
        "max_concurrency",
        "max_output_tokens",
        "reask_max",
        "reask_on",
        "retry",
        "timeout_s",
    )

    def __init__(
        self, effective: Effective, enforces: frozenset[str], declared: Mapping[str, _Callable], bounds: Bounds
    ) -> None:
        knobs = {knob: value for knob, value in effective.scope.items() if knob in enforces}
        self.labels = {knob: _label(effective.origin.get(knob, {})) for knob in knobs}
        self.retry: Retry | None = Retry.of(knobs["retry"]) if "retry" in knobs else None
        self.timeout_s: float | None = _capped(knobs.get("timeout_s"), bounds.timeout_s)
        self.max_concurrency: int | None = _capped(knobs.get("max_concurrency"), bounds.max_concurrency)
        self.max_output_tokens: int | None = _capped(knobs.get("max_output_tokens"), bounds.max_output_tokens)
        self.fallbacks = tuple((name, declared[name]) for name in knobs.get("fallbacks", ()) if name in declared)
        breaker = knobs.get("breaker")
        self.breaker: tuple[int, float] | None = (
            None if breaker is None else (breaker.get("failures", FAILURES), breaker.get("reset_s", RESET_S))
        )
        reask = knobs.get("reask", {})
        self.reask_on: frozenset[str] = frozenset(reask.get("on", _REASK_ON)) if "reask" in knobs else frozenset()
        self.reask_max: int = reask.get("max", 1)
        self.lessons: list[Any] | None = knobs.get("lessons")

    def label(self, knob: str) -> str:
        """Who set a knob, for the log: `fix f12, fixed` or `person`."""
        return self.labels.get(knob, "person")


#: What telling the model its mistake can mend.
_REASK_ON: Final = ("output_parse", "schema_validation", "empty_response", "output_truncated")


def _label(origin: Mapping[str, Any]) -> str:
    if not origin.get("fix"):
        return str(origin.get("state", "person"))
    return f"fix {origin['fix']}, {origin.get('arm') or origin.get('state')}"


def _capped(value: Any, bound: float) -> Any:
    return None if value is None else min(value, bound)
