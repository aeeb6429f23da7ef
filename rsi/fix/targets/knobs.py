"""From a knob of the policy to the keys that turn it, where no client enforces the knob itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rsi.config import Bounds, Config, Target
from rsi.fix.targets.declared import limits_of
from rsi.fix.targets.litellm import ROUTER

ANY: Final = "*"
MS_PER_S: Final = 1000
#: More is the point of these, less of that one: a key that is past it already is left alone.
_ONLY_UP: Final = frozenset({"retry", "timeout_s", "max_output_tokens"})
_ONLY_DOWN: Final = frozenset({"max_concurrency"})
#: The knobs of LiteLLM's settings, each with the setting that says it first.
_LITELLM_SAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "retry": (f"{ROUTER}.num_retries",),
    "timeout_s": (f"{ROUTER}.timeout",),
    "fallbacks": (f"{ROUTER}.default_fallbacks",),
    "breaker": (f"{ROUTER}.allowed_fails",),
}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A target that turns a knob of a scope, and what its keys would have to say (for `Target.make`)."""

    target: str
    after: dict[str, Any]


def name_of(declared: Target) -> str:
    """The target's name, as in `Change.target`."""
    if declared.type in ("litellm", "lessons"):
        return f"{declared.type}:{declared.file}"
    return f"file:{declared.file}#{declared.key}"


def covering(config: Config, source: str, task: str, knob: str) -> list[Target]:
    """The declarations that can turn `knob` for this scope, those for exactly this task first, then of this source."""
    found = [one for one in config.targets if _covers(one, source, task) and knob in _knobs(one)]
    return sorted(found, key=lambda one: (one.task == ANY, one.source == ANY, one.type == "litellm"))


def turns(config: Config, source: str, task: str, knob: str, value: Any) -> list[Turn]:
    """The declared keys that would turn `knob` to `value` for exactly this scope, or for one around it.

    A number is cut to the key's own limits. Nothing is read: whether a key says it already is for `worth` to say.
    """
    found = (turn(declared, knob, value, config.fix.bounds) for declared in covering(config, source, task, knob))
    return [one for one in found if one is not None]


def turn(declared: Target, knob: str, value: Any, bounds: Bounds) -> Turn | None:
    """What the keys of one declaration would have to say for `knob` to be `value`; `None`: they cannot say it."""
    after = _after(declared, knob, value, bounds)
    return Turn(target=name_of(declared), after=after) if after else None


def keys_of(declared: Target, knob: str) -> list[str]:
    """The keys that say what `knob` is."""
    if declared.type == "litellm":
        return list(_LITELLM_SAYS.get(knob, ()))
    return [declared.key] if declared.knob == knob else []


def knob_value(declared: Target, knob: str, values: Mapping[str, Any]) -> Any:
    """What `values` of the keys of `keys_of` make of the knob, in the policy's words; `None`: they do not say it."""
    found = [values.get(key) for key in keys_of(declared, knob)]
    first = found[0] if found else None
    if first is None:
        return None
    if knob == "retry":
        return {"max_attempts": first + (declared.type == "litellm" or declared.unit == "retries")}
    if knob == "timeout_s":
        return first / MS_PER_S if declared.unit == "ms" else first
    return [first] if knob == "fallbacks" and isinstance(first, str) else first


def worth(knob: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether this turns the knob the way it is meant to: tries and timeouts never down, concurrency never up."""
    for key, value in after.items():
        now = before.get(key)
        if now is None or not isinstance(value, int | float) or not isinstance(now, int | float):
            if now != value:
                return True
        elif (knob not in _ONLY_UP and value < now) or (knob not in _ONLY_DOWN and value > now):
            return True
    return False


def _knobs(declared: Target) -> Sequence[str]:
    if declared.type == "lessons":
        return ("lessons",)
    if declared.type == "litellm":
        return tuple(_LITELLM_SAYS)
    return (declared.knob,) if declared.knob else ()


def _covers(declared: Target, source: str, task: str) -> bool:
    return declared.source in (ANY, source) and declared.task in (ANY, task)


def _after(declared: Target, knob: str, value: Any, bounds: Bounds) -> dict[str, Any]:
    if declared.type == "litellm":
        return dict(_litellm(knob, value))
    if declared.knob != knob:
        return {}
    found = _value(declared, value)
    if isinstance(found, int | float):
        limits = limits_of(declared, bounds)
        found = min(max(found, limits.get("min", found)), limits.get("max", found))
        found = int(found) if declared.type == "int" else float(found)
    return {} if found is None else {declared.key: found}


def _value(declared: Target, value: Any) -> Any:
    """The knob's value as the key counts it; `None` where it has none."""
    if declared.knob == "retry":
        tries = value.get("max_attempts") if isinstance(value, Mapping) else None
        return None if tries is None else tries - (declared.unit == "retries")
    if declared.knob == "timeout_s" and declared.unit == "ms":
        return value * MS_PER_S
    if declared.knob == "fallbacks":
        return _first(value)
    return value


def _first(value: Sequence[str]) -> str | None:
    return value[0] if value else None


def _litellm(knob: str, value: Any) -> Iterable[tuple[str, Any]]:
    if knob == "retry":
        if "max_attempts" in value:
            yield f"{ROUTER}.num_retries", value["max_attempts"] - 1
        if "initial_s" in value:
            yield f"{ROUTER}.retry_after", math.ceil(value["initial_s"])
    elif knob == "timeout_s":
        yield f"{ROUTER}.timeout", value
    elif knob == "fallbacks":
        yield f"{ROUTER}.default_fallbacks", list(value)
    elif knob == "breaker":
        if "failures" in value:
            yield f"{ROUTER}.allowed_fails", value["failures"]
        if "reset_s" in value:
            yield f"{ROUTER}.cooldown_time", value["reset_s"]
