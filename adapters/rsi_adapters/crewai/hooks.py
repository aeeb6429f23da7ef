"""What is put into CrewAI, and taken back."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from crewai.events import crewai_event_bus
from crewai.hooks import register_before_llm_call_hook, unregister_before_llm_call_hook

from rsi.client import Client
from rsi_adapters.crewai.agents import Agents
from rsi_adapters.crewai.layers import Layers
from rsi_adapters.crewai.lessons import Lessons
from rsi_adapters.crewai.observing import Observer
from rsi_adapters.crewai.tap import Tap


class Hooks:
    """The tap on the event bus, the hook for lessons, the agents that have a stand-in."""

    def __init__(
        self,
        *,
        source: str | None,
        session_input: str | None,
        fallbacks: Mapping[str, Any],
        inner_retries: int | None,
        client: Client | None,
    ) -> None:
        self._observer = Observer(source=source, client=client, session_input=session_input)
        layers = Layers(source=source, client=client, fallbacks=fallbacks, inner_retries=inner_retries)
        self._agents = Agents(layers)
        self._lessons = Lessons(layers.lessons, self._observer.watched)
        self._tap = Tap(crewai_event_bus, self._hear)
        self.said = f"CrewAI {metadata.version('crewai')}: tasks report, and their model calls take the policy"

    def put(self) -> None:
        """Begin."""
        self._tap.put()
        register_before_llm_call_hook(self._lessons)

    def take_back(self) -> None:
        """As it was before."""
        self._tap.take_back()
        unregister_before_llm_call_hook(self._lessons)
        self._lessons.off = True
        self._agents.all_back()
        self._observer.forget()

    def _hear(self, source: Any, event: Any) -> None:
        kind = getattr(event, "type", None)
        if kind in _BEGINS and self._observer.watched.client.enforcing:
            self._guarded(self._agents.begins, getattr(event, "agent", None) or source)
        self._observer.hear(source, event)
        if kind in _ENDS:
            self._guarded(self._agents.ended, getattr(event, "agent", None) or source)

    def _guarded(self, change: Any, agent: Any) -> None:
        try:
            change(agent)
        except Exception as error:  # noqa: BLE001 - the border into the host: an agent we cannot help works as it did
            tally = self._observer.watched.client.tally
            tally.count("adapter_errors")
            tally.say_once(f"crewai: the model of an agent was left as it is: {type(error).__name__}: {error}")


_BEGINS = frozenset({"agent_execution_started", "lite_agent_execution_started"})
_ENDS = frozenset(
    {
        "agent_execution_completed",
        "agent_execution_error",
        "lite_agent_execution_completed",
        "lite_agent_execution_error",
    }
)
