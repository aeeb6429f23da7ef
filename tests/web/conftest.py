"""A real uvicorn server on a free port, with the real pipeline and both doors behind it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette

from rsi import clock
from rsi.config import Config, Home
from rsi.daemon import load_intakes
from rsi.pipeline import Pipeline
from rsi.store import Store, rejects
from rsi.web.app import create_app


class Served:
    """A running daemon's HTTP, as far as a test needs it."""

    def __init__(self, home: Home, config: Config) -> None:
        home.prepare()
        self.home, self.config = home, config
        self.store = Store.open(home.store_url(config))
        self.pipeline = Pipeline(home, config, self.store)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.port: int = sock.getsockname()[1]
        self.app: Starlette = create_app(
            self.pipeline, config, home, intakes=load_intakes(home, config)[0], port=self.port, host="127.0.0.1"
        )
        settings = uvicorn.Config(
            self.app, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None,
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        self._server = uvicorn.Server(settings)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._server.serve(sockets=[sock]),), daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=20)
        while not self._server.started:
            assert self._thread.is_alive()
            clock.sleep(0.01)

    @property
    def boss(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.home.secret()}"}

    def rejects(self, limit: int = 10) -> list[rejects.Reject]:
        self.store.write(lambda _conn: None)  # whatever was handed to the writer before is there now
        with self.store.read() as conn:
            return rejects.tail(conn, limit)

    def stop(self) -> None:
        self.http.close()
        self._loop.call_soon_threadsafe(self.app.state.closing.set)
        self._server.should_exit = True
        self._thread.join()
        self._loop.close()
        self.pipeline.stop()
        self.store.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    with contextlib.ExitStack() as stack:

        def start(config: Config | None = None) -> Served:
            served = Served(Home(tmp_path / "home"), config or Config())
            stack.callback(served.stop)
            return served

        yield start


@pytest.fixture
def daemon(serve: Callable[..., Served]) -> Served:
    return serve()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests that leave it as it was."""
    served = Served(Home(tmp_path_factory.mktemp("shared")), Config())
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(served.stop)
        yield served
