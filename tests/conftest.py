"""Shared by all tests: the agent-side client is off under pytest unless a test asks for it."""

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes says more of the machine than of the code
settings.register_profile("rsi", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rsi")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: the other worker does the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_with_frameworks.py")
