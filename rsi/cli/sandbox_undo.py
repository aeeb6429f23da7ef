"""`rsi sandbox undo`: take back what a write-back wrote, and what one that was killed left half way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from rsi import clock
from rsi.cli.options import as_json, harmless, print_json, styled, table
from rsi.errors import MergeError, RSIError
from rsi.sandbox.merge import UndoLog, recover, undo_log, undo_logs

#: What a log's status means to whoever reads the list.
_STATUS: Final = {"applying": "half way", "undoing": "half undone", "applied": "written", "undone": "undone"}


@click.command()
@click.argument("undo_id", metavar="[ID]", required=False)
@click.option("--list", "listed", is_flag=True, help="Print what was written back, the newest first.")
@click.option("--force", is_flag=True, help="Also over what was changed since, by hand or by a later write-back.")
@as_json
def undo(undo_id: str | None, listed: bool, force: bool, as_json: bool) -> None:
    """Take back what `run --write-back` wrote: bytes, modes, what was not there.

    \b
    Example:
      rsi sandbox undo --list
      rsi sandbox undo 5c0f1a2b3c4d5e6f
    """
    if listed == (undo_id is not None):
        raise click.UsageError("give an ID, or --list")
    if undo_id is None:
        _print_logs(undo_logs(), as_json=as_json)
        return
    recovered(undo_log(undo_id).target, strict=False)
    log = undo_log(undo_id)
    try:
        log.undo(force=force)
    except OSError as error:
        raise MergeError(f"not all of it is undone: {error}; call it again") from error
    if as_json:
        print_json({"undo": log.id, "target": text_of(str(log.target)), "paths": [text_of(path) for path in log.paths]})
        return
    for path in log.paths:
        click.echo(f"{styled('undone', fg='green')} {harmless(path)}")


def recovered(workspace: Path, *, strict: bool) -> None:
    """Take back what a killed write-back left in a folder. What stands in the way is said; `strict`: raised."""
    try:
        for log in recover(workspace):
            click.echo(f"rsi: a write-back that was killed half way was taken back: {log.id}", err=True)
    except (RSIError, OSError) as error:
        if strict:
            raise
        click.echo(
            f"rsi: a write-back that was killed half way is not taken back: {harmless(error)}; "
            "see rsi sandbox undo --list",
            err=True,
        )


def text_of(path: str) -> str:
    """A path for JSON: bytes that are no text are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _print_logs(logs: list[UndoLog], *, as_json: bool) -> None:
    if as_json:
        print_json({"undo": [_document(log) for log in logs]})
        return
    rows = [
        [log.id, clock.iso(log.at), _STATUS[log.status], str(len(log.paths)), text_of(str(log.target))] for log in logs
    ]
    table(rows, ["id", "when", "status", "paths", "folder"])


def _document(log: UndoLog) -> dict[str, Any]:
    return {
        "id": log.id,
        "at": clock.iso(log.at),
        "status": log.status,
        "target": text_of(str(log.target)),
        "paths": [text_of(path) for path in log.paths],
    }
