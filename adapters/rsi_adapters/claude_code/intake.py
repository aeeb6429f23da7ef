"""`ClaudeCodeIntake`: the daemon's door for Claude Code's HTTP hooks, `POST /v1/hooks/claude-code`.

It answers at once, before anything is durable: the session waits for a hook, and what gets lost here is told again by
the transcript when the session ends. So it never answers with an error that would be worth reading.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, quote

import msgspec

from rsi import clock
from rsi.classify import Classifier, for_home
from rsi.client import Item
from rsi.config import Config
from rsi.errors import RSIError
from rsi.model import Batch, Policy, Receipt, Submit
from rsi.policy import decay
from rsi.policy import read as read_policy
from rsi_adapters.claude_code import lessons, naming
from rsi_adapters.claude_code.door import PATH, context, home_mark
from rsi_adapters.claude_code.lessons import Failure, Known
from rsi_adapters.claude_code.normal import judge
from rsi_adapters.claude_code.reports import failed_tool, started, text_of

log: Final = logging.getLogger("rsi.claude_code")

#: The client under whose name the policy is asked for: what it can enforce is the same in every session.
CLIENT: Final = "claude-code-hooks"
#: Sessions that are remembered; beyond it the least recently seen is a stranger again, and in no experiment.
SESSIONS: Final = 2_000
_JSON: Final = [(b"content-type", b"application/json")]

_Scope: TypeAlias = Any
_Receive: TypeAlias = Any
_Send: TypeAlias = Any


class Answer(msgspec.Struct, frozen=True):
    """A status and a body that is written as JSON."""

    status: int
    body: Any


class ClaudeCodeIntake:
    """The door (model.Intake). Authentication is the server's middleware around it."""

    name = "claude-code"

    def __init__(self, home: Path, config: Config) -> None:
        self._home = home_mark(home)
        self._classifier = lru_cache(1)(lambda: for_home(home))
        self._limit = config.limits.request_bytes
        self._counts: Counter[str] = Counter()

    def start(self, submit: Submit) -> None:  # noqa: ARG002 - the protocol's
        """Nothing but the rules, read before a session waits for them: the server calls."""
        threading.Thread(target=self._classifier, name="rsi-claude-code-rules", daemon=True).start()

    def routes(self, submit: Submit) -> Sequence[Any]:
        """`/v1/hooks/claude-code`."""
        from starlette.routing import Route  # noqa: PLC0415 - the server has it, an agent's process need not

        return (Route(PATH, _Hooks(submit, self._home, self._classifier, self._limit, self._counts), methods=["POST"]),)

    def sweep(self, submit: Submit | None = None) -> int:  # noqa: ARG002 - the protocol's
        """Nothing waits at this door."""
        return 0

    def stop(self) -> None:
        """Nothing: the server ends its requests."""

    def status(self) -> Mapping[str, Any]:
        """Events by name, and what went wrong."""
        return {"events": dict(self._counts)}


