"""A model that stands before an agent's own and makes its calls as the policy says."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from crewai import BaseLLM
from pydantic import PrivateAttr

from rsi.client import current_run
from rsi.enforce.layer import PLAIN, Attempt
from rsi_adapters.crewai.layers import Layers

try:
    from crewai.llms.base_llm import call_stop_override
except ImportError:  # before 1.14 the stop words are a field, which is copied
    call_stop_override = None
try:
    from crewai.llms.retry import _active_llm_rate_limit_retry as _framework_repeats
except ImportError:  # only newer versions repeat a throttled call by themselves
    _framework_repeats = None

#: Of every model.
_FIELDS: Final = tuple(BaseLLM.model_fields)
#: What we do ourselves.
_OWN: Final = frozenset({"call", "acall", "stream_events"})


class StandIn(BaseLLM):  # type: ignore[misc]
    """Everything but calls is the own model's: fields are copied, methods and unknown attributes passed on."""

    _inner: Any = PrivateAttr()
    _layers: Layers = PrivateAttr()

    @classmethod
    def before(cls, inner: Any, layers: Layers) -> StandIn:
        """Stand before `inner`."""
        made: StandIn = cls.model_construct(**_fields(inner))
        made._inner, made._layers = inner, layers
        return made

    def be_like(self, inner: Any) -> None:
        """Take over what has changed in the own model's fields."""
        self.__dict__.update(_fields(inner))

    @property
    def inner(self) -> Any:
        """The agent's own model."""
        return self._inner

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        """One model call, as often as the policy allows."""
        if current_run() is None or self._streams():
            with self._as_asked(self._inner):
                return self._inner.call(messages, *args, **kwargs)

        def make(attempt: Attempt) -> Any:
            model = self._model(attempt)
            with self._as_asked(model), _repeating_only_once(attempt):
                return model.call(messages, *args, **kwargs)

        return self._layers.of(self._inner).call(make)

    async def acall(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        """The same in a task; here every attempt can be cut."""
        if current_run() is None or self._streams():
            with self._as_asked(self._inner):
                return await self._inner.acall(messages, *args, **kwargs)

        async def make(attempt: Attempt) -> Any:
            model = self._model(attempt, cut=True)
            with self._as_asked(model), _repeating_only_once(attempt):
                return await model.acall(messages, *args, **kwargs)

        return await self._layers.of(self._inner, cut=True).acall(make)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            return getattr(object.__getattribute__(self, "__pydantic_private__")["_inner"], name)

    def _streams(self) -> bool:
        """What a stream has given cannot be taken back: it is never made again."""
        told = getattr(self._inner, "_effective_stream", None)
        return bool(told() if told is not None else getattr(self._inner, "stream", None))

    def _model(self, attempt: Attempt, *, cut: bool = False) -> Any:
        if attempt.fallback is not None:
            return self._layers.fallback(attempt.fallback)
        if attempt.timeout_s is not None and not cut:
            return self._layers.timed(self._inner, attempt.timeout_s)
        return self._inner

    @contextlib.contextmanager
    def _as_asked(self, model: Any) -> Iterator[None]:
        """Stop words are set for a call of this object; they are meant for the one that makes it."""
        if call_stop_override is None or self.stop_sequences == model.stop_sequences:
            yield
            return
        with call_stop_override(model, self.stop_sequences):
            yield


def _fields(model: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in _FIELDS}


@contextlib.contextmanager
def _repeating_only_once(attempt: Attempt) -> Iterator[None]:
    """CrewAI makes a throttled call up to three times by itself; where we repeat it too, that would be nine."""
    if attempt is PLAIN or _framework_repeats is None or "rate_limit" not in attempt.repeats:
        yield
        return
    token = _framework_repeats.set(True)
    try:
        yield
    finally:
        _framework_repeats.reset(token)


def _passed_on(name: str) -> Callable[..., Any]:
    def method(self: StandIn, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.inner, name)(*args, **kwargs)

    method.__name__ = name
    return method


def _pass_on(found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        if inspect.isfunction(value) and name not in _OWN and not name.startswith(("__", "model_", "_wrap")):
            setattr(StandIn, name, _passed_on(name))


# A subclass's `call` is wrapped with CrewAI's own repeating; around ours it would multiply what the layer does.
for _name in ("call", "acall"):
    setattr(StandIn, _name, inspect.unwrap(vars(StandIn)[_name]))
_pass_on(vars(BaseLLM))
