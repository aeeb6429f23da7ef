"""`python -m rsi.worker --idle S --parent PID [--keep DIR]`: the analysis worker's own process.

Reads requests from stdin, writes replies to what was stdout; prints go to stderr. Leaves when idle, when stdin ends,
and (on Linux at once, even in mid-request) when its parent dies. Nice, so that agents and the daemon go first.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from rsi import embed
from rsi.worker import wire
from rsi.worker.index import Index
from rsi.worker.learned import Comparer
from rsi.worker.likeness import Shelf, learn

#: Ten of nineteen: behind everything interactive, ahead of nothing.
NICENESS: Final = 10
_PR_SET_PDEATHSIG: Final = 1


class Analyst:
    """Answers requests; loads the model with the first one that embeds, and learns from prototypes once.

    Args:
        keep: a private folder in which what was learned waits for the next process.
    """

    def __init__(self, keep: Path | None = None) -> None:
        self._embedder: embed.Embedder | None = None
        self._known: Index | None = None
        self._keep = keep
        self._comparer: tuple[str, Comparer] | None = None

    def answer(self, request: wire.Request) -> wire.Reply:
        """The reply to one request."""
        if isinstance(request, wire.Embed):
            return wire.Vectors(self._model().name, [_pack(row) for row in self._encode(request.texts)])
        if isinstance(request, wire.Nearest):
            return self._nearest(request)
        if isinstance(request, wire.Resemble):
            return self._resemble(request)
        for key in request.ids:
            self._index().forget(key)
        return wire.Done()

    def _model(self) -> embed.Embedder:
        self._embedder = self._embedder or embed.load()
        return self._embedder

    def _index(self) -> Index:
        if self._known is None:
            self._known = Index(self._model().dim)
        return self._known

    def _encode(self, texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return self._model().encode(texts) if texts else np.zeros((0, self._model().dim), np.float32)

    def _nearest(self, request: wire.Nearest) -> wire.Placement:
        skipped = sum(not self._learn(known) for known in request.known)
        index = self._index()
        unseen = list({item.id: item for item in request.new if index.get(item.id) is None}.values())
        made = dict(zip((item.id for item in unseen), self._encode([item.text for item in unseen]), strict=True))
        placed = []
        for item in request.new:
            held = index.get(item.id)
            row = made[item.id] if held is None else held
            near = index.nearest(row, request.k, but=item.id)
            index.put(item.id, row)
            placed.append(wire.Placed(item.id, _pack(row), near))
        return wire.Placement(self._model().name, placed, skipped)

    def _resemble(self, request: wire.Resemble) -> wire.Resemblance:
        if self._comparer is None or self._comparer[0] != request.key:
            comparer = self._learned(request)
            if comparer is None:
                return wire.Resemblance([], learned=False)
            self._comparer = (request.key, comparer)
        return wire.Resemblance(self._comparer[1].like(request.texts))

    def _learned(self, request: wire.Resemble) -> Comparer | None:
        """From what was kept, else from the prototypes, else not at all."""
        shelf = Shelf(self._keep)
        if request.prototypes is None:
            return shelf.take(request.key)
        learned = learn(request.prototypes)
        shelf.put(request.key, learned)
        return Comparer(learned)

    def _learn(self, known: wire.Known) -> bool:
        if known.model != self._model().name or len(known.vector) != 4 * self._model().dim:
            return False
        self._index().put(known.id, np.frombuffer(known.vector, "<f4").astype(np.float32))
        return True


def _pack(row: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bytes:
    return row.astype("<f4").tobytes()


def _die_with(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent dies (prctl(2)); elsewhere the end of stdin has to do."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)  # it died before we could ask


def _serve(requests: BinaryIO, replies: BinaryIO, idle_s: float, keep: Path | None) -> None:
    analyst: Analyst | None = None
    while select.select([requests], [], [], idle_s)[0]:  # one request at a time: nothing waits in the buffer
        request = wire.read_request(requests)
        if request is None:
            return
        try:
            analyst = analyst or Analyst(keep)
            reply = analyst.answer(request)
        except Exception as error:  # noqa: BLE001 - the border of the process: told to the parent, which counts and logs it
            reply = wire.Trouble(f"{type(error).__name__}: {error}")
        wire.write(replies, reply)


def _stand_back() -> None:
    """Similarity is a luxury: it runs where nobody else wants the processor (Linux), or at least behind them.

    Not where somebody waits for it (`rsi up --once`): RSI_WORKER_AWAITED says so.
    """
    if os.environ.get("RSI_WORKER_AWAITED"):
        return
    os.nice(NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    """Serve until idle, the end of stdin, or the parent's death."""
    options = argparse.ArgumentParser(prog="python -m rsi.worker", description=__doc__)
    options.add_argument("--idle", type=float, required=True, help="seconds without a request after which it leaves")
    options.add_argument("--parent", type=int, required=True, help="pid of the process it belongs to")
    options.add_argument("--keep", type=Path, help="private folder in which what was learned is kept")
    given = options.parse_args()
    _die_with(given.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which then closes the pipe
    _stand_back()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        _serve(os.fdopen(0, "rb"), replies, given.idle, given.keep)


if __name__ == "__main__":
    main()
