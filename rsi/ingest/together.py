"""Small batches that come in the same turn of an event loop go to the store as one.

At thousands of requests a second the writer would otherwise wake for the first of them and commit it alone, while the
loop still reads the others, and both would fight for the interpreter all the time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from rsi.errors import RSIError, StoreError
from rsi.model import Outcome, Receipt, Rejected
from rsi.store import Store

#: Batches up to this many outcomes wait for others; larger ones are a group by themselves.
SMALL: Final = 32


@dataclass(slots=True, eq=False)
class Waiting:
    """One batch on its way into the store."""

    outcomes: list[Outcome]
    rejected: list[Rejected]
    arrived: float
    receipt: Future[Receipt] = field(default_factory=Future)


class Together:
    """Gathers batches per event loop. Safe to use from any thread.

    Args:
        store: where they go.
        stored: what makes the receipts, given batches and the flags of all of their outcomes; in the store's thread.
    """

    def __init__(self, store: Store, stored: Callable[[list[Waiting], list[bool]], list[Receipt]]) -> None:
        self._store = store
        self._stored = stored
        self._local = threading.local()

    def add(self, waiting: Waiting) -> Future[Receipt]:
        """The batch's receipt, once it is durable.

        Raises:
            StoreError: closed (outside of an event loop; inside of one, and for everything else, the future says so).
        """
        loop = _running_loop() if len(waiting.outcomes) <= SMALL else None
        if loop is None:
            return self._store.add_outcomes(
                waiting.outcomes, waiting.arrived, then=lambda flags: self._stored([waiting], flags)[0]
            )
        waiting.receipt.set_running_or_notify_cancel()  # who stops waiting does not stop the store
        gathered: list[Waiting] | None = getattr(self._local, "gathered", None)
        if gathered:
            gathered.append(waiting)
        else:
            self._local.gathered = [waiting]
            loop.call_soon(self._flush)
        return waiting.receipt

    def _flush(self) -> None:
        gathered, self._local.gathered = self._local.gathered, []
        self._hand_in(gathered)

    def _hand_in(self, group: list[Waiting]) -> None:
        outcomes = [outcome for waiting in group for outcome in waiting.outcomes]
        try:
            stored = self._store.add_outcomes(
                outcomes, group[-1].arrived, then=lambda flags: self._stored(group, flags)
            )
        except RSIError as error:
            self._fail(group, error)
        else:
            stored.add_done_callback(lambda done: self._tell(group, done))

    def _tell(self, group: list[Waiting], done: Future[list[Receipt]]) -> None:
        error = done.exception()
        if error is not None:
            self._fail(group, error)
            return
        for waiting, receipt in zip(group, done.result(), strict=True):
            waiting.receipt.set_result(receipt)

    def _fail(self, group: list[Waiting], error: BaseException) -> None:
        """Nothing was stored. Where it may be one batch's fault the others must not suffer: each goes by itself."""
        if len(group) > 1 and not isinstance(error, StoreError):
            for waiting in group:
                self._hand_in([waiting])
            return
        for waiting in group:
            waiting.receipt.set_exception(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
