"""`rsi connect` and `rsi disconnect`: our hooks in an agent's settings, and out of them again byte for byte."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import click

from rsi.cli.options import Place, place
from rsi.client.settings import DEFAULT_URL
from rsi.config import CONFIG_FILE
from rsi.errors import InvalidInputError

#: Built-in agents by dotted name, so that nothing depends on entry points being installed.
AGENTS: Final = {"claude-code": "rsi_adapters.claude_code.adapter:ClaudeCodeAdapter"}
_FOLDER_MODE: Final = 0o700

agent = click.argument("agent", type=click.Choice(list(AGENTS)))
scope = click.option(
    "--project/--user", "project", default=True, help="The project's settings (default), or yours for all projects."
)


def adapter_of(name: str) -> Any:
    """The adapter of an agent, by the same entry point that `rsi.auto` uses."""
    found = {point.name: point.value for point in entry_points(group="rsi.adapters")}
    module, _, attribute = found.get(name, AGENTS[name]).partition(":")
    return getattr(importlib.import_module(module), attribute)()


@click.command()
@agent
@scope
@click.option("--plugin", metavar="DIR", type=click.Path(path_type=Path), help="Write a plugin folder instead.")
@click.option("--tool-input", is_flag=True, help="Report what the tools were called with, too (redacted).")
@place
def connect(place: Place, agent: str, project: bool, plugin: Path | None, tool_input: bool) -> None:
    """Put rsi's hooks into an agent's settings; what is there keeps every character.

    \b
    Example:
      rsi connect claude-code
      rsi connect claude-code --user
      rsi connect claude-code --plugin ./rsi-plugin
    """
    adapter = adapter_of(agent)
    wires = _wires(place, shared=project and plugin is None, tool_input=tool_input)
    if plugin is not None:
        _write_folder(plugin, adapter.plugin(wires))
        _say(place, f"plugin written: claude --plugin-dir {plugin}")
        return
    file = adapter.settings_file("project" if project else "user", _project(place))
    before, undo = _read(file), _undo(place, file)
    edit = adapter.connect(before, wires, undo)
    if edit.after == before:
        _say(place, f"already connected: {file}")
        return
    kept = {**edit.undo, "folders": (undo or {}).get("folders") or _missing(file)}
    _keep_undo(place, file, kept)  # first: a settings file that cannot be taken back must not be
    _write(file, before, edit.after)
    _say(place, f"connected: {file}", *edit.says, *_hints(place, adapter, wires))


@click.command()
@agent
@scope
@place
def disconnect(place: Place, agent: str, project: bool) -> None:
    """Take rsi's hooks out of an agent's settings again, and nothing else.

    \b
    Example:
      rsi disconnect claude-code
    """
    adapter = adapter_of(agent)
    file = adapter.settings_file("project" if project else "user", _project(place))
    before, undo = _read(file), _undo(place, file)
    edit = adapter.disconnect(before, undo)
    if edit.after == before:
        _say(place, f"not connected: {file}")
        return
    _write(file, before, edit.after)
    if edit.after is None:
        _drop(undo or {})
    _undo_file(place, file).unlink(missing_ok=True)
    _say(place, f"disconnected: {file}")


def _wires(place: Place, *, shared: bool, tool_input: bool) -> Any:
    """How the hooks reach us. Settings that others may get hold no path of this machine, if that can be avoided."""
    from importlib import import_module

    door, wiring = import_module("rsi_adapters.claude_code.door"), import_module("rsi_adapters.claude_code.wiring")
    url = os.environ.get("RSI_URL")
    found = place.home.daemon() or {}
    command = ("rsi",) if shared and shutil.which("rsi") else (sys.executable, "-m", "rsi")
    return wiring.Wires(
        url=(url or str(found.get("url") or DEFAULT_URL)).rstrip("/"),
        home_mark=None if url else door.home_mark(place.home.path),
        command=command,
        home=_named_home(place, shared=shared),
        token=bool(place.config.auth.tokens or os.environ.get("RSI_TOKEN")),
        keep_input=tool_input,
    )


def _named_home(place: Place, *, shared: bool) -> str | None:
    """What `--home` the command needs: none where an `rsi.yaml` above the project says it."""
    home, project = place.home.path, _project(place)
    if shared and any((folder / CONFIG_FILE).is_file() for folder in (project, *project.parents)):
        nearest = next(each for each in (project, *project.parents) if (each / CONFIG_FILE).is_file())
        return None if nearest == home else str(home)
    return "." if shared and project == home else str(home)


def _project(place: Place) -> Path:
    """The project that is meant: around the current folder, or the home that was named from elsewhere."""
    here, home = Path.cwd().resolve(), place.home.path
    if home not in (here, *here.parents) and not os.environ.get("RSI_HOME"):
        return home
    for folder in (here, *here.parents):
        if (folder / ".git").exists() or (folder / ".claude").is_dir() or folder == home:
            return folder
    return here


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from error


def _write(file: Path, before: bytes | None, after: bytes | None) -> None:
    """Replace in one step, through a link to the file that it names; mode and owner stay.

    Raises:
        InvalidInputError: it cannot be written, or somebody wrote to it meanwhile.
    """
    real = file.resolve()
    if _read(real) != before:
        raise InvalidInputError(f"{real}: somebody wrote to it at the same moment; try again")
    try:
        if after is None:
            real.unlink()
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        part = real.with_name(f".{real.name}.rsi-{os.getpid()}")
        part.write_bytes(after)
        if before is not None:
            shutil.copystat(real, part)
        part.replace(real)
    except OSError as error:
        raise InvalidInputError(f"{real}: cannot be written: {error.strerror}") from error


def _missing(file: Path) -> list[str]:
    """The folders above it that `connect` makes, innermost first."""
    return [str(folder) for folder in file.parents if not folder.exists()]


def _drop(undo: dict[str, Any]) -> None:
    for folder in undo.get("folders", []):
        try:
            Path(folder).rmdir()
        except OSError:  # somebody keeps something there
            return


def _undo_file(place: Place, file: Path) -> Path:
    from hashlib import sha256

    mark = sha256(str(file.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return place.home.state / "connected" / f"{mark}.json"


def _undo(place: Place, file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(_undo_file(place, file).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _keep_undo(place: Place, file: Path, undo: dict[str, Any]) -> None:
    place.home.prepare()
    path = _undo_file(place, file)
    path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    path.write_text(json.dumps({"file": str(file), **undo}), encoding="utf-8")


def _write_folder(folder: Path, files: dict[str, str]) -> None:
    manifest = folder / ".claude-plugin" / "plugin.json"
    if folder.is_dir() and any(folder.iterdir()) and not manifest.is_file():
        raise InvalidInputError(f"{folder}: holds something else; name a folder that is empty or not there")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _hints(place: Place, adapter: Any, wires: Any) -> list[str]:
    hints = []
    if place.home.daemon() is None:
        hints.append("no daemon runs here yet: `rsi up`; until then sessions are reported when it is there again")
    if wires.token:
        hints.append("the daemon wants a token: set RSI_TOKEN where Claude Code is started")
    if not any(target.type == "lessons" for target in place.config.targets):
        lessons = importlib.import_module(type(adapter).__module__).LESSONS
        hints.append(f"to let fixes write lessons, add to rsi.yaml: targets: [{{file: {lessons}, type: lessons}}]")
    return hints


def _say(place: Place, *lines: str) -> None:
    if not place.quiet:
        for line in lines:
            click.echo(line)
