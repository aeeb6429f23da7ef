"""A node of a graph where rsi decides about tries: `apply_to_graph` makes it, LangGraph's own retry loop asks it."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from rsi.client import Run, process
from rsi.enforce.call import Call
from rsi.enforce.layer import Layer
from rsi.enforce.naming import ended_without_failing

if TYPE_CHECKING:
    from rsi_adapters.langgraph.seen import Seen

#: The key in a node's metadata by which its runs are recognised.
MARK: Final = "rsi"
#: Failures that LangGraph never asked about; more than are open at once means that it asks nobody.
MAX_ASKED: Final = 1_000


class Place:
    """One node.

    LangGraph tells a retry policy the error and nothing else. The observer has seen the same error end a run of this
    node just before, and remembers whose it was.

    Args:
        node: its name.
        source: which agent; default the client's.
        inner_retries: tries that the layer below makes of one call, as in `rsi.guard`.
        asks_again: LangGraph asks a person again when a node is tried again after the answer. Then a run that was
            resumed gets no tries from us.
    """

    def __init__(self, node: str, *, source: str | None, inner_retries: int | None, asks_again: bool) -> None:
        self.node = node
        self.mark = f"{node}#{next(_numbers)}"
        self._layer = Layer(node, knobs=("retry",), kind="step", source=source, inner_retries=inner_retries)
        self._asks_again = asks_again
        self._lock = threading.Lock()
        self._open: dict[Any, Seen] = {}
        self._failed: dict[int, tuple[BaseException, Seen]] = {}
        process.renew_locks(self)

    def renew_lock(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()

    def began(self, seen: Seen, run: Run, known: dict[str, Call | None]) -> None:
        """A try of this node began in `run`; `known` are the calls of its graph's tasks, to be added to."""
        if seen.slot not in known:
            known[seen.slot] = self._layer.begin(run)
        call = known[seen.slot]
        run.owned = run.owned or (call is not None and call.owns)
        with self._lock:
            self._open[seen.key] = seen

    def ended(self, seen: Seen, error: BaseException | None) -> None:
        """A try ended."""
        with self._lock:
            self._open.pop(seen.key, None)
            if error is not None and ended_without_failing(error) is None:
                self._failed[id(error)] = (error, seen)  # the reference keeps the id from being given away
                if len(self._failed) > MAX_ASKED:
                    del self._failed[next(iter(self._failed))]

    def wait_after(self, error: BaseException) -> float | None:
        """Seconds until the next try after `error`, or `None`: this unit gets none from us."""
        seen = self._whose(error)
        if seen is None or seen.up is None or (seen.resumed and self._asks_again):
            return None
        call = seen.up.calls.get(seen.slot)
        wait = call.failed(error) if call is not None else None
        if wait is None:
            seen.up.calls[seen.slot] = None  # what a policy of the host's tries again is not ours to try again
        return wait

    def _whose(self, error: BaseException) -> Seen | None:
        with self._lock:
            found = self._failed.pop(id(error), None)
            if found is not None:
                return found[1]
            if getattr(error, "node", None) != self.node:
                return None
            # LangGraph cut the node itself and asks before the cut has reached it. Of several, we cannot tell which.
            return next(iter(self._open.values())) if len(self._open) == 1 else None


_numbers: Final = count(1)
#: By mark.
PLACES: Final[dict[str, Place]] = {}
