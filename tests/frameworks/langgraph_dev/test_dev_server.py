"""The real `langgraph dev`: one line in the graph's module, and the server's runs are seen and follow the policy.

The server watches its event loop for blocking calls and lets a run fail that makes one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_kit import wait_for

import rsi

MODULE = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
from rsi_adapters.langgraph import apply_to_graph

class State(TypedDict):
    x: int

class Busy(Exception):
    status_code = 503

tries = []

async def work(state):
    tries.append(1)
    if len(tries) % 2:
        raise Busy("The engine is currently overloaded")
    return {"x": state["x"] + 1}

def plain(state):
    return {"x": state["x"] + 1}

builder = StateGraph(State).add_node("work", work).add_node("plain", plain)
graph = builder.add_edge(START, "work").add_edge("work", "plain").compile()
apply_to_graph(graph)
"""


class Server:
    """`langgraph dev` in a folder of its own."""

    def __init__(self, folder: Path, daemon: str) -> None:
        self._log = folder / "server.log"
        (folder / "agent.py").write_text(textwrap.dedent(MODULE))
        (folder / "langgraph.json").write_text('{"dependencies": ["."], "graphs": {"helper": "./agent.py:graph"}}')
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        env = {**os.environ, "RSI_URL": daemon, "RSI_SOURCE": "served", "LANGSMITH_TRACING": "false", "RSI_ENABLE": "1"}
        command = [
            str(Path(sys.executable).parent / "langgraph"),
            "dev",
            "--no-browser",
            "--no-reload",
            "--port",
            str(port),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    def wait(self) -> None:
        def up() -> bool:
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{self.url}/ok", timeout=2):
                    return True
            except OSError:
                return False

        for _ in range(10):  # a cold start takes its time
            try:
                wait_for(up, "the server")
            except AssertionError:
                continue
            return
        raise AssertionError(self._log.read_text()[-3000:])

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def server(tmp_path: Path, daemon: Any) -> Iterator[Server]:
    daemon.set_policy(
        "served",
        1,
        scopes=[{"source": "*", "task": "*", "origin": {}, "retry": {"max_attempts": 3, "initial_s": 0.01}}],
    )
    (tmp_path / "project").mkdir()
    server = Server(tmp_path / "project", daemon.url)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_a_graph_of_the_server_is_seen_and_follows_the_policy(server: Server, daemon: Any) -> None:
    assert not rsi.status()["enabled"]
    thread = server.post("/threads", {})["thread_id"]

    def ask() -> dict[str, Any]:
        return dict(server.post(f"/threads/{thread}/runs/wait", {"assistant_id": "helper", "input": {"x": 1}}))

    def held() -> bool:
        """The first run may come before the policy; from the second on each needs two tries."""
        return ask() == {"x": 3} and bool(daemon.items(kind="step", task="work", attempt=2))

    wait_for(held, "a node that was tried again")
    tasks = daemon.items(kind="task", source="served")
    assert {(item["task"], item["session"]) for item in tasks} == {("helper", thread)}
    again = daemon.items(kind="task", attempt=2)[-1]
    assert (again["status"], again["policy_version"]) == ("ok", 1)
