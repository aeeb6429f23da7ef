"""The hooks as a plugin folder: for people who install plugins rather than have settings edited."""

from __future__ import annotations

import json
from typing import Any, Final

from rsi_adapters.claude_code.wiring import Wires, hooks

NAME: Final = "rsi-observer"
MANIFEST: Final = ".claude-plugin/plugin.json"
_README: Final = """\
# rsi for Claude Code

Reports failed tool calls and ended sessions to the rsi daemon of your project, and tells the model the lessons that are
live there. Needs the command `rsi` (`pip install rsi`) and `rsi up`. Made by `rsi connect claude-code --plugin`.

What is sent: the tool's name, its error and its exit code; model, tokens and cost of a session. No prompts, no answers,
no tool input. Secrets are redacted before anything is stored.
"""


def files(wires: Wires, version: str, licence: str) -> dict[str, str]:
    """Path in the plugin's folder → text.

    Args:
        wires: what the hooks have to know.
        version: of rsi.
        licence: the text of its licence.
    """
    manifest: dict[str, Any] = {
        "name": NAME,
        "version": version,
        "description": "Reports failed tool calls and ended sessions to rsi, and tells the model what it learned.",
        "author": {"name": "rsi"},
        "license": "Apache-2.0",
    }
    wired = {"description": manifest["description"], "hooks": hooks(wires)}
    return {
        MANIFEST: json.dumps(manifest, indent=2) + "\n",
        "hooks/hooks.json": json.dumps(wired, indent=2) + "\n",
        "README.md": _README,
        "LICENSE": licence,
    }
