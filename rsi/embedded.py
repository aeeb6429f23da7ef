"""`RSILoop`: the whole loop inside somebody's process, with no daemon.

It owns its home like a daemon does: one at a time. Nothing runs in the background unless `start()` is called.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Self

from rsi import clock
from rsi.analyze import health as health_model
from rsi.config import Config, Home, find_home, load
from rsi.errors import InvalidInputError
from rsi.model import Batch, Fix, Health, Issue, Policy, Receipt
from rsi.pipeline import CycleReport, Pipeline
from rsi.policy import mask_config
from rsi.store import Store, fixes, issues
from rsi.store.lock import HomeLock
from rsi.worker import Worker


class RSILoop:
    """Observe, analyze, fix and verify in this process.

    Args:
        home: the project's folder (default: as `rsi` finds it).
        config: instead of the home's `rsi.yaml`.
        worker: start the analysis child process for similarity (it loads the embedding model).

    Raises:
        HomeLockedError: a daemon or another loop owns this home.
        ConfigError: `rsi.yaml` is wrong.
    """

    def __init__(
        self, home: str | os.PathLike[str] | None = None, *, config: Config | None = None, worker: bool = False
    ) -> None:
        self.home = Home(find_home(home))
        self.config = mask_config(config if config is not None else load(self.home.path))
        self.home.prepare()
        with contextlib.ExitStack() as stack:
            stack.enter_context(HomeLock(self.home.lock))
            self._store = Store.open(self.home.store_url(self.config))
            stack.callback(self._store.close)
            child = Worker(idle_s=self.config.worker.idle_s, keep=self.home.state) if worker else None
            if child is not None:
                stack.callback(child.close)
            self.pipeline = Pipeline(self.home, self.config, self._store, worker=child)
            stack.callback(self.pipeline.stop)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit, stop, and give the home back. Safe to call twice."""
        self._stack.close()

    def start(self) -> None:
        """Run cycles in a background thread whenever something is new."""
        self.pipeline.start()

    def record(
        self, task: str, success: bool, *, error: object = None, source: str | None = None, **fields: Any
    ) -> str:
        """Take one outcome (fields as in contract §2) and return its id once it is durable.

        Raises:
            InvalidInputError: names the field.
        """
        item = {"task": task, "success": success, "source": source or self._source(), **fields}
        if error is not None:
            item["error"] = error if isinstance(error, str | dict) else _describe(error)
        receipt = self.ingest(Batch(door="embedded", items=[item]))
        if receipt.rejected:
            raise InvalidInputError(receipt.rejected[0].error)
        return receipt.ids[0]

    def ingest(self, batch: Batch) -> Receipt:
        """Take a batch and return once it is durable."""
        return self.pipeline.submit(batch).result()

    def run_cycle(self) -> CycleReport:
        """Observe → analyze → fix → verify, once, over everything new."""
        return self.pipeline.cycle()

    def health(self, source: str | None = None) -> Health:
        """Posterior of the success rate, with its interval."""
        with self._store.read() as conn:
            return health_model.read(conn, self.config, clock.now(), source=source)

    def issues(self, **filters: Any) -> list[Issue]:
        """What keeps failing; filters as in `GET /v1/issues`."""
        with self._store.read() as conn:
            return issues.list_issues(conn, **filters)[0]

    def fixes(self, **filters: Any) -> list[Fix]:
        """What was or could be done about it."""
        with self._store.read() as conn:
            return fixes.list_fixes(conn, **filters)

    def policy(self) -> Policy:
        """What agents should do now."""
        return self.pipeline.policy()

    def _source(self) -> str:
        return os.environ.get("RSI_SOURCE") or self.home.path.name or "agent"


def _describe(error: object) -> dict[str, Any] | str:
    if isinstance(error, BaseException):
        return {"type": f"{type(error).__module__}.{type(error).__qualname__}", "message": str(error)}
    return str(error)
