"""What a rule's value comes to in one scope: scaled, declared, composed with what holds there, within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rsi.config import Bounds
from rsi.rules import Scaled

WHOLE: Final = frozenset({"max_concurrency", "max_output_tokens"})
_BOUND: Final[Mapping[str, str]] = {
    "timeout_s": "timeout_s",
    "max_output_tokens": "max_output_tokens",
    "max_concurrency": "max_concurrency",
}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a value may depend on: the scope's present values, its healthy p95 (s), and declared fallbacks."""

    scope: Mapping[str, Any]
    p95: float | None = None
    fallbacks: Sequence[str] = ()


def needs_p95(spec: object) -> bool:
    """Whether resolving this asks for durations."""
    return isinstance(spec, Mapping) and spec.get("of") == "p95"


def resolve(knob: str, spec: Any, known: Known, bounds: Bounds) -> Any:
    """The value to set, or `None` where there is nothing that the rule could set here."""
    if isinstance(spec, Mapping) and spec.get("from") == "declared":
        return list(known.fallbacks) or None
    if isinstance(spec, Mapping) and "scale" in spec:
        return _scaled(knob, msgspec.convert(dict(spec), Scaled), known, bounds)
    composed = _compose(known.scope.get(knob), spec)
    return _fit_retry(composed, known.scope, bounds) if knob == "retry" else _capped(knob, composed, bounds)


def narrowed(bounds: Bounds, limits: Mapping[str, float]) -> Bounds:
    """The bounds with a rule's own, where those are tighter."""
    every = msgspec.structs.asdict(bounds)
    tighter = {name: type(every[name])(min(every[name], limit)) for name, limit in limits.items() if name in every}
    return msgspec.structs.replace(bounds, **tighter)


def _scaled(knob: str, spec: Scaled, known: Known, bounds: Bounds) -> float | int | None:
    current = known.scope.get(knob)
    base = known.p95 if spec.of == "p95" and known.p95 is not None else current
    value = spec.default if base is None else spec.scale * float(base)
    value = min(value, spec.max) if spec.max is not None else value
    value = max(value, spec.min) if spec.min is not None else value
    if knob == "timeout_s":
        attempts = (known.scope.get("retry") or {}).get("max_attempts") or 1
        value = min(value, bounds.timeout_s / attempts)
    value = _capped(knob, value, bounds)
    fitted = int(value) if knob in WHOLE else round(value, 3)
    return None if fitted == current else fitted


def _capped(knob: str, value: Any, bounds: Bounds) -> Any:
    limit = getattr(bounds, _BOUND[knob]) if knob in _BOUND else None
    return min(value, limit) if limit is not None and isinstance(value, int | float) else value


def _compose(present: Any, value: Any) -> Any:
    """Beside what holds already: lists are united, the larger number of tries stays; no fix undoes another."""
    if not (isinstance(present, Mapping) and isinstance(value, Mapping)):
        return value
    together = {**value}
    for key, held in present.items():
        new = value.get(key)
        if isinstance(held, list) and isinstance(new, list):
            together[key] = [*held, *(one for one in new if one not in held)]
        elif key in ("max_attempts", "max") and isinstance(new, int):
            together[key] = max(new, held)
    return together


def _fit_retry(value: Mapping[str, Any], scope: Mapping[str, Any], bounds: Bounds) -> dict[str, Any]:
    """As many tries as the bounds leave, all together within `bounds.timeout_s`, but not fewer than two for that."""
    wanted = int(value.get("max_attempts", 1))
    most = min(wanted, bounds.max_attempts)
    timeout = scope.get("timeout_s")
    if timeout:
        most = min(most, max(2, int(bounds.timeout_s / timeout)))
    return {**value, "max_attempts": min(wanted, most)}
