"""What LiteLLM says of a call: whose it is, what it used, and who made it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final

#: Frameworks that call LiteLLM and tell their model calls themselves: module of the caller → our adapter's module,
#: which is loaded where that framework is hooked.
_TELL_THEMSELVES: Final = {
    "crewai.llm": "rsi_adapters.crewai.hooks",
    "agents.extensions": "rsi_adapters.openai_agents.hooks",
    "langchain_litellm": "rsi_adapters.langgraph.handler",
    "langchain_community": "rsi_adapters.langgraph.handler",
}
_LONGEST: Final = 128
#: Fields of an outcome, as the two APIs of LiteLLM call them.
_USED: Final = (("tokens_in", "prompt_tokens", "input_tokens"), ("tokens_out", "completion_tokens", "output_tokens"))


def session_of(given: Mapping[str, Any]) -> str | None:
    """The conversation: `litellm_session_id`, else `session_id` in the metadata."""
    found = given.get("litellm_session_id")
    for name in ("metadata", "litellm_metadata"):
        metadata = given.get(name)
        if not found and isinstance(metadata, Mapping):
            found = metadata.get("session_id")
    return str(found)[:_LONGEST] if found else None


def user_of(given: Mapping[str, Any]) -> str | None:
    """For whom."""
    found = given.get("user")
    return str(found)[:_LONGEST] if found else None


def used(response: Any) -> dict[str, Any]:
    """Tokens, where the answer tells them."""
    usage = getattr(response, "usage", None)
    if usage is None and isinstance(response, Mapping):
        usage = response.get("usage")
    found: dict[str, Any] = {}
    if usage is None:
        return found
    of = usage.get if isinstance(usage, dict) else functools.partial(_attribute, usage)
    for field, name, other in _USED:
        value = of(name)
        if value is None:
            value = of(other)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[field] = value
    return found


def _attribute(usage: Any, name: str) -> Any:
    return getattr(usage, name, None)


def told_by_another() -> bool:
    """Whether a framework makes this call that is hooked itself: then it tells of it, and we would do so twice."""
    callers = tuple(name for name, ours in _TELL_THEMSELVES.items() if ours in sys.modules and name in sys.modules)
    if not callers:
        return False
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to one's callers
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(callers):
            return True
        frame = frame.f_back
    return False
