"""What a program logs as an error becomes a failed step, inside the run that was open or outside any task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_kit import World, running

from rsi.client import Client
from rsi.enforce import step
from rsi_adapters.logs import RSILogHandler


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home") as daemon:
        client = Client(enabled=True, source="app", url=daemon.url)
        yield World(client, daemon)
        client.close(1.0)


@pytest.fixture
def logger(world: World) -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.agent")
    logger.propagate = False
    handler = RSILogHandler(client=world.client)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True


def test_an_error_is_a_failed_step_with_its_exception_and_a_warning_is_nothing(world, logger):
    logger.warning("slow")
    raised = TimeoutError("no answer in 30 s")
    logger.error("order %s", "A-17", exc_info=raised)
    item = world.one()
    assert (item["kind"], item["task"], item["success"], item["source"]) == ("step", "shop.agent", False, "app")
    assert item["error"]["type"] == "TimeoutError"
    assert item["error"]["message"] == "order A-17: no answer in 30 s"
    assert item["metadata"]["level"] == "ERROR"


def test_inside_a_run_it_is_a_step_of_it(world, logger):
    with step("plan", client=world.client):
        logger.error("no stock")
    inside, outer = world.reported()
    assert (inside["parent"], inside["error"]["message"]) == (outer["id"], "no stock")


def test_our_own_log_is_not_reported(world):
    handler = RSILogHandler(client=world.client)
    handler.handle(logging.LogRecord("rsi", logging.ERROR, __file__, 1, "about ourselves", None, None))
    assert world.reported() == []


def test_a_record_that_cannot_be_formatted_is_loggings_own_trouble(world, capsys):
    handler = RSILogHandler(client=world.client)
    handler.handle(logging.LogRecord("shop", logging.ERROR, __file__, 1, "%d", ("no number",), None))
    assert "--- Logging error ---" in capsys.readouterr().err
    assert world.reported() == []
