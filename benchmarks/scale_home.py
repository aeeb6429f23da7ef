"""A temporary home with the real store, pipeline and worker, for `scale.py`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from scale_texts import Item
from sqlalchemy import text as sql

from rsi.config import Config, Home
from rsi.model import Batch
from rsi.pipeline import Pipeline
from rsi.store import Store
from rsi.worker import Placement, Resemblance, Worker

BATCH = 2_000
WAIT_S = 300.0

Partition = Mapping[str, int]


class Watched(Worker):
    """A worker that says what it is being asked, so that a kill can strike inside it."""

    asking = ""
    call = 0

    def nearest(self, *args: Any, **more: Any) -> Placement:
        with self._said("nearest"):
            return super().nearest(*args, **more)

    def resemble(self, *args: Any, **more: Any) -> Resemblance:
        with self._said("resemble"):
            return super().resemble(*args, **more)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        self.call, self.asking = self.call + 1, what
        try:
            yield
        finally:
            self.asking = ""


def worker(embedder: str) -> Watched:
    """Not put behind everybody else, as if somebody waited for it: `stand_back` does that."""
    return Watched(env={"RSI_EMBEDDER": embedder, "RSI_WORKER_AWAITED": "1"})


class Place:
    """One temporary home with its loop. The worker outlives it, so that many homes pay for one start."""

    def __init__(self, folder: Path, worker: Watched) -> None:
        home, config = Home(folder), Config()
        home.prepare()
        self.worker = worker
        self.store = Store.open(home.store_url(config))
        self.pipeline = Pipeline(home, config, self.store, self.worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.stop()
        with self.store.read() as conn:
            self.worker.forget([str(row.id) for row in conn.execute(sql("SELECT id FROM fingerprints"))])
        self.store.close()

    def send(self, items: Iterable[Item]) -> None:
        """Store them, in batches; returns once all are durable."""
        waiting: list[Item] = []
        for item in items:
            waiting.append(item)
            if len(waiting) == BATCH:
                self._submit(waiting)
                waiting = []
        if waiting:
            self._submit(waiting)

    def _submit(self, items: list[Item]) -> None:
        receipt = self.pipeline.submit(Batch(door="benchmark", items=items)).result()
        if receipt.rejected:
            raise RuntimeError(f"rejected: {receipt.rejected[:3]}")

    def cycle(self, *, wait_for_worker: bool = False) -> None:
        """As the loop's own thread does it: issues that move together are looked for beside it, once a minute."""
        self.pipeline._cycle(rest=True, wait_for_worker=wait_for_worker)

    def settle(self) -> None:
        """One cycle over all that is new, with the worker's answers."""
        self.cycle(wait_for_worker=True)
        if trouble := self.pipeline.status()["troubles"]:
            raise RuntimeError(f"the loop has troubles: {trouble}")

    def one(self, query: str, **values: object) -> Any:
        """The first row of a query."""
        with self.store.read() as conn:
            return conn.execute(sql(query), values).first()

    def waiting(self) -> int:
        """Templates without a vector, and failed outcomes without a template."""
        return int(
            self.one(
                "SELECT (SELECT count(*) FROM fingerprints WHERE model IS NULL)"
                " + (SELECT count(*) FROM outcomes WHERE fingerprint IS NULL AND status = 'failed')"
            )[0]
        )

    def partition(self) -> dict[str, int]:
        """Outcome id → issue number."""
        query = "SELECT o.id, f.cluster FROM outcomes o JOIN fingerprints f ON f.id = o.fingerprint"
        with self.store.read() as conn:
            return {row.id: row.cluster for row in conn.execute(sql(query))}


def until(done: Callable[[], bool], what: str, every_s: float = 0.02) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {WAIT_S:.0f} s")
        time.sleep(every_s)


def memory(pid: int) -> dict[str, float]:
    """Resident now and at most, MB (proc(5)); empty where there is no /proc."""
    if not sys.platform.startswith("linux"):
        return {}
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[key].split()[0]) / 1024 for name, key in (("rss_mb", "VmRSS"), ("peak_mb", "VmHWM"))}


def unlike(one: Partition, other: Partition) -> int:
    """Pairs that are together in one partition only (the Mirkin distance, halved)."""

    def pairs(sizes: Iterable[int]) -> int:
        return sum(n * (n - 1) // 2 for n in sizes)

    both = pairs(Counter((one[key], other[key]) for key in one).values())
    return pairs(Counter(one.values()).values()) + pairs(Counter(other.values()).values()) - 2 * both
