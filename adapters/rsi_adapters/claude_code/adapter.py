"""The adapter's face: connect and disconnect as edits of a settings file, and the hook.

It touches no file of the user's: it says what the file should be, and the command line writes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi.errors import InvalidInputError
from rsi_adapters.claude_code import plugin, splice, wiring
from rsi_adapters.claude_code.wiring import Wires

SETTINGS: Final = Path(".claude") / "settings.json"
LESSONS: Final = ".claude/rules/rsi-lessons.md"


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What a settings file should be. `after` is `None` where the file was ours alone; `undo` takes exactly it back.

    `says`: sentences for the person who asked.
    """

    after: bytes | None
    undo: dict[str, Any] | None = None
    says: list[str] = []


class ClaudeCodeAdapter:
    """Claude Code and the Claude Agent SDK (model.Adapter, with connect, disconnect and hook)."""

    name = "claude-code"

    def available(self) -> bool:
        """Whether the Agent SDK is here; Claude Code itself is connected by `rsi connect`."""
        return find_spec("claude_agent_sdk") is not None

    def install(self) -> str:
        """Hook every query and client of the Agent SDK in this process; a sentence that says so."""
        return import_module("rsi_adapters.claude_code.installing").install()  # type: ignore[no-any-return]

    def uninstall(self) -> None:
        """Take that back."""
        import_module("rsi_adapters.claude_code.installing").uninstall()

    def settings_file(self, scope: str, project: Path, env: Mapping[str, str] | None = None) -> Path:
        """Where Claude Code reads the settings of a `project` or of the `user`."""
        if scope == "project":
            return project / SETTINGS
        said = (os.environ if env is None else env).get("CLAUDE_CONFIG_DIR")
        return (Path(said) if said else Path.home() / ".claude") / SETTINGS.name

    def connect(self, before: bytes | None, wires: Wires, undo: Mapping[str, Any] | None = None) -> Edit:
        """The settings with our hooks in them; hooks of ours that are there already are replaced.

        Args:
            before: the file as it is; `None` if there is none.
            wires: what the hooks have to know.
            undo: what an earlier `connect` returned.

        Raises:
            InvalidInputError: the file is not what Claude Code would read.
        """
        clean = self.disconnect(before, undo).after if before is not None else None
        text = _text(clean)
        done = splice.add(text, wiring.hooks(wires))
        says = ["disableAllHooks is true in these settings: no hook runs"] if _disabled(text) else []
        kept = {"pieces": done.pieces, "created": clean is None}
        return Edit(after=done.text.encode(), undo=kept, says=says)

    def disconnect(self, before: bytes | None, undo: Mapping[str, Any] | None = None) -> Edit:
        """The settings without our hooks: what `connect` put in, and nothing else.

        Raises:
            InvalidInputError: the file is not JSON any more.
        """
        if before is None:
            return Edit(after=None)
        text, undo = _text(before), undo or {}
        pieces = [piece for piece in undo.get("pieces", []) if isinstance(piece, str)]
        back = splice.take_back(text, pieces) if pieces else None
        if back is None or (back.strip() and wiring_left(back)):
            back = splice.without(text, wiring.is_ours) if text.strip() else text
        if undo.get("created") is True and back.strip() in ("", "{}"):
            return Edit(after=None)
        return Edit(after=back.encode())

    def plugin(self, wires: Wires) -> dict[str, str]:
        """Path → text of a plugin's folder."""
        return plugin.files(wires, _version(), _licence())

    def hook(self, payload: Mapping[str, Any], *, home: Path | None = None, keep_input: bool = False) -> dict[str, Any]:
        """One event of a command hook → what it prints.

        Raises:
            OSError: the user's state folder cannot be written.
        """
        from rsi_adapters.claude_code.command import handle  # noqa: PLC0415 - only a hook needs a client

        return handle(payload, home=home, keep_input=keep_input)


def wiring_left(text: str) -> bool:
    """Whether hooks of ours are in there."""
    return splice.without(text, wiring.is_ours) != text


def _text(data: bytes | None) -> str:
    try:
        return (data or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"settings.json: not UTF-8 (byte {error.start}); save it as UTF-8") from error


def _disabled(text: str) -> bool:
    try:
        found = msgspec.json.decode(text.removeprefix("\ufeff").encode()) if text.strip() else {}
    except msgspec.DecodeError:
        return False
    return isinstance(found, dict) and found.get("disableAllHooks") is True


def _version() -> str:
    try:
        return distribution("rsi").version
    except PackageNotFoundError:
        return "0.0.0"


def _licence() -> str:
    try:
        found = distribution("rsi").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        found = None
    return found or "Apache-2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
