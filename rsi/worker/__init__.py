"""The analysis worker: a child process that holds numpy, scikit-learn and the model, so that the daemon need not.

It starts with the first request, leaves when idle, is started again when it dies, and dies with its parent.
Vectors stay bytes on this side. All of its failures are `WorkerError`, and `status()` shows them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from rsi import clock
from rsi.analyze.prototype import Likeness, subject
from rsi.analyze.template import fingerprint
from rsi.errors import WorkerError
from rsi.rules import PrototypeSet
from rsi.worker import wire
from rsi.worker.child import Child
from rsi.worker.wire import Known, Near, Placed, Placement, Resemblance, Text, Vectors

__all__ = ["Known", "Near", "Placed", "Placement", "Resemblance", "Text", "Vectors", "Worker", "WorkerStatus"]

#: Texts in one request: some 3 s of MiniLM on one core, so that nobody waits long for the pipe.
CHUNK: Final = 256
#: Importing torch and loading the model takes 5-6 s on a quiet core; ten times that on a bad day, and a chunk.
TIMEOUT_S: Final = 120.0
#: One more try after a death: the request may have been innocent. Then it is the request.
_TRIES: Final = 2
#: After a call that failed, the next may start a worker only this many seconds later, doubling up to the second figure.
_REST_S: Final = (1.0, 60.0)


_Answer = TypeVar("_Answer", Vectors, Placement, Resemblance, wire.Done)


class WorkerStatus(msgspec.Struct, frozen=True):
    """How it is. `restarts` counts starts after a death, not after idling; `model` is known after the first answer."""

    alive: bool
    pid: int | None
    starts: int
    restarts: int
    last_error: str | None
    model: str | None


class Worker:
    """The daemon's handle; thread-safe, one request at a time.

    Args:
        idle_s: seconds without a request after which the process leaves.
        seed: the vectors stored so far; asked once per process, before its first `nearest`.
        timeout_s: seconds that one request of at most `CHUNK` texts may take before the process is killed.
        env: more environment for the process (`RSI_EMBEDDER=ngram`).
        keep: a private folder in which what is learned from prototypes waits for the next process.
    """

    def __init__(
        self,
        *,
        idle_s: float = 300.0,
        seed: Callable[[], Iterable[Known]] = tuple,
        timeout_s: float = TIMEOUT_S,
        env: Mapping[str, str] | None = None,
        keep: Path | None = None,
    ) -> None:
        self._keep = keep
        self._idle_s, self._seed, self._timeout_s, self._env = idle_s, seed, timeout_s, dict(env or {})
        self._lock = threading.RLock()
        self._child: Child | None = None
        self._closed = False
        self._starts = self._restarts = self._failures = 0
        self._rest_until = float("-inf")
        self._last_error: str | None = None
        self._model: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seeded_by(self, seed: Callable[[], Iterable[Known]]) -> None:
        """Where a process gets the vectors stored so far, instead of `seed`."""
        self._seed = seed

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text (float32, little endian, as bytes), in order.

        Raises:
            WorkerError: no answer; the daemon goes on without similarity.
        """
        vectors: list[bytes] = []
        model = self._model or ""
        for start in range(0, len(texts), CHUNK):
            reply = self._ask(partial(_same, wire.Embed(list(texts[start : start + CHUNK]))), Vectors)
            vectors += reply.vectors
            model = reply.model
        return Vectors(model, vectors)

    def nearest(self, new: Sequence[Text], known: Iterable[Known] = (), *, k: int = 8) -> Placement:
        """Each new template's vector and its `k` nearest among `seed`, `known` and the new ones before it.

        Every known vector crosses the pipe once per process; new ones are remembered there under their id. What is
        known there by its id already is not embedded again.

        Raises:
            WorkerError: no answer; the same call may be repeated later.
        """
        given = list(known)
        placed: list[Placed] = []
        model, skipped = self._model or "", 0
        for start in range(0, max(len(new), 1), CHUNK):
            part = list(new[start : start + CHUNK])
            reply = self._ask(partial(self._nearest, part, given, k), Placement)
            placed += reply.placed
            model, skipped = reply.model, skipped + reply.skipped
        return Placement(model, placed, skipped)

    def resemble(self, texts: Sequence[str], prototypes: PrototypeSet) -> Resemblance:
        """For each text, in order, the categories whose prototypes it is most like (`rsi.analyze.prototype` decides).

        The prototypes cross the pipe, and are learned from, where nobody has done so before (`keep`).

        Raises:
            WorkerError: no answer; the same call may be repeated later.
        """
        found: list[tuple[Likeness, ...]] = []
        for start in range(0, len(texts), CHUNK):
            part, key = list(texts[start : start + CHUNK]), prototypes.key
            reply = self._ask(partial(_same, wire.Resemble(part, key, None)), Resemblance)
            if not reply.learned:
                given = [wire.Prototyped(one.category, _as_seen(one.text)) for one in prototypes.prototypes]
                reply = self._ask(partial(_same, wire.Resemble(part, key, given)), Resemblance)
            found += reply.found
        return Resemblance(found)

    def forget(self, ids: Sequence[str]) -> None:
        """These templates are gone; nothing to do if no process runs.

        Raises:
            WorkerError: no answer.
        """
        with self._lock:
            if self._child and self._child.alive and ids:
                self._child.known.difference_update(ids)
                self._ask(partial(_same, wire.Forget(list(ids))), wire.Done)

    def status(self) -> WorkerStatus:
        """Never waits for a request under way."""
        child = self._child
        alive = child is not None and child.alive
        error = (child.obituary if child and not alive else "") or self._last_error
        return WorkerStatus(
            alive, child.pid if child and alive else None, self._starts, self._restarts, error or None, self._model
        )

    def close(self) -> None:
        """End the process; a request under way fails, later ones are refused."""
        self._closed = True
        if self._child:
            self._child.kill()
        with self._lock:  # a request that was just starting another has seen `_closed` by now, or is waiting for it
            if self._child:
                self._child.kill()

    def _nearest(self, new: list[Text], given: list[Known], k: int, child: Child) -> wire.Request:
        seeds = [] if child.seeded else list(self._seed())
        fresh = [item for item in (*seeds, *given) if item.id not in child.known]
        child.seeded = True
        child.known.update(item.id for item in fresh)
        child.known.update(item.id for item in new)
        return wire.Nearest(new, fresh, k)

    def _ask(self, make: Callable[[Child], wire.Request], answer: type[_Answer]) -> _Answer:
        with self._lock:
            self._may_start()
            for _ in range(_TRIES):
                child = self._running()
                reply = child.ask(make(child), self._timeout_s)
                if isinstance(reply, answer):
                    self._failures = 0
                    self._model = getattr(reply, "model", self._model)
                    return reply
                if isinstance(reply, wire.Trouble):
                    child.seeded = False  # who knows how far it came: what it should know is sent again
                    child.known.clear()
                    raise self._failed(f"the analysis worker refused: {reply.error}")
                if child.timed_out:
                    break
            raise self._failed(child.obituary or f"the analysis worker (pid {child.pid}) left without an answer")

    def _may_start(self) -> None:
        if clock.monotonic() < self._rest_until:
            raise WorkerError(f"the analysis worker rests after {self._failures} failures; last: {self._last_error}")

    def _running(self) -> Child:
        if self._closed:
            raise WorkerError("the analysis worker is closed")
        if self._child and self._child.alive:
            return self._child
        if self._child and self._child.obituary:
            self._last_error = self._child.obituary
            self._restarts += 1
        try:
            self._child = Child(idle_s=self._idle_s, env=self._env, keep=self._keep)
        except WorkerError as error:
            raise self._failed(str(error)) from error
        self._starts += 1
        return self._child

    def _failed(self, why: str) -> WorkerError:
        least, most = _REST_S
        self._failures += 1
        self._rest_until = clock.monotonic() + min(most, least * 2 ** (self._failures - 1))
        self._last_error = why
        return WorkerError(why)


def _same(request: wire.Request, _child: Child) -> wire.Request:
    """A request that is the same for every process."""
    return request


def _as_seen(text: str) -> str:
    """A prototype as a text that was seen is compared."""
    mark = fingerprint(text)
    return subject(mark.template, mark.error_type)
