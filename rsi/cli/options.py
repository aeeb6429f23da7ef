"""Options that many commands share, and what they resolve to."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from rsi.config import Config, Home, find_home, load
from rsi.policy import mask_config

F = TypeVar("F", bound=Callable[..., Any])

#: What a terminal obeys: escape sequences (ECMA-48 §5.3, §5.6), other control characters, changes of direction.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Place(msgspec.Struct, frozen=True):
    """The home that a command works on."""

    home: Home
    quiet: bool

    @property
    def config(self) -> Config:
        """The home's `rsi.yaml`. Raises ConfigError."""
        return mask_config(load(self.home.path))


def place(command: F) -> F:
    """Give `command` a `place`, from `--home` and `--quiet` before or after the verb."""

    @click.option("--home", "home_after", metavar="DIR", help="The project's folder.")
    @click.option("--quiet", "quiet_after", is_flag=True, help="Print results only.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(ctx: click.Context, /, home_after: str | None, quiet_after: bool, **arguments: Any) -> Any:
        given = ctx.find_root().obj or {}
        home = Home(find_home(home_after or given.get("home")))
        return ctx.invoke(command, place=Place(home, quiet_after or bool(given.get("quiet"))), **arguments)

    return wrapped  # type: ignore[return-value]


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def styled(text: str, **style: Any) -> str:
    """Colour on a terminal, plain text into pipes and under NO_COLOR."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, **style)


def harmless(text: object) -> str:
    """What somebody reported, for a terminal: nothing in it moves a cursor, sets a title or changes a colour."""
    return _CONTROL.sub("?", _SEQUENCE.sub("", str(text)))


def table(rows: list[list[str]], header: list[str]) -> None:
    """Columns padded to their widest cell; the last one runs free. Cells are one line each, and `harmless`."""
    rows = [[" ".join(harmless(cell).split()) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header) - 1)]
    for number, row in enumerate([header, *rows]):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]
        line = "  ".join(cells).rstrip()
        click.echo(styled(line, dim=True) if number == 0 else line)
