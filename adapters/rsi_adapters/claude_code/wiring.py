"""Which hooks are written, and how ours are told from the user's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from rsi_adapters.claude_code.door import PATH

#: What a hanging daemon costs each failed tool call at most, in seconds. A daemon at work answers in milliseconds.
HTTP_TIMEOUT_S: Final = 2
#: A command starts an interpreter first; what it asks the daemon is bounded by `ask.BUDGET_S`.
COMMAND_TIMEOUT_S: Final = 5
TOKEN_VARIABLE: Final = "RSI_TOKEN"  # noqa: S105 - a variable's name
#: Claude Code tells its commands the project's folder: settings that are shared hold nobody's path.
PROJECT: Final = "."
PROJECT_VARIABLE: Final = "CLAUDE_PROJECT_DIR"
#: A client that ends gives its hooks 1.5 s, whatever their timeout says, and a busy machine needs longer to start an
#: interpreter. So the shell hands the event over (POSIX gives what runs behind no standard input) and is done at once.
_BEHIND: Final = "trap '' HUP; exec 3<&0; {} <&3 >/dev/null 2>&1 &"
_VERB: Final = "hook claude-code"


class Wires(msgspec.Struct, frozen=True, kw_only=True):
    """What the hooks have to know.

    Attributes:
        url: the daemon's address.
        home_mark: of the home whose daemon may take them (`intake.home_mark`); `None`: any.
        command: how `rsi` is called, as words.
        home: for the command, where it would not find it by itself: a path, or `PROJECT` for the project's folder.
        token: the daemon wants one: it is taken from `RSI_TOKEN` when a hook runs, and never written here.
        keep_input: report `tool_input` too.
    """

    url: str
    command: tuple[str, ...] = ("rsi",)
    home_mark: str | None = None
    home: str | None = None
    token: bool = False
    keep_input: bool = False


def hooks(wires: Wires) -> dict[str, list[dict[str, Any]]]:
    """Event → matcher groups, as `settings.json` and a plugin's `hooks.json` have them."""
    command = _command(wires)
    return {
        "SessionStart": [_runs(command)],
        "PostToolUseFailure": [{"hooks": [_http(wires)]}],
        "StopFailure": [_runs(command)],
        "SessionEnd": [_runs(_BEHIND.format(command))],
    }


def _runs(command: str) -> dict[str, Any]:
    return {"hooks": [{"type": "command", "command": command, "timeout": COMMAND_TIMEOUT_S}]}


def is_ours(group: object) -> bool:
    """Whether every hook of a matcher group is one of ours, whatever its address and its python."""
    found = group.get("hooks") if isinstance(group, Mapping) else None
    return isinstance(found, list) and bool(found) and all(_is_our_hook(hook) for hook in found)


def _is_our_hook(hook: object) -> bool:
    if not isinstance(hook, Mapping):
        return False
    command, url = hook.get("command"), hook.get("url")
    called = isinstance(command, str) and f" {_VERB}" in command
    return called or (isinstance(url, str) and url.partition("?")[0].endswith(PATH))


def _command(wires: Wires) -> str:
    words = [shlex.quote(word) for word in wires.command]
    if wires.home is not None:
        words += ["--home", f'"${PROJECT_VARIABLE}"' if wires.home == PROJECT else shlex.quote(wires.home)]
    return " ".join([*words, _VERB, *(["--tool-input"] if wires.keep_input else [])])


def _http(wires: Wires) -> dict[str, Any]:
    query = {"home": wires.home_mark or "", "input": "1" if wires.keep_input else ""}
    asked = urlencode({name: value for name, value in query.items() if value})
    hook: dict[str, Any] = {"type": "http", "url": wires.url + PATH + (f"?{asked}" if asked else "")}
    hook["timeout"] = HTTP_TIMEOUT_S
    if wires.token:
        hook["headers"] = {"Authorization": f"Bearer ${TOKEN_VARIABLE}"}
        hook["allowedEnvVars"] = [TOKEN_VARIABLE]
    return hook
