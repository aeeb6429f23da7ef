"""A world per test; everything is skipped, with the reason, where the real client is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from claude_kit import World, find_client, missing


@pytest.fixture(scope="session")
def client() -> Path:
    reason = missing()
    if reason:
        pytest.skip(reason)
    found = find_client()
    assert found is not None
    return found


@pytest.fixture
def world(client: Path, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.down()
