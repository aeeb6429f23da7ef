"""Puts a stand-in before an agent's model while the agent works, and the agent's own back when it has worked."""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

from crewai import BaseLLM

from rsi.client import process
from rsi_adapters.crewai.layers import Layers
from rsi_adapters.crewai.standin import StandIn


class _Work(NamedTuple):
    """An agent at work: how many pieces at once, its own model, and what stands before that."""

    agent: Any
    pieces: int
    own: Any
    before: Any


class _Made(NamedTuple):
    """A stand-in that was made: making one takes ten times as long as bringing it up to date."""

    own: Any
    before: StandIn
    agent: weakref.ref[Any]


class Agents:
    """The agents that are at work."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._at_work: dict[int, _Work] = {}
        self._made: dict[int, _Made] = {}
        self._lock = threading.Lock()
        process.renew_locks(self)

    def renew_lock(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()

    def begins(self, agent: Any) -> None:
        """The agent begins a piece of work; it may do several at once."""
        key = id(agent)
        with self._lock:
            found = self._at_work.get(key)
            own = getattr(agent, "llm", None)
            if isinstance(own, StandIn):
                found = found or _Work(agent, 0, own.inner, own)
            elif isinstance(own, BaseLLM):
                before = self._before(key, agent, own)
                _put(agent, before)
                found = _Work(agent, found.pieces if found is not None else 0, own, before)
            else:
                return
            self._at_work[key] = found._replace(pieces=found.pieces + 1)

    def ended(self, agent: Any) -> None:
        """It ended one."""
        key = id(agent)
        with self._lock:
            found = self._at_work.get(key)
            if found is None:
                return
            if found.pieces > 1:
                self._at_work[key] = found._replace(pieces=found.pieces - 1)
                return
            del self._at_work[key]
            _put_back(found)

    def all_back(self) -> None:
        """Every agent has its own model again."""
        with self._lock:
            for found in self._at_work.values():
                _put_back(found)
            self._at_work.clear()

    def _before(self, key: int, agent: Any, own: Any) -> StandIn:
        made = self._made.get(key)
        if made is not None and made.own is own and made.agent() is agent:
            made.before.be_like(own)
            return made.before
        before = StandIn.before(own, self._layers)
        self._made[key] = _Made(own, before, weakref.ref(agent, lambda _: self._made.pop(key, None)))
        return before


def _put(agent: Any, model: Any) -> None:
    """The executor was told the model before the agent says that it begins."""
    before, executor = agent.llm, getattr(agent, "agent_executor", None)
    agent.llm = model
    if executor is not None and getattr(executor, "llm", None) is before:
        executor.llm = model


def _put_back(work: _Work) -> None:
    model = work.agent.llm
    if model is work.before:
        _put(work.agent, work.own)
    elif isinstance(model, StandIn):
        _put(work.agent, model.inner)
