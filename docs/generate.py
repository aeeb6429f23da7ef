"""Writes the reference pages that can drift: `python docs/generate.py` (a test compares them with the code)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from rsi.analyze.lifecycle import as_markdown
from rsi.classify import meaning
from rsi.cli import cli
from rsi.config import Config
from rsi.model import CATEGORIES

FOLDER = Path(__file__).resolve().parent / "reference"


def config_page() -> str:
    """Every key of `rsi.yaml` with its type and default."""
    lines = [
        "# rsi.yaml",
        "",
        "Generated from `rsi/config.py`. Everything is optional; durations are seconds or `30m`, `24h`.",
        "",
    ]
    lines += ["| key | type | default |", "|---|---|---|"]
    _walk(Config, "", lines)
    return "\n".join(lines) + "\n"


def _walk(struct: type[msgspec.Struct], prefix: str, lines: list[str]) -> None:
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.encode_name}"
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            lines.append(f"| **`{key}`** | {(inner.__doc__ or '').strip().splitlines()[0]} | |")
            _walk(inner, f"{key}.", lines)
            continue
        schema = msgspec.json.schema(inner)
        lines.append(f"| `{key}` | {_type(schema)} | `{_default(field)}` |")


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    limits = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    said = [f"{sign} {schema[word]}" for word, sign in limits.items() if word in schema]
    return " ".join([str(schema.get("type", "object")), *said])


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    return msgspec.json.encode(value).decode()


CLI_MANNERS = """\
- Exit codes: 0 fine, 1 a negative answer (below `--fail-under`, refused outcomes, no such fix), 2 usage or
  configuration.
- `--json`, on every command that reads: one JSON document on standard output and nothing else. `rsi classify` answers a
  line of JSON per line, `rsi demo --json` ends with one line of it.
- `--home DIR` and `--quiet` stand before or after the verb. Commands that read need no daemon.
- Colours and progress bars appear on a terminal only, colours not under `NO_COLOR`; control characters in reported
  texts are never shown.
- Shell completion: `eval "$(_RSI_COMPLETE=bash_source rsi)"` in `~/.bashrc`, `eval "$(_RSI_COMPLETE=zsh_source rsi)"`
  in `~/.zshrc`, `_RSI_COMPLETE=fish_source rsi | source` in `~/.config/fish/completions/rsi.fish`.""".splitlines()


def cli_page() -> str:
    """`--help` of every command."""
    lines = ["# The command `rsi`", "", "Generated from the commands' own help.", "", *CLI_MANNERS, ""]
    context = click.Context(cli, info_name="rsi", **cli.context_settings)
    lines += ["```text", cli.get_help(context), "```"]
    for name in cli.list_commands(context):
        _command(cli.get_command(context, name), context, name, lines)
    return "\n".join(lines) + "\n"


def _command(command: click.Command | None, parent: click.Context, name: str, lines: list[str]) -> None:
    if command is None:
        return
    context = click.Context(command, info_name=name, parent=parent)
    lines += ["", f"## {context.command_path}", "", "```text", command.get_help(context), "```"]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            _command(command.get_command(context, inner), context, inner, lines)


def categories_page() -> str:
    """What each category means."""
    lines = [
        "# Categories",
        "",
        "Generated from `rsi/classify.py`. Which texts belong to which: `rules/classify/`.",
        "",
    ]
    lines += ["| category | means | severity | repeated? | what to do |", "|---|---|---|---|---|"]
    for name in CATEGORIES:
        said = meaning(name)
        again = "may help" if said.retryable else "no"
        lines.append(f"| `{name}` | {said.title} | {said.severity} | {again} | {said.action} |")
    return "\n".join(lines) + "\n"


def issues_page() -> str:
    """The page as it is, with the table of states that the code runs."""
    head, _, rest = (FOLDER / "issues.md").read_text().partition("| from | to |")
    _, _, tail = rest.partition("\n\n")
    return f"{head}{as_markdown()}\n{tail}"


PAGES = {"categories.md": categories_page, "config.md": config_page, "cli.md": cli_page, "issues.md": issues_page}


def main() -> int:
    """Write all pages; with `--check` only say which differ."""
    stale = [
        name for name, page in PAGES.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != page()
    ]
    if "--check" not in sys.argv:
        for name in stale:
            (FOLDER / name).write_text(PAGES[name]())
        return 0
    print("stale:", ", ".join(stale) or "none")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