class _Hooks:
    """A Claude Code hook's event; answers what the hook would print."""

    def __init__(
        self, submit: Submit, home: str, classifier: Callable[[], Classifier], limit: int, counts: Counter[str]
    ) -> None:
        self._submit = submit
        self._home = home
        self._classifier = classifier
        self._limit = limit
        self._counts = counts
        self._sessions: OrderedDict[str, Known] = OrderedDict()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        answer = await self._answer(scope, receive)
        body = msgspec.json.encode(answer.body)
        headers = [*_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: _Scope, receive: _Receive) -> Answer:
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        if query.get("home", self._home) != self._home:
            self._counts["of another home"] += 1
            return Answer(409, {"error": "this daemon serves another home: run `rsi connect claude-code` there"})
        body = await _body(receive, self._limit)
        if body is None:
            return Answer(413, {"error": f"over the limit of {self._limit} bytes (setting limits.request_bytes)"})
        try:
            payload = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Answer(400, {"error": f"not JSON: {error}"})
        if not isinstance(payload, dict) or not text_of(payload, "session_id"):
            return Answer(422, {"error": "expected a hook's object with a session_id", "field": "session_id"})
        event = text_of(payload, "hook_event_name")
        self._counts[event[:40] or "without a name"] += 1
        if event == "SessionStart":
            return Answer(200, await self._start(scope, payload))
        if event == "PostToolUseFailure":
            return Answer(200, await self._failure(scope, payload, keep_input=query.get("input") == "1"))
        return Answer(200, {})

    async def _start(self, scope: _Scope, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Lessons for the session; under `rsi` what the command keeps for its end: its experiments."""
        session, said = payload["session_id"], payload.get("rsi")
        known = self._known(session, payload)
        if isinstance(said, dict):
            known.source = text_of(said, "source") or known.source
            known.observe_only = said.get("observe_only") is True
        if payload.get("source") in ("clear", "compact"):
            known.given.clear()  # what it was told is gone from its context
        policy = await _policy(scope, known.source)
        if policy is None:
            return {}
        entered = lessons.enter(known, session, policy)
        if entered:
            self._report(started(session, known.source, entered, policy.version))
        kept = {"fixes": lessons.refs(known), "policy_version": policy.version}
        return {**context("SessionStart", lessons.at_start(known, session, policy)), "rsi": kept}

    async def _failure(self, scope: _Scope, payload: Mapping[str, Any], *, keep_input: bool) -> dict[str, Any]:
        session, tool, error = payload["session_id"], text_of(payload, "tool_name"), text_of(payload, "error")
        known = self._known(session, payload)
        work = judge(tool, payload.get("tool_input"), error)
        if work.kind == "red":  # whether somebody edits shows until the session ends: the transcript tells it
            self._counts["red tests, left to the end"] += 1
            return {}
        self._report(failed_tool(payload, known.source, work, keep_input=keep_input))
        if work.kind == "answer" or payload.get("is_interrupt") is True:
            return {}
        policy = await _policy(scope, known.source)
        if policy is None:
            return {}
        classifier = await asyncio.to_thread(self._classifier)
        return context(
            "PostToolUseFailure", lessons.at_failure(known, session, policy, Failure(tool, error, classifier))
        )

    def _known(self, session: str, payload: Mapping[str, Any]) -> Known:
        known = self._sessions.get(session)
        if known is None:
            known = self._sessions[session] = Known(source=naming.source_of(text_of(payload, "cwd") or None, {}))
            if len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(session)
        return known

    def _report(self, item: Item) -> None:
        try:
            done = self._submit(Batch(door="claude-code", items=[msgspec.to_builtins(item)]))
        except RSIError as error:
            self._lost(error)
            return
        done.add_done_callback(self._stored)

    def _stored(self, done: Future[Receipt]) -> None:
        error = done.exception()
        if error is not None:
            self._lost(error)
        elif done.result().rejected:
            self._lost(RSIError(done.result().rejected[0].error))

    def _lost(self, error: BaseException) -> None:
        self._counts["not stored"] += 1
        log.warning("a failure was not stored, the end of the session tells it again: %s", error)


async def _policy(scope: _Scope, source: str) -> Policy | None:
    """The policy, asked for as any client asks: `GET /v1/policy` of the same server, by whoever sent the hook."""
    path = "/v1/policy"
    query = f"source={quote(source, safe='')}&enforces=lessons&client={CLIENT}"
    status, parts = 0, list[bytes]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    kept = [(name, value) for name, value in scope["headers"] if name in (b"host", b"authorization")]
    same = ("type", "asgi", "http_version", "scheme", "client", "server")
    asked = {
        **{name: scope[name] for name in same if name in scope},
        "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "headers": kept,
        "query_string": query.encode("ascii"),
    }  # fmt: skip
    await scope["app"](asked, receive, send)
    found = read_policy(msgspec.json.decode(b"".join(parts))).policy if status == 200 else None  # noqa: PLR2004 - HTTP's own number
    return None if found is None else decay(found, clock.now())


async def _body(receive: _Receive, limit: int) -> bytes | None:
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        more = message.get("more_body", False) and message["type"] == "http.request"
    return b"".join(parts)
