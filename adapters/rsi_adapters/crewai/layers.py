"""What may be done about the calls of a model: one layer for each way in which they can be made."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from rsi.client import Client, process
from rsi.enforce.layer import Layer

#: Copies of models with another timeout that are kept, each with its connections.
MAX_COPIES: Final = 32


class Layers:
    """The layers of one installation.

    Args:
        source: which agent; default the client's.
        client: instead of the process's own.
        fallbacks: declared models: a model name or a CrewAI LLM.
        inner_retries: tries that a model's client makes of one call; default by its `max_retries`.
    """

    def __init__(
        self, *, source: str | None, client: Client | None, fallbacks: Mapping[str, Any], inner_retries: int | None
    ) -> None:
        self._source = source
        self._client = client
        self._fallbacks = dict(fallbacks)
        self._inner_retries = inner_retries
        self._known: dict[tuple[int | None, bool], Layer] = {}
        self._copies: OrderedDict[tuple[int, float], tuple[Any, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self.lessons = Layer("model call", knobs=("lessons",), source=source, client=client)
        process.renew_locks(self)

    def renew_lock(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()

    def of(self, model: Any, *, cut: bool = False) -> Layer:
        """The layer for this model's calls; `cut`: the caller can end an attempt himself."""
        key = (self._tries(model), cut or can_be_timed(model))
        layer = self._known.get(key)
        return layer if layer is not None else self._known.setdefault(key, self._made(*key))

    def _made(self, tries: int | None, timed: bool) -> Layer:
        knobs = ("retry", "timeout_s") if timed else ("retry",)
        return Layer(
            "model call",
            knobs=knobs,
            fallbacks=self._fallbacks,
            source=self._source,
            client=self._client,
            inner_retries=tries,
        )

    def _tries(self, model: Any) -> int | None:
        """A native model says how often its client repeats; anything else makes one call of one, unless it was said."""
        if self._inner_retries is not None:
            return self._inner_retries
        repeats = getattr(model, "max_retries", None)
        if isinstance(repeats, int):
            return repeats + 1
        return None if getattr(model, "is_litellm", False) else 1

    def fallback(self, name: str) -> Any:
        """The declared model; one that is declared by its name is made when it is first needed."""
        found = self._fallbacks[name]
        if isinstance(found, str):
            from crewai import LLM

            found = self._fallbacks[name] = LLM(model=found)
        return found

    def timed(self, model: Any, seconds: float) -> Any:
        """A copy of the model whose client gives up after `seconds`."""
        with self._lock:
            found = self._copies.get((id(model), seconds))
            if found is None:  # the model is kept, so that no other one gets its id
                found = self._copies[id(model), seconds] = (model, _timed(model, seconds))
                if len(self._copies) > MAX_COPIES:
                    self._copies.popitem(last=False)
            return found[1]


def can_be_timed(model: Any) -> bool:
    """Whether its client takes the timeout from a field, and is made, or asked, anew when the field changes."""
    if "timeout" not in type(model).model_fields:
        return False
    return bool(getattr(model, "is_litellm", False)) or hasattr(model, "_get_sync_client")


def _timed(model: Any, seconds: float) -> Any:
    copy = model.model_copy(update={"timeout": seconds})
    for name in ("_client", "_async_client"):
        if name in (copy.__pydantic_private__ or {}):
            setattr(copy, name, None)
    return copy
