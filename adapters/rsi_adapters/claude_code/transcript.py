"""A session's transcript, as far as we have to understand it: failed tool calls, API errors, tokens, model, cost.

Its format is undocumented. Lines and fields that are not known are passed over, so that a newer client tells us less
and breaks nothing. Nothing of the conversation is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import clock
from rsi_adapters.claude_code.normal import EDITORS

#: A line that is longer holds an image or a file; what we look for is in short ones.
_LINE_BYTES: Final = 8 * 1024 * 1024
_decode: Final = msgspec.json.Decoder().decode


@dataclass(slots=True)
class APIError:
    """The API said no, and the client gave up: `at` epoch seconds, `prompt` the turn that it ended."""

    message: str
    kind: str | None = None
    status: int | None = None
    at: float | None = None


@dataclass(slots=True)
class Usage:
    """What a session used so far: tokens, dollars, and the model that said most."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0
    cost_usd: float | None = None
    model: str | None = None


@dataclass(slots=True)
class Transcript:
    """What a transcript says.

    `failures` are shaped like `PostToolUseFailure`, with `ts` (epoch seconds). `ended_by` is the API error after which
    nothing came; `errors` are those that the session got over.
    """

    failures: list[dict[str, Any]] = field(default_factory=list)
    errors: list[APIError] = field(default_factory=list)
    ended_by: APIError | None = None
    usage: Usage = field(default_factory=Usage)
    tools: int = 0
    edited: bool = False
    first: float | None = None
    last: float | None = None
    prompts: list[str] = field(default_factory=list)
    cwd: str | None = None
    version: str | None = None
    api_retries: int = 0
    _calls: dict[str, tuple[str, Any]] = field(default_factory=dict)
    _messages: dict[str, tuple[str, float, float]] = field(default_factory=dict)

    def take(self, line: Mapping[str, Any], session: str) -> None:
        """One line."""
        self._when(line)
        kind = line.get("type")
        if kind == "assistant":
            self._assistant(line)
        elif kind == "user":
            self._user(line, session)
        elif kind == "system" and line.get("subtype") == "api_error":
            self.api_retries += 1
        elif kind == "cost-state":
            self._cost(line)

    def _when(self, line: Mapping[str, Any]) -> None:
        at = _time(line.get("timestamp"))
        if at is not None:
            self.first, self.last = self.first or at, at
        for name in ("cwd", "version"):
            if getattr(self, name) is None and isinstance(line.get(name), str):
                setattr(self, name, line[name])

    def _assistant(self, line: Mapping[str, Any]) -> None:
        message = _mapping(line.get("message"))
        if line.get("isApiErrorMessage") is True:
            self._gave_up(line, message)
            return
        if line.get("isSidechain") is not True:
            self._went_on()
        usage, ident = _mapping(message.get("usage")), message.get("id")
        if isinstance(ident, str) and isinstance(
            message.get("model"), str
        ):  # a message of several blocks has several lines
            self._messages[ident] = (message["model"], _tokens_in(usage), _number(usage.get("output_tokens")))
        for block in _blocks(message):
            if block.get("type") == "tool_use" and isinstance(block.get("id"), str):
                self.tools += 1
                name = str(block.get("name"))
                self.edited = self.edited or name in EDITORS
                self._calls[block["id"]] = (name, block.get("input"))

    def _gave_up(self, line: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        said = "".join(str(block.get("text", "")) for block in _blocks(message)) or "API error"
        status, kind = line.get("apiErrorStatus"), line.get("apiErrorType") or line.get("error")
        self._went_on()
        self.ended_by = APIError(
            said,
            kind if isinstance(kind, str) else None,
            status if isinstance(status, int) else None,
            _time(line.get("timestamp")),
        )

    def _went_on(self) -> None:
        if self.ended_by is not None:
            self.errors.append(self.ended_by)
            self.ended_by = None

    def _user(self, line: Mapping[str, Any], session: str) -> None:
        prompt = line.get("promptId")
        if isinstance(prompt, str) and prompt not in self.prompts[-1:]:
            self.prompts.append(prompt)
        message = _mapping(line.get("message"))
        if not isinstance(prompt, str) and isinstance(message.get("content"), str) and line.get("isMeta") is not True:
            self.prompts.append(str(line.get("uuid")))  # an older client
        for block in _blocks(message):
            if block.get("type") == "tool_result" and block.get("is_error") is True:
                self._failed(block, line, session)

    def _failed(self, block: Mapping[str, Any], line: Mapping[str, Any], session: str) -> None:
        ident = str(block.get("tool_use_id"))
        name, given = self._calls.get(ident, ("unknown", None))
        result = line.get("toolUseResult")
        interrupted = isinstance(result, Mapping) and result.get("interrupted") is True
        self.failures.append(
            {
                "session_id": session,
                "tool_name": name,
                "tool_use_id": ident,
                "tool_input": given,
                "error": _said(block.get("content")),
                "is_interrupt": interrupted,
                "prompt_id": line.get("promptId"),
                "ts": _time(line.get("timestamp")),
            }
        )

    def _cost(self, line: Mapping[str, Any]) -> None:
        per_model = {
            name: _mapping(used) for name, used in _mapping(line.get("modelUsage")).items() if isinstance(name, str)
        }
        self.usage = Usage(
            sum(_model_in(used) for used in per_model.values()),
            sum(_number(used.get("outputTokens")) for used in per_model.values()),
            _number(line.get("totalCostUSD")),
            max(per_model, key=lambda name: _number(per_model[name].get("outputTokens")), default=None),
        )

    def total(self) -> Usage:
        """What was used: the client's own sum, or, where it wrote none, that of the answers."""
        if self.usage.cost_usd is not None or not self._messages:
            return self.usage
        spoken: dict[str, float] = {}
        for model, _, out in self._messages.values():
            spoken[model] = spoken.get(model, 0.0) + out
        found = self._messages.values()
        return Usage(
            sum(one[1] for one in found), sum(one[2] for one in found), None, max(spoken, key=lambda it: spoken[it])
        )


def read(path: Path, session: str) -> Transcript:
    """The transcript at `path` with those of its subagents.

    Raises:
        OSError: it cannot be read.
    """
    found = Transcript()
    for line in _lines(path):
        found.take(line, session)
    for other in sorted((path.parent / path.stem / "subagents").glob("*.jsonl")):
        for line in _lines(other):
            found.take({**line, "timestamp": None, "isSidechain": True}, session)
    return found


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        while raw := file.readline(_LINE_BYTES):
            try:
                line = _decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # cut, or still being written
                continue
            if isinstance(line, dict):
                yield line


def _blocks(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    return (block for block in content if isinstance(block, Mapping)) if isinstance(content, list) else iter(())


def _said(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(block.get("text", "")) for block in content if isinstance(block, Mapping))
    return content if isinstance(content, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else 0.0


def _tokens_in(usage: Mapping[str, Any]) -> float:
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(_number(usage.get(name)) for name in names)


def _model_in(used: Mapping[str, Any]) -> float:
    names = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return sum(_number(used.get(name)) for name in names)


def _time(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return clock.parse_iso(value)
    except ValueError:
        return None
