"""What was cancelled, and why: by a timeout, or because the caller went away. Known when what is around it ends."""

from __future__ import annotations

import asyncio
from typing import Final

from rsi.client.facts import ErrorFacts
from rsi_adapters.langgraph.seen import Seen

#: The class of an error that tells which node LangGraph cut, for tries of which only the cut was seen.
_NODE_TIMEOUT: Final = "langgraph.errors.NodeTimeoutError"


def waits(seen: Seen) -> bool:
    """Whether the reason why it was cancelled matters: nodes, models and tools; the rest is not told anyway."""
    return bool(seen.slot) or seen.kind != "chain"


def left_to(up: Seen | None, seen: Seen, error: BaseException | ErrorFacts | None) -> bool:
    """Whether what is still open inside is left for `up` to settle: all if a chain is cancelled, else what goes on."""
    if up is None:
        return False
    if error is None:
        up.inner.update(seen.inner)
        seen.inner.clear()
        return not seen.held
    if isinstance(error, asyncio.CancelledError) and not waits(seen):
        up.inner.update(seen.inner)
        up.held += seen.held
        return True
    return False


def end_as_cut(inner: Seen, ms: float) -> None:
    """Tell a try that was cut after `ms`, and made again."""
    facts = ErrorFacts(
        f"{inner.name} was cut off, and tried again", type=_NODE_TIMEOUT if inner.slot else "TimeoutError"
    )
    inner.watched.end(inner.key, facts, ms=ms)


def cuts(error: BaseException | ErrorFacts | None, inner: Seen) -> bool:
    """Whether `error` is the timeout that cut `inner`."""
    if inner.slot:
        return getattr(error, "node", None) == inner.name and type(error).__module__ == "langgraph.errors"
    return isinstance(error, TimeoutError)
