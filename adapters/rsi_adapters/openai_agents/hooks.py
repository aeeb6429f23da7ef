"""What is put into the SDK, and taken back."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from agents import Runner, set_trace_processors
from agents.tracing import add_trace_processor, get_trace_provider
from agents.version import __version__ as sdk

from rsi.client import Client
from rsi_adapters.openai_agents.observing import Processor
from rsi_adapters.openai_agents.running import Runs

_METHODS: Final = ("run", "run_sync", "run_streamed")


class Hooks:
    """The processor and the wrapped methods of `Runner`."""

    def __init__(
        self, *, source: str | None, fallbacks: Mapping[str, Any], inner_retries: int | None, client: Client | None
    ) -> None:
        self._processor = Processor(source=source, client=client)
        self._runs = Runs(self._processor, fallbacks=fallbacks, inner_retries=inner_retries)
        self._before: dict[str, Any] = {}
        self.said = f"OpenAI Agents SDK {sdk}: Runner.run, run_sync and run_streamed report and take the policy"

    def put(self) -> None:
        """Wrap and register."""
        wrappers = {"run": self._async, "run_sync": self._sync, "run_streamed": self._streamed}
        for name in _METHODS:
            original = Runner.__dict__[name]
            self._before[name] = original
            wrapped = functools.wraps(original.__func__)(wrappers[name](original.__func__))
            setattr(Runner, name, classmethod(wrapped))
        add_trace_processor(self._processor)

    def take_back(self) -> None:
        """As it was before; what somebody else has wrapped around ours since stays, and passes ours through."""
        self._processor.off = True
        for name, original in self._before.items():
            now = Runner.__dict__[name]
            if getattr(now.__func__, "__wrapped__", None) is original.__func__:
                setattr(Runner, name, original)
        others = [each for each in _processors() if each is not self._processor]
        if len(others) != len(_processors()):
            set_trace_processors(others)

    def _async(self, original: Any) -> Any:
        runs = self._runs

        async def run(cls: Any, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002 - the SDK's name
            begun = runs.begin(starting_agent, input, options)
            if begun is None:
                return await original(cls, starting_agent, input, **options)
            return await begun.arun(functools.partial(original, cls, starting_agent, input))

        return run

    def _sync(self, original: Any) -> Any:
        runs = self._runs

        def run_sync(cls: Any, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002 - the SDK's name
            begun = runs.begin(starting_agent, input, options)
            if begun is None:
                return original(cls, starting_agent, input, **options)
            return begun.run(functools.partial(original, cls, starting_agent, input))

        return run_sync

    def _streamed(self, original: Any) -> Any:
        runs = self._runs

        def run_streamed(cls: Any, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
            begun = runs.begin(starting_agent, input, options)
            if begun is None:
                return original(cls, starting_agent, input, **options)
            return begun.stream(functools.partial(original, cls, starting_agent, input))

        return run_streamed


def _processors() -> list[Any]:
    """The processors that are registered; the SDK has no reader for them."""
    multi = getattr(get_trace_provider(), "_multi_processor", None)
    return list(getattr(multi, "_processors", ()))
