"""What is put into LiteLLM, and taken back."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

import litellm
from litellm import Router

from rsi.client import Client
from rsi_adapters.litellm.calls import Calls
from rsi_adapters.litellm.layers import Layers
from rsi_adapters.litellm.logger import Logger
from rsi_adapters.litellm.observing import Observer

#: LiteLLM copies a logger from the first list into the others when it is first used.
_LISTS: Final = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "_async_input_callback",
    "_async_success_callback",
    "_async_failure_callback",
)


class Hooks:
    """The logger in LiteLLM's lists, and what stands around its calls."""

    def __init__(
        self,
        *,
        source: str | None,
        fallbacks: Mapping[str, str | Mapping[str, Any]],
        inner_retries: int | None,
        client: Client | None,
    ) -> None:
        self._observer = Observer(source=source, client=client)
        layers = Layers(source=source, client=client, fallbacks=fallbacks, inner_retries=inner_retries)
        self._calls = Calls(self._observer, layers)
        self._logger = Logger(self._observer)
        self._put: list[tuple[Any, str, Any, Any]] = []
        self.said = f"LiteLLM {metadata.version('litellm')}: calls report, and those of Routers take the policy"

    def put(self) -> None:
        """Begin."""
        litellm.callbacks.append(self._logger)
        for place, of_router in ((Router, True), (litellm, False)):
            self._stand(place, "completion", self._calls.around(place.completion, of_router=of_router))
            self._stand(place, "acompletion", self._calls.around_async(place.acompletion, of_router=of_router))

    def _stand(self, place: Any, name: str, ours: Any) -> None:
        self._put.append((place, name, vars(place)[name], ours))
        setattr(place, name, ours)

    def take_back(self) -> None:
        """As it was before; where somebody else stands around ours since, ours stays and passes everything on."""
        self._observer.off = True
        for place, name, before, ours in self._put:
            if vars(place).get(name) is ours:
                setattr(place, name, before)
        self._put.clear()
        for name in _LISTS:
            found = getattr(litellm, name, None)
            if isinstance(found, list):
                found[:] = [each for each in found if each is not self._logger]
