"""What every route may use: the pipeline, the store behind it, the home and who listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rsi.config import Config, Home
from rsi.pipeline import Pipeline
from rsi.store import Store
from rsi.web.answer import Answer
from rsi.web.live import Live


@dataclass(frozen=True, slots=True)
class Context:
    """Made once per application."""

    pipeline: Pipeline
    store: Store
    config: Config
    home: Home
    live: Live
    status: Callable[[], Mapping[str, Any]]
    remembered: dict[str, tuple[int, float, Answer]] = field(default_factory=dict)  # answers that many ask for
