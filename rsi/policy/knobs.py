"""The shape and the bounds of every knob, applied where it is used: a policy is input like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from rsi.model import CATEGORIES

#: value, where it stands, and a list that takes notes of what was corrected → the value as it may be used.
_Check: TypeAlias = Callable[[Any, str, list[str]], Any]

MAX_ATTEMPTS: Final = 20  # the largest `fix.bounds.max_attempts` that a configuration may name
MAX_TIMEOUT_S: Final = 86_400.0
MAX_WAIT_S: Final = 3_600.0  # a retry that waits longer is a job for a scheduler
MAX_MULTIPLIER: Final = 10.0
MAX_COUNT: Final = 1_000_000  # slots, failures in a row
MAX_TOKENS: Final = 10_000_000
MAX_REASKS: Final = 5
MAX_NAMES: Final = 50  # fallbacks or lessons
MAX_TEXT: Final = 4_000  # characters of one lesson: a few hundred tokens, with room


def clean(knob: str, value: Any) -> tuple[Any | None, tuple[str, ...]]:
    """`value` within the bounds of `knob`, and what had to be corrected.

    Too large is cut to the bound; what has the wrong shape is `None` with a reason, so that the knob counts as unset.
    Never raises.
    """
    check = _KNOBS.get(knob)
    if check is None:
        return None, (f"{knob}: not a knob",)
    notes: list[str] = []
    try:
        return check(value, knob, notes), tuple(notes)
    except ValueError as error:
        return None, (*notes, f"{error}; ignored")


def _number(low: float, high: float, *, above: bool = False) -> _Check:
    def check(value: Any, where: str, notes: list[str]) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < low or (above and value <= low):
            raise ValueError(f"{where}: expected a number {'>' if above else '≥'} {low:g}, got {value!r:.80}")
        if value > high:
            notes.append(f"{where}: {value:g} is above {high:g}, cut")
        return float(min(value, high))

    return check


def _integer(low: int, high: int) -> _Check:
    number = _number(low, high)

    def check(value: Any, where: str, notes: list[str]) -> int:
        found = number(value, where, notes)
        if found != int(found):
            raise ValueError(f"{where}: expected a whole number, got {value!r:.80}")
        return int(found)

    return check


def _flag(value: Any, where: str, _notes: list[str]) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where}: expected true or false, got {value!r:.80}")  # noqa: TRY004 - one kind of malformed
    return value


def _jitter(value: Any, where: str, notes: list[str]) -> float:
    return float(value) if isinstance(value, bool) else float(_number(0, 1)(value, where, notes))


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: expected a list, got {value!r:.80}")  # noqa: TRY004 - one kind of malformed
    return list(value)


def _names(value: Any, where: str, notes: list[str]) -> list[str]:
    found = _list(value, where)
    if not all(isinstance(name, str) and name for name in found):
        raise ValueError(f"{where}: expected a list of names")
    if len(found) > MAX_NAMES:
        notes.append(f"{where}: more than {MAX_NAMES} names, cut")
    return found[:MAX_NAMES]


def _categories(value: Any, where: str, notes: list[str]) -> list[str]:
    found = _names(value, where, notes)
    notes.extend(f"{where}: {name!r:.40} is not a category; ignored" for name in found if name not in CATEGORIES)
    return [name for name in found if name in CATEGORIES]


def _lessons(value: Any, where: str, notes: list[str]) -> list[Any]:
    found = _list(value, where)
    if len(found) > MAX_NAMES or any(len(str(lesson)) > MAX_TEXT for lesson in found):
        notes.append(f"{where}: more than {MAX_NAMES}, or longer than {MAX_TEXT} characters: those are left out")
    return [lesson for lesson in found if len(str(lesson)) <= MAX_TEXT][:MAX_NAMES]


def _record(**fields: _Check) -> _Check:
    def check(value: Any, where: str, notes: list[str]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected an object, got {value!r:.80}")  # noqa: TRY004 - one kind of malformed
        notes.extend(f"{where}.{key!s:.40}: unknown; ignored" for key in value if key not in fields)
        return {key: fields[key](item, f"{where}.{key}", notes) for key, item in value.items() if key in fields}

    return check


_budget_record: Final = _record(ratio=_number(0, 1), reserve=_number(0, 1_000))


def _budget(value: Any, where: str, notes: list[str]) -> dict[str, float]:
    """A number is the ratio. It can make the built-in budget smaller, never larger: that is up to the enforcer."""
    if isinstance(value, Mapping):
        return dict(_budget_record(value, where, notes))
    return {"ratio": _number(0, 1)(value, where, notes)}


_KNOBS: Final[Mapping[str, _Check]] = {
    "retry": _record(
        max_attempts=_integer(1, MAX_ATTEMPTS),
        initial_s=_number(0, MAX_WAIT_S),
        multiplier=_number(1, MAX_MULTIPLIER),
        max_s=_number(0, MAX_WAIT_S),
        jitter=_jitter,
        on=_categories,
        honour_retry_after=_flag,
        budget=_budget,
    ),
    "timeout_s": _number(0, MAX_TIMEOUT_S, above=True),
    "fallbacks": _names,
    "max_concurrency": _integer(1, MAX_COUNT),
    "breaker": _record(failures=_integer(1, MAX_COUNT), reset_s=_number(0, MAX_TIMEOUT_S)),
    "max_output_tokens": _integer(1, MAX_TOKENS),
    "reask": _record(on=_categories, max=_integer(0, MAX_REASKS)),
    "lessons": _lessons,
    "stop": _record(on=_categories),
}
