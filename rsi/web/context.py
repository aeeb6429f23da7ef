"""What every route may use: the pipeline, the store behind it, the home and who listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from rsi.config import Config, Home
from rsi.pipeline import Pipeline
from rsi.store import Store
from rsi.web.live import Live
from rsi.web.remembered import Remembered
from rsi.web.table import Entry


@dataclass(frozen=True, slots=True)
class Context:
    """Made once per application."""

    pipeline: Pipeline
    store: Store
    config: Config
    home: Home
    live: Live
    status: Callable[[], Mapping[str, Any]]
    entries: tuple[Entry, ...]
    counts: Counter[str] = field(default_factory=Counter)
    health: Remembered = field(default_factory=Remembered)

    def web(self) -> dict[str, int]:
        """How this layer is, for the status."""
        return {"errors": self.counts["500"], **self.live.counts}


def context_of(request: Request) -> Context:
    """The application's."""
    found: Context = request.app.state.context
    return found
