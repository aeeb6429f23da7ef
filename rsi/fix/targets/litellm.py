"""`litellm:<path>`: the settings of a LiteLLM proxy or router in its config.yaml, with rsi's own limits.

Names and meanings: LiteLLM 1.106 (`Router.__init__`, proxy `config.yaml`), read and run in the adapters' research.
LiteLLM reads the file when it starts: the edit acts from its next start or reload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from rsi.change import MAX_FALLBACKS
from rsi.config import Bounds, Target
from rsi.fix.targets import declared
from rsi.fix.targets.errors import TargetRefusedError
from rsi.fix.targets.keys import Check

ROUTER: Final = "router_settings"
LITELLM: Final = "litellm_settings"
_MAX_COOLDOWN_S: Final = 3_600.0
_MAX_WAIT_S: Final = 600.0
_MAX_ALLOWED_FAILS: Final = 1_000
_MAX_NAME: Final = 256


class Setting(NamedTuple):
    """One setting: its type and its highest value, given `fix.bounds`; `None`: a list of names or of chains."""

    type: str
    highest: Callable[[Bounds], float] | None
    lowest: float = 0.0


#: `num_retries` counts the tries after the first.
SETTINGS: Final[Mapping[str, Setting]] = {
    f"{ROUTER}.num_retries": Setting("int", lambda bounds: bounds.max_attempts - 1),
    f"{ROUTER}.timeout": Setting("float", lambda bounds: bounds.timeout_s, 0.001),
    f"{ROUTER}.retry_after": Setting("int", lambda _: _MAX_WAIT_S),
    f"{ROUTER}.allowed_fails": Setting("int", lambda _: _MAX_ALLOWED_FAILS),
    f"{ROUTER}.cooldown_time": Setting("float", lambda _: _MAX_COOLDOWN_S),
    f"{ROUTER}.fallbacks": Setting("chains", None),
    f"{ROUTER}.default_fallbacks": Setting("names", None),
    f"{LITELLM}.num_retries": Setting("int", lambda bounds: bounds.max_attempts - 1),
    f"{LITELLM}.request_timeout": Setting("float", lambda bounds: bounds.timeout_s, 0.001),
    f"{LITELLM}.allowed_fails": Setting("int", lambda _: _MAX_ALLOWED_FAILS),
    f"{LITELLM}.fallbacks": Setting("chains", None),
    f"{LITELLM}.default_fallbacks": Setting("names", None),
}


def checker(file: str, narrower: Sequence[Target], fallbacks: Sequence[str]) -> Check:
    """The check of a LiteLLM file's keys.

    Args:
        file: relative to the home.
        narrower: keys of the same file that were declared by themselves: their limits count too.
        fallbacks: the models that a person listed under `sources:`; a fix may switch to no other.
    """

    def check(key: str, value: Any, bounds: Bounds | None) -> dict[str, Any]:
        setting = SETTINGS.get(key)
        if setting is None:
            raise TargetRefusedError(file, key, f"no setting that rsi edits; known are {', '.join(SETTINGS)}")
        declared.all_of([one for one in narrower if one.key == key], key, value, bounds)
        if setting.highest is None:
            return _lists(file, key, value, fallbacks if bounds is not None else None, chains=setting.type == "chains")
        highest = setting.highest(bounds) if bounds is not None else None
        kind: Literal["int", "float"] = "int" if setting.type == "int" else "float"
        as_declared = Target(file=file, key=key, type=kind, min=setting.lowest, max=highest)
        return declared.check(as_declared, key, value, bounds)

    return check


def _lists(file: str, key: str, value: Any, allowed: Sequence[str] | None, *, chains: bool) -> dict[str, Any]:
    """`["backup"]`, or with `chains` `[{"main": ["backup"]}]`."""
    lists = list(_chains(file, key, value)) if chains else [value]
    for names in lists:
        if not isinstance(names, list) or not 0 < len(names) <= MAX_FALLBACKS or not all(map(_is_name, names)):
            raise TargetRefusedError(file, key, f"expected lists of 1 to {MAX_FALLBACKS} model names")
        foreign = [name for name in names if allowed is not None and name not in allowed]
        if foreign:
            reason = f"{foreign[0]!r} is no declared fallback; list it under sources.<name>.fallbacks"
            raise TargetRefusedError(file, key, reason)
    return {} if allowed is None else {"fallbacks": list(allowed)}


def _chains(file: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) and len(one) == 1 for one in value):
        raise TargetRefusedError(file, key, 'expected chains like [{"main": ["backup"]}]')
    if not all(_is_name(name) for one in value for name in one):
        raise TargetRefusedError(file, key, "a model group has no printable name")
    return [names for one in value for names in one.values()]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()
