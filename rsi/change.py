"""A reversible edit of the runtime policy: make → validate → diff → apply → revert. Pure.

A scope is a plain mapping of knob → value without nulls; an edit is an RFC 7396 merge patch on it. `revert` undoes
`apply` exactly for the scope that the change was made from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from rsi.config import Bounds
from rsi.errors import InvalidInputError
from rsi.model import CATEGORIES, KNOBS, Change
from rsi.policy import merge_patch

POLICY_TARGET: Final = "policy"
ADVICE_TARGET: Final = "advice"

#: Repeating any of these does harm or cannot help: no retry is ever added for them, by any rule (contract, §2 of i5).
NEVER_RETRIED: Final = frozenset(
    {"quota_exhausted", "auth", "permission", "refusal", "quality", "not_a_failure", "budget_exceeded", "no_progress"}
)
MAX_WAIT_S: Final = 600.0
"""A pause between two tries above this is an outage of our own making."""
MAX_MULTIPLIER: Final = 10.0
MAX_FALLBACKS: Final = 5
"""LiteLLM's limit on the length of a fallback chain; beyond it nobody knows which model answered."""
MAX_REASK: Final = 1
"""One more question with the parser's error helps; a second repeats the first (taxonomy, rows 15 and 16)."""
MAX_LESSONS: Final = 20
LESSON_BYTES: Final = 2_000
MAX_BREAKER_FAILURES: Final = 1_000
MAX_BREAKER_RESET_S: Final = 3_600.0
MAX_BUDGET_RATIO: Final = 0.2
"""The always-on budget of contract §4: 20 % extra calls; no change may widen it."""
MAX_BUDGET_RESERVE: Final = 10.0


def make(source: str, task: str, scope: Mapping[str, Any], patch: Mapping[str, Any], bounds: Bounds) -> Change:
    """The change that merges `patch` into the scope (source, task) as it is now, with the way back."""
    return Change(
        target=f"{POLICY_TARGET}:{source}/{task}",
        before=_inverse(scope, patch),
        after=dict(patch),
        bounds=_named_bounds(patch, bounds),
    )


def advice(source: str, task: str) -> Change:
    """A change that only a person can make: it edits nothing."""
    return Change(target=f"{ADVICE_TARGET}:{source}/{task}", before={}, after={})


def is_advice(change: Change) -> bool:
    """Whether there is nothing here that could be applied."""
    return change.target.startswith(f"{ADVICE_TARGET}:")


