"""`import rsi.auto` for the Agent SDK: every query and client of this process gets our hooks, until `uninstall`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any, Final

from rsi_adapters.claude_code.sdk import hooks, watch

_undo: Final[list[Callable[[], None]]] = []


def install() -> str:
    """Wrap `query` and `ClaudeSDKClient`; safe to call twice. Returns a sentence.

    Raises:
        ModuleNotFoundError: the SDK is not installed.
    """
    if not _undo:
        sdk = import_module("claude_agent_sdk")
        _replace(sdk, "query", _query(sdk, sdk.query))
        _replace(sdk.ClaudeSDKClient, "__init__", _made(sdk, sdk.ClaudeSDKClient.__init__))
        _replace(sdk.ClaudeSDKClient, "receive_messages", _received(sdk.ClaudeSDKClient.receive_messages))
    return "claude_agent_sdk.query and ClaudeSDKClient"


def uninstall() -> None:
    """As it was; what is open keeps its hooks."""
    while _undo:
        _undo.pop()()


def _replace(holder: Any, name: str, new: Any) -> None:
    old = getattr(holder, name)
    setattr(holder, name, new)

    def back() -> None:
        if getattr(holder, name) is new:  # somebody wrapped it again: it is not ours to take away
            setattr(holder, name, old)

    _undo.append(back)


def _hooked(sdk: Any, options: Any) -> Any:
    options = options if options is not None else sdk.ClaudeAgentOptions()
    return dataclasses.replace(options, hooks=hooks(options.hooks) or None)


def _query(sdk: Any, plain: Any) -> Any:
    @functools.wraps(plain)
    def query(*args: Any, options: Any = None, **more: Any) -> AsyncIterator[Any]:
        return watch(plain(*args, options=_hooked(sdk, options), **more))

    return query


def _made(sdk: Any, plain: Any) -> Any:
    @functools.wraps(plain)
    def init(self: Any, options: Any = None, *args: Any, **more: Any) -> None:
        plain(self, _hooked(sdk, options), *args, **more)

    return init


def _received(plain: Any) -> Any:
    @functools.wraps(plain)
    def receive_messages(self: Any) -> AsyncIterator[Any]:
        return watch(plain(self))

    return receive_messages
