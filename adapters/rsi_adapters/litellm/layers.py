"""What may be done about a call, and how LiteLLM is told: by the call's own arguments.

`Router.update_settings` would be heard by every unit of the process, in both arms, and rounds times to whole seconds;
what a call is given holds for that call alone, and nothing has to be put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import litellm

from rsi.client import Client
from rsi.enforce.layer import Attempt, Layer
from rsi.enforce.told import told

_KNOBS: Final = ("retry", "timeout_s", "max_output_tokens", "lessons")
#: Arguments that belong to the model that was asked first.
_OF_THE_FIRST: Final = ("api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "specific_deployment")


class Layers:
    """The layers of one installation: one for each number of tries that LiteLLM makes by itself.

    Args:
        source: which agent; default the client's.
        client: instead of the process's own.
        fallbacks: declared models, or arguments with a `model`.
        inner_retries: tries that LiteLLM makes of one call; default by what it is told.

    Raises:
        ValueError: a fallback has no model.
    """

    def __init__(
        self,
        *,
        source: str | None,
        client: Client | None,
        fallbacks: Mapping[str, str | Mapping[str, Any]],
        inner_retries: int | None,
    ) -> None:
        self._source = source
        self._client = client
        self._inner_retries = inner_retries
        self._fallbacks = {
            name: {"model": given} if isinstance(given, str) else dict(given) for name, given in fallbacks.items()
        }
        for name, given in self._fallbacks.items():
            if not given.get("model"):
                raise ValueError(f"the fallback {name!r} names no model: say fallbacks={{{name!r}: 'provider/model'}}")
        self._known: dict[int, Layer] = {}

    def of(self, given: Mapping[str, Any], router: Any) -> Layer:
        """The layer for this call."""
        tries = self._inner_retries or 1 + _repeats(given, router)
        layer = self._known.get(tries)
        if layer is None:
            layer = self._known.setdefault(tries, self._made(tries))
        return layer

    def _made(self, tries: int) -> Layer:
        return Layer(
            "model call",
            knobs=_KNOBS,
            fallbacks=self._fallbacks,
            source=self._source,
            client=self._client,
            inner_retries=tries,
        )

    def applied(self, given: Mapping[str, Any], attempt: Attempt) -> dict[str, Any]:
        """The arguments of one attempt; the given ones are not changed."""
        call = dict(given)
        if attempt.fallback is not None:
            call = {name: value for name, value in call.items() if name not in _OF_THE_FIRST}
            call |= self._fallbacks[attempt.fallback]
        if attempt.timeout_s is not None:
            call["timeout"] = attempt.timeout_s
        if attempt.max_output_tokens is not None:
            name = "max_completion_tokens" if call.get("max_completion_tokens") else "max_tokens"
            call[name] = max(call.get(name) or 0, attempt.max_output_tokens)
        if text := told(attempt.lessons):
            call["messages"] = _with(call.get("messages") or [], text)
        return call


def _with(messages: list[Any], text: str) -> list[Any]:
    place = 0
    while place < len(messages) and _role(messages[place]) == "system":
        place += 1
    return [*messages[:place], {"role": "system", "content": text}, *messages[place:]]


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else getattr(message, "role", None)


def _repeats(given: Mapping[str, Any], router: Any) -> int:
    """How often LiteLLM makes a failed call again: a Router by its own setting, else the provider's client by its."""
    for said in (given.get("num_retries"), given.get("max_retries")):
        if isinstance(said, int):
            return max(0, said)
    if router is not None:
        return max(0, getattr(router, "num_retries", None) or 0)
    return max(0, litellm.num_retries or getattr(litellm, "DEFAULT_MAX_RETRIES", None) or _DEFAULT_REPEATS)


#: What the OpenAI client does, and LiteLLM with it.
_DEFAULT_REPEATS: Final = 2
