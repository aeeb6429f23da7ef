"""What `targets:` allows for a key: its type, min, max, enum, and the limits of the knob that it turns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rsi.config import Bounds, Target
from rsi.fix.targets.errors import TargetRefusedError

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
_MAX_TEXT: Final = 256
"""A configured text is a name or a mode."""
_MAX_INT: Final = 2**53
"""Beyond this JSON readers differ."""


def check(declared: Target, key: str, value: Any, bounds: Bounds | None) -> dict[str, Any]:
    """Hold a value against its declaration; without `bounds` only its type counts.

    Returns:
        the limits it is within.

    Raises:
        TargetRefusedError: names file, key and the limit.
    """
    _check_type(declared, key, value)
    if bounds is None:
        return {}
    limits = limits_of(declared, bounds)
    if declared.type != "bool":
        _check_declared(declared, key, limits)
    if "enum" in limits and not any(type(value) is type(one) and value == one for one in limits["enum"]):
        raise _refused(declared, key, f"{value!r} is none of {limits['enum']!r}")
    if "min" in limits and value < limits["min"]:
        raise _refused(declared, key, f"{value!r} is below min ({limits['min']:g})")
    if "max" in limits and value > limits["max"]:
        raise _refused(declared, key, f"{value!r} is above max ({limits['max']:g})")
    return limits


def all_of(declarations: Sequence[Target], key: str, value: Any, bounds: Bounds | None) -> dict[str, Any]:
    """Hold a value against several declarations of one key; the limits of the tightest.

    Raises:
        TargetRefusedError: names file, key and the limit.
    """
    limits: dict[str, Any] = {}
    for one in declarations:
        for name, limit in check(one, key, value, bounds).items():
            tighter = {"min": max, "max": min}.get(name)
            limits[name] = tighter(limits.get(name, limit), limit) if tighter else limit
    return limits


def limits_of(declared: Target, bounds: Bounds) -> dict[str, Any]:
    """`min`, `max` and `enum` of a key, the knob's own bound included."""
    limits: dict[str, Any] = {}
    if declared.enum is not None:
        limits["enum"] = declared.enum
    if declared.type in ("int", "float"):
        highest = [limit for limit in (declared.max, _knob_limit(declared, bounds)) if limit is not None]
        if declared.min is not None:
            limits["min"] = declared.min
        if highest:
            limits["max"] = min(highest)
    return limits


def _knob_limit(declared: Target, bounds: Bounds) -> float | None:
    if declared.knob == "retry":
        return bounds.max_attempts - (declared.unit == "retries")
    if declared.knob == "timeout_s":
        return bounds.timeout_s * (1000 if declared.unit == "ms" else 1)
    if declared.knob == "max_concurrency":
        return bounds.max_concurrency
    return bounds.max_output_tokens if declared.knob == "max_output_tokens" else None


def _check_type(declared: Target, key: str, value: Any) -> None:
    if not isinstance(value, _TYPES[declared.type]) or (isinstance(value, bool) and declared.type != "bool"):
        raise _refused(declared, key, f"{value!r} is no {declared.type}, which is the type that was declared")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(declared, key, f"{value!r} is no finite number")
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise _refused(declared, key, f"{value!r} is beyond ±2^53, where readers differ")
    if isinstance(value, str) and (len(value) > _MAX_TEXT or not value.isprintable()):
        raise _refused(declared, key, f"a text of one printable line, at most {_MAX_TEXT} characters, is edited")


def _check_declared(declared: Target, key: str, limits: Mapping[str, Any]) -> None:
    """A value that anything may be written over is no declaration."""
    if "enum" in limits or (declared.type != "str" and "min" in limits and "max" in limits):
        return
    wanted = "enum" if declared.type == "str" else "min and max, or enum,"
    raise _refused(declared, key, f"no limits were declared; add {wanted} to it in rsi.yaml")


def _refused(declared: Target, key: str, reason: str) -> TargetRefusedError:
    return TargetRefusedError(declared.file, key, reason)
