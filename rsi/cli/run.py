"""`rsi run -- CMD`: a program with `rsi.auto` in it, without changing the program."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from rsi.cli.options import Place, place

NEVER_RAN: Final = 125


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--source", metavar="NAME", help="Who reports (default: $RSI_SOURCE, else the project folder's name).")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@place
def run(place: Place, source: str | None, command: tuple[str, ...]) -> None:
    """Run a Python program with its agent frameworks hooked; its own code does not change.

    It sees `import rsi.auto` before its first line. Other programs run as they are; Python programs that they start
    are hooked, too. Exits with the command's status, 125 if it never ran.

    \b
    Example:
      rsi run -- python app.py
      rsi run --source shop-bot -- crewai run
    """
    found = shutil.which(command[0])
    if found is None:
        click.echo(f"rsi: {command[0]}: not found; nothing was run", err=True)
        raise SystemExit(NEVER_RAN)
    environment = hooked_environment(dict(os.environ), declared(place), source)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(found, command, environment)  # noqa: S606 - running the command is what was asked for
    except OSError as error:
        click.echo(f"rsi: {command[0]}: {error.strerror}; nothing was run", err=True)
        raise SystemExit(NEVER_RAN) from error


def declared(place: Place) -> Path | None:
    """The home, where there is one: a program in no project is not told of one."""
    home = place.home.path
    return home if (home / "rsi.yaml").exists() or (home / ".rsi").exists() else None


def hooked_environment(environment: dict[str, str], home: Path | None, source: str | None) -> dict[str, str]:
    """The variables under which Python loads `rsi.auto` at its start.

    Our folder comes first on `PYTHONPATH`; its `sitecustomize` hands on to the one that would have been loaded.
    """
    ours = str(Path(__file__).resolve().parents[1] / "auto" / "site")
    kept = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each and each != ours]
    made = environment | {"PYTHONPATH": os.pathsep.join([ours, *kept])}
    if home is not None:
        made.setdefault("RSI_HOME", str(home))
    if source:
        made["RSI_SOURCE"] = source
    return made
