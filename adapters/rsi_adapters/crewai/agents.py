"""Puts a stand-in before an agent's model while the agent works, and the agent's own back when it has worked."""

from __future__ import annotations

import threading
from typing import Any

from crewai import BaseLLM

from rsi_adapters.crewai.layers import Layers
from rsi_adapters.crewai.standin import StandIn


class Agents:
    """The agents that are at work."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._at_work: dict[int, tuple[Any, int]] = {}
        self._lock = threading.Lock()

    def begins(self, agent: Any) -> None:
        """The agent begins a piece of work; it may do several at once."""
        with self._lock:
            _, pieces = self._at_work.get(id(agent), (agent, 0))
            own = getattr(agent, "llm", None)
            if not isinstance(own, StandIn):
                if not isinstance(own, BaseLLM):
                    return
                _put(agent, StandIn.before(own, self._layers))
            self._at_work[id(agent)] = (agent, pieces + 1)

    def ended(self, agent: Any) -> None:
        """It ended one."""
        with self._lock:
            found = self._at_work.get(id(agent))
            if found is None:
                return
            if found[1] > 1:
                self._at_work[id(agent)] = (agent, found[1] - 1)
                return
            del self._at_work[id(agent)]
            _put_back(agent)

    def all_back(self) -> None:
        """Every agent has its own model again."""
        with self._lock:
            for agent, _ in self._at_work.values():
                _put_back(agent)
            self._at_work.clear()


def _put(agent: Any, model: Any) -> None:
    """The executor was told the model before the agent says that it begins."""
    before, executor = agent.llm, getattr(agent, "agent_executor", None)
    agent.llm = model
    if executor is not None and getattr(executor, "llm", None) is before:
        executor.llm = model


def _put_back(agent: Any) -> None:
    if isinstance(agent.llm, StandIn):
        _put(agent, agent.llm.inner)
