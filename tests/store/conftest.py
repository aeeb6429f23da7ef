"""What the store's tests share: an open store, outcomes by the dozen, and a clock that stands where it is put."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from rsi import clock
from rsi.model import Outcome
from rsi.store import Store

NOW = 1_790_000_000.0


class StillClock:
    def __init__(self) -> None:
        self.at = NOW
        self.spent = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.spent

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.spent += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def still() -> Iterator[StillClock]:
    standing = StillClock()
    clock.install(standing)
    yield standing
    clock.install(None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".rsi" / "rsi.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    def make(n: int | str, **fields: Any) -> Outcome:
        known: dict[str, Any] = {"ts": NOW, "source": "agent", "task": "search", "kind": "task", "status": "ok"}
        return Outcome(id=str(n), **{**known, **fields})

    return make


def hold_writer(store: Store) -> tuple[threading.Event, list[Future[Any]]]:
    """Keep the writer busy, so that what is submitted next lands in one group; set the event to let go."""
    started, go = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        started.set()
        go.wait(10)

    future: Future[Any] = store.submit(wait)
    started.wait(10)
    return go, [future]
