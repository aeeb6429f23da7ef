"""What an exception means: not a failure at all, or a category."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Final

from rsi.client.facts import ErrorFacts
from rsi.client.tally import Tally
from rsi.model import Status

#: LangGraph's control flow: (class in the MRO, module) → what it is. Named, because we import no framework.
_PAUSES: Final = frozenset(
    (name, "langgraph.errors") for name in ("GraphInterrupt", "NodeInterrupt", "GraphDrained")
)  # asked for a person, or told to stop: both go on later from their checkpoint
_BUBBLES: Final = ("GraphBubbleUp", "langgraph.errors")
_CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)


def ended_without_failing(error: BaseException) -> Status | None:
    """`cancelled`, `paused` or `ok` for what is raised and is no failure; `None` for a failure."""
    if isinstance(error, SystemExit):
        return "ok" if error.code in (None, 0) else None  # a program that ends itself says itself how it went
    if not isinstance(error, Exception) or isinstance(error, _CANCELLED):
        return "cancelled"  # KeyboardInterrupt, GeneratorExit, a cancelled task
    if isinstance(error, StopIteration | StopAsyncIteration):
        return "ok"
    names = {(kind.__name__, kind.__module__) for kind in type(error).__mro__}
    if names & _PAUSES:
        return "paused"
    return "ok" if _BUBBLES in names else None


def category_of(facts: ErrorFacts, provider: str | None, tally: Tally) -> str:
    """By rules; loaded with the first failure under a policy, so that nobody pays who needs none."""
    try:
        from rsi.classify import classify  # noqa: PLC0415

        return classify(facts.message, facts.type, facts.status, facts.provider or provider).name
    except Exception as error:  # noqa: BLE001 - the border into the host: a broken rule must not replace its error
        tally.count("classify_errors")
        tally.say_once(f"a failure could not be classified: {type(error).__name__}: {error}")
        return "unknown"
