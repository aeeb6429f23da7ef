"""Every test observes everything, with an empty table at its end."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from rsi_adapters.langgraph import install, uninstall
from rsi_adapters.langgraph.table import TABLE

NEW = importlib.metadata.version("langgraph") >= "1.2"


@pytest.fixture(autouse=True)
def _observed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing stays open, whatever a test did."""
    if "world" in request.fixturenames:
        request.getfixturevalue("world")
        install()
    yield
    uninstall()
    left = [seen.name for seen in TABLE._open.values()]
    TABLE._open.clear()
    assert left == []
