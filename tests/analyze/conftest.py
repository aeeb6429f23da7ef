"""A world to analyse."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from analyze_world import World

from rsi import clock
from rsi.store import Store


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database to copy: migrating costs more than most of these tests."""
    path = tmp_path_factory.mktemp("blank") / "rsi.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def world(tmp_path: Path, blank: Path) -> Iterator[World]:
    shutil.copy(blank, tmp_path / "rsi.db")
    store = Store.open(f"sqlite:///{tmp_path / 'rsi.db'}")
    made = World(store)
    clock.install(made)
    try:
        yield made
    finally:
        clock.install(None)
        store.close()
