"""Claude Code and the Claude Agent SDK: failed tool calls and ended sessions become outcomes, lessons reach the model.

Claude Code is connected once, by `rsi connect claude-code`. A program that uses the Agent SDK takes `hooks()` and
`watch()`; docs/claude-code.md shows both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsi_adapters.claude_code.sdk import hooks as hooks
    from rsi_adapters.claude_code.sdk import watch as watch

__all__ = ["hooks", "watch"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from rsi_adapters.claude_code import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'rsi_adapters.claude_code' has no attribute {name!r}")