def apply(scope: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """The scope with the change in it; the argument stays as it is."""
    return _merged(scope, change.after)


def revert(scope: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """The scope without the change: exactly the one that the change was made from."""
    return _merged(scope, change.before)


def diff(change: Change) -> str:
    """What changes, one line per value: `retry.max_attempts: (unset) → 4`."""
    lines = [
        f"{path}: {_shown(old)} → {_shown(new)}"
        for path, old, new in _leaves("", change.before, change.after)
        if old != new
    ]
    return "\n".join(lines) or "nothing changes"


def validate(change: Change, bounds: Bounds) -> Change:
    """The same change, if every knob has its shape and is within its limits.

    Raises:
        InvalidInputError: names the field (`after.retry.max_attempts`), the limit and the setting that moves it.
    """
    if is_advice(change):
        return change
    if not change.after:
        raise InvalidInputError("after: a change needs at least one knob", field="after")
    for knob, value in change.after.items():
        validate_knob(knob, value, bounds, where="after")
    return change


def validate_scope(scope: Mapping[str, Any], bounds: Bounds, *, where: str) -> None:
    """A whole scope as a person writes it: `source`, `task` and knobs.

    Raises:
        InvalidInputError: names the field below `where`.
    """
    for key in ("source", "task"):
        if not isinstance(scope.get(key, "*"), str):
            raise _wrong(f"{where}.{key}", "a name or *", scope[key])
    for knob, value in scope.items():
        if knob not in ("source", "task"):
            validate_knob(knob, value, bounds, where=where)


def validate_knob(knob: str, value: object, bounds: Bounds, *, where: str) -> None:
    """One knob against its shape and limits; `None` unsets it.

    Raises:
        InvalidInputError: names the field below `where`.
    """
    check = _KNOBS.get(knob)
    if check is None:
        raise InvalidInputError(f"{where}.{knob}: not a knob; known are {', '.join(KNOBS)}", field=f"{where}.{knob}")
    if value is not None:
        check(f"{where}.{knob}", value, bounds)


def validate_total(scope: Mapping[str, Any], bounds: Bounds, *, inner_attempts: int = 1) -> None:
    """All tries of one call together may take no longer than `bounds.timeout_s`, nor exceed `bounds.max_attempts`.

    Args:
        scope: the scope as it would be with the change in it.
        bounds: the limits.
        inner_attempts: tries that a layer below makes per try of ours.

    Raises:
        InvalidInputError: names the field and both factors.
    """
    attempts = (scope.get("retry") or {}).get("max_attempts") or 1
    if attempts > 1 and attempts * inner_attempts > bounds.max_attempts:
        raise InvalidInputError(
            f"retry.max_attempts: {attempts} x {inner_attempts} inner tries is above fix.bounds.max_attempts "
            f"({bounds.max_attempts})",
            field="retry.max_attempts",
        )
    timeout = scope.get("timeout_s")
    if timeout and attempts * timeout > bounds.timeout_s:
        raise InvalidInputError(
            f"retry.max_attempts x timeout_s: {attempts} x {timeout:g} s is above fix.bounds.timeout_s "
            f"({bounds.timeout_s:g} s), the longest that one call may take in all",
            field="timeout_s",
        )


# --- merge patches


def _merged(scope: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = merge_patch(scope, patch)
    return dict(merged)


def _inverse(scope: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that leads from `apply(scope, patch)` back to `scope`."""
    back: dict[str, Any] = {}
    for key, new in patch.items():
        old = scope.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            back[key] = _inverse(old, new)
        else:
            back[key] = old
    return back


def _leaves(path: str, old: object, new: object) -> Iterable[tuple[str, object, object]]:
    """The values that differ in place, nested mappings taken apart where both sides have one (or one side none)."""
    if isinstance(new, Mapping) and (old is None or isinstance(old, Mapping)):
        for key in new:
            below = f"{path}.{key}" if path else str(key)
            yield from _leaves(below, old.get(key) if isinstance(old, Mapping) else None, new[key])
        return
    yield path, old, new


def _shown(value: object) -> str:
    if value is None:
        return "(unset)"
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _named_bounds(patch: Mapping[str, Any], bounds: Bounds) -> dict[str, Any]:
    limits: dict[str, tuple[str, ...]] = {
        "retry": ("max_attempts", "timeout_s"),
        "timeout_s": ("timeout_s",),
        "max_output_tokens": ("max_output_tokens",),
        "max_concurrency": ("max_concurrency",),
    }
    every = msgspec.structs.asdict(bounds)
    return {name: every[name] for knob in patch for name in limits.get(knob, ())}


# --- the shape of each knob


def _wrong(field: str, expected: str, value: object) -> InvalidInputError:
    return InvalidInputError(f"{field}: expected {expected}, got {_shown(value)[:100]}", field=field)


def _number(field: str, value: object, low: float, high: float, limit: str = "") -> None:
    expected = f"a number from {low:g} to {high:g}{limit}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _wrong(field, expected, value)


def _integer(field: str, value: object, low: int, high: int, limit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(field, f"a whole number from {low} to {high}{limit}", value)


def _flag(field: str, value: object) -> None:
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)


def _categories(field: str, value: object, never: frozenset[str] = frozenset()) -> None:
    if not isinstance(value, list):
        raise _wrong(field, "a list of categories", value)
    for name in value:
        if name not in CATEGORIES:
            raise _wrong(field, "categories (docs/reference/categories.md)", name)
        if name in never:
            raise InvalidInputError(f"{field}: {name} is never repeated: take it out of the list", field=field)


Check = Callable[[str, Any, Bounds], None]


def _mapping(field: str, value: object, keys: Mapping[str, Check], bounds: Bounds) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(field, f"a mapping with {', '.join(keys)}", value)
    for key, below in value.items():
        if key not in keys:
            raise InvalidInputError(f"{field}.{key}: not a key; known are {', '.join(keys)}", field=f"{field}.{key}")
        if below is not None:
            keys[key](f"{field}.{key}", below, bounds)
    return value


def _retry(field: str, value: object, bounds: Bounds) -> None:
    found = _mapping(field, value, _RETRY, bounds)
    first, longest = found.get("initial_s"), found.get("max_s")
    if first is not None and longest is not None and longest < first:
        raise _wrong(f"{field}.max_s", f"at least initial_s ({first:g})", longest)


def _budget(field: str, value: object, bounds: Bounds) -> None:
    """A number is the ratio."""
    if isinstance(value, Mapping):
        _mapping(field, value, _BUDGET, bounds)
    else:
        _number(field, value, 0, MAX_BUDGET_RATIO)


def _jitter(field: str, value: object, _bounds: Bounds) -> None:
    if not isinstance(value, bool):
        _number(field, value, 0, 1)


def _fallbacks(field: str, value: object, _bounds: Bounds) -> None:
    if not isinstance(value, list) or not value or len(value) > MAX_FALLBACKS:
        raise _wrong(field, f"a list of 1 to {MAX_FALLBACKS} names", value)
    for name in value:
        if not isinstance(name, str) or not name:
            raise _wrong(field, "names", name)


def _lessons(field: str, value: object, _bounds: Bounds) -> None:
    if not isinstance(value, list) or len(value) > MAX_LESSONS:
        raise _wrong(field, f"a list of at most {MAX_LESSONS} lessons", value)
    for lesson in value:
        if len(json.dumps(lesson)) > LESSON_BYTES:
            raise InvalidInputError(f"{field}: a lesson is longer than {LESSON_BYTES} bytes", field=field)


def _max_attempts(field: str, value: object, bounds: Bounds) -> None:
    _integer(field, value, 1, bounds.max_attempts, " (fix.bounds.max_attempts)")


def _timeout(field: str, value: object, bounds: Bounds) -> None:
    if isinstance(value, int | float) and value <= 0:
        raise _wrong(field, "more than 0 s", value)
    _number(field, value, 0, bounds.timeout_s, " (fix.bounds.timeout_s)")


def _concurrency(field: str, value: object, bounds: Bounds) -> None:
    _integer(field, value, 1, bounds.max_concurrency, " (fix.bounds.max_concurrency)")


def _output_tokens(field: str, value: object, bounds: Bounds) -> None:
    _integer(field, value, 1, bounds.max_output_tokens, " (fix.bounds.max_output_tokens)")


_BUDGET: Final[dict[str, Check]] = {
    "ratio": lambda field, value, _: _number(field, value, 0, MAX_BUDGET_RATIO),
    "reserve": lambda field, value, _: _number(field, value, 0, MAX_BUDGET_RESERVE),
}
_RETRY: Final[dict[str, Check]] = {
    "max_attempts": _max_attempts,
    "initial_s": lambda field, value, _: _number(field, value, 0, MAX_WAIT_S),
    "multiplier": lambda field, value, _: _number(field, value, 1, MAX_MULTIPLIER),
    "max_s": lambda field, value, _: _number(field, value, 0, MAX_WAIT_S),
    "jitter": _jitter,
    "on": lambda field, value, _: _categories(field, value, NEVER_RETRIED),
    "honour_retry_after": lambda field, value, _: _flag(field, value),
    "budget": _budget,
}
_REASK: Final[dict[str, Check]] = {
    "on": lambda field, value, _: _categories(field, value, NEVER_RETRIED),
    "max": lambda field, value, _: _integer(field, value, 0, MAX_REASK),
}
_BREAKER: Final[dict[str, Check]] = {
    "failures": lambda field, value, _: _integer(field, value, 1, MAX_BREAKER_FAILURES),
    "reset_s": lambda field, value, _: _number(field, value, 0.1, MAX_BREAKER_RESET_S),
}
_STOP: Final[dict[str, Check]] = {"on": lambda field, value, _: _categories(field, value)}


def _reask(field: str, value: object, bounds: Bounds) -> None:
    _mapping(field, value, _REASK, bounds)


def _breaker(field: str, value: object, bounds: Bounds) -> None:
    _mapping(field, value, _BREAKER, bounds)


def _stop(field: str, value: object, bounds: Bounds) -> None:
    _mapping(field, value, _STOP, bounds)


_KNOBS: Final[dict[str, Check]] = {
    "retry": _retry,
    "timeout_s": _timeout,
    "fallbacks": _fallbacks,
    "max_concurrency": _concurrency,
    "breaker": _breaker,
    "max_output_tokens": _output_tokens,
    "reask": _reask,
    "lessons": _lessons,
    "stop": _stop,
}
