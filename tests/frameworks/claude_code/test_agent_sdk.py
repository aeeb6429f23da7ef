"""The real Agent SDK with our hooks in its options: it starts the client that it bundles."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Daemon, wait_for
from scripted_api import API, bash, scripted, tool

import rsi.client
from rsi.client import Client
from rsi_adapters import claude_code

sdk = pytest.importorskip("claude_agent_sdk", reason="needs the Agent SDK: pip install claude-agent-sdk")

SOURCE = "claude-code:agent"  # the folder that the tests run in


class Told:
    """A client of ours, its daemon, and one query."""

    def __init__(self, client: Client, daemon: Daemon, home: Path) -> None:
        self.client, self.daemon, self.home = client, daemon, home

    def policy(self, *lessons: Any) -> None:
        self.daemon.set_policy(SOURCE, 1, scopes=[{"source": "*", "task": "*", "lessons": list(lessons), "origin": {}}])
        self.client.want(SOURCE, "session", {"lessons"})
        wait_for(lambda: self.client.policies.current(SOURCE), "the policy is there")

    def ask(self, api: API, hooks: dict[str, list[Any]] | None = None, **more: Any) -> list[str]:
        env = {
            "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "sk-ant-fake", "CLAUDE_CONFIG_DIR": str(self.home / ".claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        }  # fmt: skip
        options = sdk.ClaudeAgentOptions(
            cwd=str(self.home), allowed_tools=["Bash", "Read", "Write"], setting_sources=[], env=env,
            hooks=claude_code.hooks(hooks), **more,
        )  # fmt: skip

        async def run() -> list[str]:
            stream = claude_code.watch(sdk.query(prompt="do the thing", options=options))
            return [type(message).__name__ async for message in stream]

        return asyncio.run(run())

    def brief(self) -> list[tuple[str, str, str]]:
        assert self.client.flush(10)
        return sorted((item["kind"], item["task"], item["status"]) for post in self.daemon.posts for item in post)


@pytest.fixture
def told(daemon: Daemon) -> Any:
    client = rsi.client.configure(url=daemon.url, enabled=True)
    yield Told(client, daemon, Path(os.environ["HOME"]))
    rsi.client.configure(enabled=False)


def test_failed_tools_and_the_result_are_reported_and_lessons_given(told: Told) -> None:
    """PostToolUseFailure with its lesson; ResultMessage with tokens and cost."""
    told.policy("LESSON-FOR-ALL", {"text": "LESSON-FOR-BASH", "tool": "Bash"})
    with scripted(bash("echo boom >&2; exit 3"), "done") as api:
        assert "ResultMessage" in told.ask(api)
    assert ["LESSON-FOR-ALL" in json.dumps(body) for body in api.bodies] == [True, True]
    assert ["LESSON-FOR-BASH" in json.dumps(body) for body in api.bodies] == [False, True]
    assert told.brief() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    session = next(item for item in told.daemon.items(kind="task"))
    assert (session["source"], session["tokens_out"]) == (SOURCE, 40)
    assert session["cost_usd"] >= 0


@pytest.mark.parametrize("status", [429, 500, 529])
def test_an_api_error_is_one_failed_session(told: Told, status: int) -> None:
    """`subtype` says success even then: `is_error` decides."""
    with scripted(status) as api, contextlib.suppress(Exception):  # some SDKs raise behind the result
        told.ask(api)
    assert told.brief() == [("task", "session", "failed")]


def test_red_tests_wait_for_an_edit(told: Told) -> None:
    """Red, then an edit: the loop of somebody at work."""
    with scripted(
        bash("python3 -m unittest nothing_here"), tool("Write", file_path=f"{told.home}/a.py", content="1\n"), "done"
    ) as api:
        told.ask(api)
    assert told.brief() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    failed = next(item for item in told.daemon.items(kind="tool"))
    assert "is normal for unittest" in json.dumps(failed["error"])


def test_the_hosts_own_hooks_stay(told: Told) -> None:
    """Ours stand behind them, and what they raise is theirs."""
    seen: list[str] = []

    async def mine(payload: Any, _tool: Any, _context: Any) -> dict[str, Any]:
        seen.append(payload["hook_event_name"])
        return {}

    with scripted(bash("exit 3"), "done") as api:
        told.ask(api, {"PostToolUseFailure": [sdk.HookMatcher(hooks=[mine])]})
    assert seen == ["PostToolUseFailure"]
    assert told.brief() == [("task", "session", "ok"), ("tool", "Bash", "failed")]


def test_a_daemon_that_is_away_does_not_stop_the_agent(told: Told) -> None:
    """The hooks queue, and nothing more."""
    told.daemon.mode = "hang"
    with scripted(bash("exit 3"), "done") as api:
        assert "ResultMessage" in told.ask(api)


def test_switched_off_there_are_no_hooks() -> None:
    """RSI_DISABLE, or under pytest without being asked."""
    rsi.client.configure(enabled=False)
    assert claude_code.hooks({"Stop": []}) == {"Stop": []}


def test_rsi_auto_hooks_the_sdk_once_and_takes_it_back(told: Told) -> None:
    """Every query of the process, also one that has our hooks already; and afterwards none."""
    plain = sdk.query
    import rsi.auto

    assert rsi.auto.install()["claude-code"].startswith("hooked")
    try:
        with scripted(bash("exit 3"), "done") as api:
            told.ask(api)
        assert told.brief() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    finally:
        rsi.auto.uninstall()
    assert sdk.query is plain


def test_a_conversation_of_several_turns_is_one_session_in_parts(told: Told) -> None:
    """ClaudeSDKClient under rsi.auto: a result per turn."""
    import rsi.auto

    rsi.auto.install()

    async def run(api: API) -> None:
        env = {
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-fake",
            "CLAUDE_CONFIG_DIR": str(told.home / ".claude"),
        }
        async with sdk.ClaudeSDKClient(
            sdk.ClaudeAgentOptions(cwd=str(told.home), setting_sources=[], env=env)
        ) as client:
            for words in ("one", "two"):
                await client.query(words)
                async for _ in client.receive_response():
                    pass

    try:
        with scripted("pong") as api:
            asyncio.run(run(api))
    finally:
        rsi.auto.uninstall()
    assert told.client.flush(10)
    first, second = sorted(told.daemon.items(kind="task"), key=lambda item: len(item["id"]))
    assert (first["status"], second["id"]) == ("ok", f"{first['id']}:2")
