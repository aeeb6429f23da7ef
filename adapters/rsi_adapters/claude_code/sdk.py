"""The Claude Agent SDK: `hooks()` for `ClaudeAgentOptions`, and `watch()` around the messages of a session.

    options = ClaudeAgentOptions(hooks=rsi_adapters.claude_code.hooks())
    async for message in rsi_adapters.claude_code.watch(query(prompt=..., options=options)):
        ...

The SDK has no event for the end of a session: without `watch` only failed tool calls are reported.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from rsi import clock
from rsi.client import Client, Item, default_client
from rsi.model import FixRef
from rsi_adapters.claude_code import lessons, naming
from rsi_adapters.claude_code.door import context
from rsi_adapters.claude_code.ending import as_error
from rsi_adapters.claude_code.lessons import ENFORCES, Failure, Known
from rsi_adapters.claude_code.normal import EDITORS, judge
from rsi_adapters.claude_code.reports import TASK, failed_tool, session_id, started, text_of
from rsi_adapters.claude_code.transcript import APIError

log: Final = logging.getLogger("rsi")
_Message = TypeVar("_Message")
_Hook = Callable[[Any, str | None, Any], Awaitable[dict[str, Any]]]
#: Sessions of one process that are remembered; beyond it the least recently seen is a stranger again.
SESSIONS: Final = 1_000
_TOLD: Final = "_rsi_told"
#: Red test runs of one turn that are kept until it ends; the newest.
_RED: Final = 200
#: `subtype`s of a result that say how it ended are errors where they begin so.
_ERROR: Final = "error"


class _Session:
    """A session that is going on in this process."""

    __slots__ = ("edited", "known", "parts", "red", "started")

    def __init__(self, source: str) -> None:
        self.known = Known(source=source)
        self.parts = 0
        self.edited = False
        self.red: list[Mapping[str, Any]] = []  # red tests of which it is not known yet whether somebody edits
        self.started = False


class Observer:
    """One client's hooks. Every callback is a border: nothing is raised into the SDK, and nothing waits.

    Args:
        source: which agent; by default `RSI_SOURCE`, else `claude-code:<repo>`.
        client: instead of the process's own.
        keep_input: report `tool_input` too.
    """

    def __init__(self, *, source: str | None = None, client: Client | None = None, keep_input: bool = False) -> None:
        self._source = source or naming.source_of(str(Path.cwd()))
        self._client = client
        self._keep_input = keep_input
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    @property
    def client(self) -> Client:
        """Where outcomes go and the policy comes from."""
        return self._client or default_client()

    def hooks(self) -> dict[str, list[Any]]:
        """Event → matchers, for `ClaudeAgentOptions(hooks=…)`.

        Raises:
            ModuleNotFoundError: the SDK is not installed; names the extra.
        """
        matcher = _matcher()
        if not self.client.enabled:
            return {}
        self.client.want(self._source, TASK, ENFORCES)
        told: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
            "UserPromptSubmit": self._prompt,
            "PostToolUse": self._used,
            "PostToolUseFailure": self._failed,
            "Stop": self._stopped,
        }
        return {event: [matcher(hooks=[self._guarded(event, react)])] for event, react in told.items()}

    def saw(self, message: object) -> None:
        """A message of the SDK; a `ResultMessage` ends what was asked. Never raises."""
        try:
            if type(message).__name__ == "ResultMessage" and self.client.enabled and not hasattr(message, _TOLD):
                setattr(message, _TOLD, True)  # `watch` may stand around `watch`: rsi.auto's, and the program's own
                self._ended(message)
        except Exception as error:  # noqa: BLE001 - the border to the host
            self._trouble("a result", error)

    def _guarded(self, event: str, react: Callable[[Mapping[str, Any]], str | None]) -> _Hook:
        async def hook(payload: Any, _tool_use_id: str | None, _context: Any) -> dict[str, Any]:
            try:
                return context(event, react(payload))
            except Exception as error:  # noqa: BLE001 - the border to the host
                self._trouble(event, error)
                return {}

        setattr(hook, _TOLD, True)
        return hook

    def _trouble(self, what: str, error: Exception) -> None:
        self.client.tally.count("claude_code_errors")
        self.client.tally.say_once(f"{what} of the Agent SDK was not understood: {type(error).__name__}: {error}")

    def _prompt(self, payload: Mapping[str, Any]) -> str | None:
        """The first prompt starts the session: it takes its arms, and hears what is for all of it."""
        session = text_of(payload, "session_id")
        one = self._of(session)
        policy = self.client.policies.current(self._source)
        if one.started or policy is None:
            return None
        one.started = True
        one.known.observe_only = not self.client.enforcing
        entered = lessons.enter(one.known, session, policy)
        if entered:
            self.client.put(started(session, self._source, entered, policy.version))
        return lessons.at_start(one.known, session, policy)

    def _used(self, payload: Mapping[str, Any]) -> None:
        one = self._of(text_of(payload, "session_id"))
        one.edited = one.edited or payload.get("tool_name") in EDITORS

    def _failed(self, payload: Mapping[str, Any]) -> str | None:
        session, tool, error = (text_of(payload, key) for key in ("session_id", "tool_name", "error"))
        one = self._of(session)
        work = judge(tool, payload.get("tool_input"), error)
        if work.kind == "red":
            one.red = [*one.red, payload][-_RED:]
            return None
        self.client.put(failed_tool(payload, self._source, work, keep_input=self._keep_input))
        policy = self.client.policies.current(self._source)
        if work.kind != "failure" or policy is None or not self.client.enforcing:
            return None
        return lessons.at_failure(one.known, session, policy, Failure(tool, error))

    def _stopped(self, payload: Mapping[str, Any]) -> None:
        self._tell_red(self._of(text_of(payload, "session_id")))

    def _tell_red(self, one: _Session) -> None:
        """What waited for an edit: within an edit-test loop red tests are normal."""
        waiting, one.red = one.red, []
        for payload in waiting:
            tool, error = text_of(payload, "tool_name"), text_of(payload, "error")
            work = judge(tool, payload.get("tool_input"), error, editing=one.edited)
            self.client.put(failed_tool(payload, self._source, work, keep_input=self._keep_input))

    def _ended(self, message: object) -> None:
        said: dict[str, Any] = {
            name: getattr(message, name, None)
            for name in (
                "session_id", "subtype", "is_error", "result", "errors", "api_error_status", "duration_ms", "num_turns",
                "total_cost_usd", "usage", "model_usage", "terminal_reason",
            )
        }  # fmt: skip
        one = self._of(str(said["session_id"]))
        self._tell_red(one)
        one.parts += 1
        self.client.put(_result(said, self._source, one.parts, lessons.refs(one.known), one.known.version))

    def _of(self, session: str) -> _Session:
        one = self._sessions.setdefault(session, _Session(self._source))
        self._sessions.move_to_end(session)
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return one


def hooks(
    existing: Mapping[str, list[Any]] | None = None,
    *,
    source: str | None = None,
    client: Client | None = None,
    keep_input: bool = False,
) -> dict[str, list[Any]]:
    """Hooks for `ClaudeAgentOptions(hooks=…)`, behind those that are there.

    Args:
        existing: your own hooks; they come first and stay as they are.
        source: which agent; by default `RSI_SOURCE`, else `claude-code:<repo>`.
        client: instead of the process's own.
        keep_input: report what the tools were called with, too (redacted).

    Raises:
        ModuleNotFoundError: the SDK is not installed; names the extra.
    """
    if any(_is_ours(matcher) for matchers in (existing or {}).values() for matcher in matchers):
        return dict(existing or {})
    ours = _observer(source, client, keep_input=keep_input).hooks()
    both = {event: [*matchers] for event, matchers in (existing or {}).items()}
    for event, matchers in ours.items():
        both[event] = [*both.get(event, []), *matchers]
    return both


async def watch(
    messages: AsyncIterator[_Message], *, source: str | None = None, client: Client | None = None
) -> AsyncIterator[_Message]:
    """The same messages; each `ResultMessage` is reported as a session's outcome.

    Args:
        messages: `query(…)` or `client.receive_response()`.
        source: as in `hooks`.
        client: as in `hooks`.
    """
    observer = _observer(source, client)
    async for message in messages:
        observer.saw(message)
        yield message


def _is_ours(matcher: Any) -> bool:
    return any(hasattr(hook, _TOLD) for hook in getattr(matcher, "hooks", None) or ())


def _observer(source: str | None, client: Client | None, *, keep_input: bool = False) -> Observer:
    """One per client and source, so that `hooks` and `watch` know of the same sessions."""
    owner = client or default_client()
    name = source or naming.source_of(str(Path.cwd()))
    found: Observer = owner.shared.setdefault(f"claude code {name}", Observer(source=name, client=client))
    found._keep_input = found._keep_input or keep_input  # noqa: SLF001 - our own, asked for by any of its users
    return found


def _result(said: Mapping[str, Any], source: str, part: int, fixes: list[FixRef], version: int | None) -> Item:
    """A `ResultMessage` as an outcome. `subtype` is `success` for API errors too: `is_error` decides."""
    failure = _failure(said)
    used = said["model_usage"] if isinstance(said["model_usage"], Mapping) else {}
    usage = said["usage"] if isinstance(said["usage"], Mapping) else {}
    cancelled = str(said["terminal_reason"] or "").startswith("aborted")
    session = str(said["session_id"])
    return Item(
        id=session_id(session, part),
        ts=clock.now(),
        source=source,
        task=TASK,
        kind="task",
        status="cancelled" if cancelled else "ok" if failure is None else "failed",
        success=failure is None and not cancelled,
        error=None if failure is None else as_error(failure),
        duration_ms=said["duration_ms"],
        session=session,
        model=next(iter(used), None),
        tokens_in=sum(usage.get(name) or 0 for name in _TOKENS_IN) if usage else None,
        tokens_out=usage.get("output_tokens"),
        cost_usd=said["total_cost_usd"],
        fixes=fixes or None,
        policy_version=version,
        metadata={"turns": said["num_turns"], "client": "agent-sdk"},
    )


_TOKENS_IN: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def _failure(said: Mapping[str, Any]) -> APIError | None:
    subtype = str(said["subtype"] or "")
    if not said["is_error"] and not subtype.startswith(_ERROR):
        return None
    errors = said["errors"] if isinstance(said["errors"], list) else []
    text = said["result"] or "; ".join(map(str, errors)) or subtype
    status = said["api_error_status"]
    return APIError(str(text), subtype if subtype.startswith(_ERROR) else None, status)


def _matcher() -> Any:
    try:
        return import_module("claude_agent_sdk").HookMatcher  # the framework, where it is used
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the Claude Agent SDK is not installed: pip install 'rsi[claude]'", name=error.name
        ) from error
