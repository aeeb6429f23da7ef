"""Lessons of the policy, given to the model by CrewAI's own hook before each call."""

from __future__ import annotations

from typing import Any

from rsi.client import current_run
from rsi.enforce.layer import Layer, attempt_of
from rsi.enforce.told import told
from rsi.enforce.watched import Watched


class Lessons:
    """A `before_llm_call` hook. CrewAI keeps the messages from call to call, so each text is added to them once."""

    def __init__(self, layer: Layer, watched: Watched) -> None:
        self._layer = layer
        self._watched = watched
        self.off = False

    def __call__(self, context: Any) -> None:
        """Add what the unit at hand is to be told. Never raises, never blocks the call."""
        run = current_run()
        if self.off or run is None:  # executors keep the hooks they began with
            return
        try:
            self._add(context.messages)
        except Exception as error:  # noqa: BLE001 - the border into the host
            tally = self._watched.client.tally
            tally.count("adapter_errors")
            tally.say_once(f"crewai: lessons could not be given: {type(error).__name__}: {error}")

    def _add(self, messages: Any) -> None:
        call = self._layer.begin()
        if call is None or call.plain or not isinstance(messages, list):
            return
        text = told(attempt_of(call).lessons)
        if text and not any(text == message.get("content") for message in messages):
            messages.insert(_after_system(messages), {"role": "system", "content": text})


def _after_system(messages: list[Any]) -> int:
    """Behind what the agent is told of itself, before its work: later system messages pass for part of the talk."""
    place = 0
    while place < len(messages) and messages[place].get("role") == "system":
        place += 1
    return place
