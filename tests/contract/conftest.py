"""A home with a pipeline, asked over HTTP without a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loop_kit import HandClock, Loop, config, hand_clock

from rsi.web.app import create_app
from rsi_adapters.webhook import WebhookIntake

PORT = 7474


class Home(Loop):
    """A `Loop` that answers requests; `boss` is the header that privileged routes ask for."""

    @property
    def boss(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.home.secret()}"}

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        app = create_app(
            self.pipeline, self.config, self.home,
            intakes=[WebhookIntake(self.home.path, self.config)], port=PORT, host="127.0.0.1",
        )  # fmt: skip

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as client:
                return await client.request(method, path, **options)

        return asyncio.run(go())

    def get(self, path: str, **options: Any) -> Any:
        answer = self.ask("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, *outcomes: dict[str, Any]) -> httpx.Response:
        return self.ask("POST", "/v1/outcomes", json=outcomes[0] if len(outcomes) == 1 else list(outcomes))

    def rows(self, columns: str = "id, source, task, kind, status, backfill") -> list[tuple[Any, ...]]:
        with self.store.read() as conn:
            return [tuple(row) for row in conn.exec_driver_sql(f"SELECT {columns} FROM outcomes ORDER BY seq")]

    def stored(self, ident: str) -> Any:
        with self.store.read() as conn:
            found = self.store.outcomes_since(conn, 0, 10_000)
        return next(one.outcome for one in found if one.outcome.id == ident)


@pytest.fixture
def time() -> Iterator[HandClock]:
    with hand_clock() as made:
        yield made


@pytest.fixture
def make_home(tmp_path: Path, time: HandClock) -> Iterator[Callable[..., Home]]:
    """Homes with a configuration of their own: `make_home(fix={"auto": False})`."""
    with contextlib.ExitStack() as stack:

        def make(**sections: Any) -> Home:
            made = Home(tmp_path, conf=config(**sections))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home()
