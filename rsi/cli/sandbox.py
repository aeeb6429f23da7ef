"""`rsi sandbox doctor|run|undo`: run a command on a view of a folder; see what changed, take it over, take it back."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import UnsupportedOperation
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final, NoReturn

import click

from rsi.cli.options import as_json, harmless, print_json
from rsi.cli.sandbox_doctor import doctor
from rsi.cli.sandbox_undo import recovered, text_of, undo
from rsi.errors import IsolationError, RSIError, SandboxError
from rsi.sandbox.choose import AUTO, KNOWN
from rsi.sandbox.merge import Fingerprint, UndoLog, apply, fingerprint, undo_folder
from rsi.sandbox.model import FOR_FIXES, Change, ExecResult, GiB, Isolation, Limits, MiB
from rsi.sandbox.patch import listing, patch
from rsi.sandbox.sandbox import Sandbox

#: As `env`, `timeout` and `docker run` say it: what was asked for never ran.
NEVER_RAN: Final = 125
#: A write-back that was refused is a negative answer, whatever the command said.
REFUSED: Final = 1
NONE: Final = "none"
FLAGS: Final = Isolation.__struct_fields__
#: Who ends now waits so long until what the view left is deleted; the next `run` goes on with what is not.
DRAIN_S: Final = 2.0
#: All that a command may print; it is printed whole.
MAX_OUTPUT: Final = 64 * MiB
#: A terminal shows this much of a patch, about a thousand lines; `--diff` shows all of it.
SHOWN: Final = 64 << 10
TIMEOUT_S: Final = 600.0
_UNITS: Final = {"": 1, "k": 1 << 10, "m": MiB, "g": GiB}
_SIZE: Final = re.compile(r"(\d+)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
#: Of what a command prints, a terminal is given text, line ends and colours; nothing that moves or sets anything.
_COLOUR: Final = re.compile(r"(\x1b\[[0-9;:]*m|[\r\b])")


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes, as `512m` or `2g`."""
    found = _SIZE.fullmatch(value.strip())
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{value!r} is not a size: give bytes, or 512m, or 2g", ctx, param)
    return int(found[1]) * _UNITS[found[2].lower()]


class _Runs(click.Command):
    """Its usage errors end with 125, too: every other number is the command's."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.show()
            raise click.exceptions.Exit(NEVER_RAN) from error


@click.group()
def sandbox() -> None:
    """Run anything on a view of a folder: the folder does not change, and nothing gets out.

    \b
    Example:
      rsi sandbox run -- pytest -q
    """


sandbox.add_command(doctor)
sandbox.add_command(undo)


@sandbox.command(cls=_Runs, context_settings={"allow_interspersed_args": False})
@click.option("--workspace", type=click.Path(path_type=Path), default=".", metavar="DIR", help="Default: here.")
@click.option("--backend", type=click.Choice([AUTO, *KNOWN]), default=AUTO, show_default=True, help="What isolates.")
@click.option(
    "--require",
    multiple=True,
    type=click.Choice([*FLAGS, NONE]),
    metavar="FLAG",
    help=f"What must be isolated, once for each: {', '.join(FLAGS)}. Default: what a fix needs. `none`: run anyway.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    metavar="S",
    help="Seconds, by the wall clock.",
)
@click.option(
    "--memory", callback=_size, default="2g", show_default=True, metavar="SIZE", help="Of all that it starts, together."
)
@click.option("--disk", callback=_size, default="1g", show_default=True, metavar="SIZE", help="What it may write.")
@click.option("--processes", type=click.IntRange(1), default=256, show_default=True, metavar="N", help="At a time.")
@click.option("--diff", is_flag=True, help="Print what changed, whole, on stderr. In a terminal it is shown anyway.")
@click.option("--write-back", is_flag=True, help="If it ends with 0: write what changed into the folder, with undo.")
@click.option("--allow-links", is_flag=True, help="Write back symlinks too, if they stay inside the folder.")
@as_json
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(workspace: Path, as_json: bool, command: tuple[str, ...], **asked: Any) -> None:
    """Run COMMAND on a view of a folder; without --write-back nothing in the folder changes.

    Exits with the command's status (128 + signal if a limit ended it), 125 if it never ran, 1 if it could not be
    written back. Standard input is passed through as it comes, unless it is a terminal. A write-back that was killed
    half way is taken back first.

    \b
    Example:
      rsi sandbox run -- pytest -q
      rsi sandbox run --write-back --timeout 60 -- ruff check --fix .
    """
    written_back = bool(asked["write_back"])
    try:
        recovered(workspace, strict=written_back)
        if written_back:
            undo_folder(None, workspace)  # there must be a place for it before anything runs
        view = Sandbox.create(
            workspace, backend=asked["backend"], require=_required(asked["require"]), programs=command[:1]
        )
    except (RSIError, OSError) as error:
        _never_ran(error)
    with view, _ending_cleanly():
        try:
            before = fingerprint(view.workspace) if written_back else None
            result = view.exec(list(command), limits=_limits(as_json=as_json, **asked), **_input())
        except (RSIError, OSError) as error:
            _never_ran(error)
        try:
            changes = view.diff()
            if not as_json:
                _print_output(result)
                _print_changes(changes, whole=asked["diff"])
            status, log = _write_back(view, result, changes, before, links=asked["allow_links"])
        except OSError as error:
            click.echo(f"rsi: what changed cannot be shown: {harmless(error)}", err=True)
            raise click.exceptions.Exit(REFUSED) from error
    view.destroy(wait_s=DRAIN_S)
    if as_json:
        print_json(_document(view, result, changes, log))
    click.get_current_context().exit(status)


def _required(names: tuple[str, ...]) -> Isolation:
    if not names:
        return FOR_FIXES
    return Isolation(**{name: True for name in names if name != NONE})


def _limits(*, timeout: float, memory: int, disk: int, processes: int, as_json: bool, **_: Any) -> Limits:
    keep = Limits().keep if as_json else MAX_OUTPUT
    return Limits(wall_s=timeout, memory=memory, disk=disk, processes=processes, output=MAX_OUTPUT, keep=keep)


def _input() -> dict[str, Any]:
    """Standard input, unless a person sits at it."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return {}
    try:
        return {"stdin": sys.stdin.fileno()}
    except UnsupportedOperation:  # no descriptor is behind it: all that there is of it is there
        return {"input": sys.stdin.buffer.read()}


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """A polite end is an exception too, so that the view goes and nothing runs on."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    former = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _never_ran(error: Exception) -> NoReturn:
    way_out = "; --require none runs it anyway" if isinstance(error, IsolationError) else ""
    click.echo(f"rsi: it never ran: {harmless(error)}{way_out}", err=True)
    raise click.exceptions.Exit(NEVER_RAN)


def _print_output(result: ExecResult) -> None:
    for data, stream in ((result.stdout_bytes, sys.stdout), (result.stderr_bytes, sys.stderr)):
        _print_bytes(data, stream.buffer, terminal=stream.isatty())
    if result.killed_by is not None:
        click.echo(f"rsi: ended by its limit: {result.killed_by} (after {result.wall_ms / 1e3:.1f} s)", err=True)


def _print_bytes(data: bytes, stream: BinaryIO, *, terminal: bool) -> None:
    """Byte for byte into a pipe; a terminal gets nothing that drives it but colours."""
    if terminal:
        parts = _COLOUR.split(data.decode("utf-8", "replace"))
        data = "".join(part if index % 2 else harmless(part) for index, part in enumerate(parts)).encode()
    stream.write(data)
    stream.flush()


def _print_changes(changes: list[Change], *, whole: bool) -> None:
    if not changes or not (whole or sys.stdout.isatty()):
        return
    click.echo(_noted(f"{len(changes)} changed in the view:"), err=True)
    click.echo(harmless(listing(changes)), err=True, nl=False)
    text = patch(changes, strict=False).decode("utf-8", "replace")
    left_out = 0 if whole else text.count("\n", SHOWN)
    for line in (text if whole else text[:SHOWN]).splitlines():
        click.echo(_coloured(line), err=True)
    if left_out:
        click.echo(_noted(f"… {left_out} more lines; --diff shows all"), err=True)


_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


def _coloured(line: str) -> str:
    return _styled_err(harmless(line), fg=_COLOURS.get(line[:1]), bold=line.startswith("diff ") or None)


def _noted(text: str) -> str:
    return _styled_err(text, dim=True)


def _styled_err(text: str, **style: Any) -> str:
    return click.style(text, **style) if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else text


def _write_back(
    view: Sandbox, result: ExecResult, changes: list[Change], before: Fingerprint | None, *, links: bool
) -> tuple[int, UndoLog | None]:
    """The status to exit with, and the log if something was written."""
    if before is None:
        return result.returncode, None
    if not result.ok or not changes:
        why = "nothing changed" if result.ok else f"the command ended with {result.returncode}"
        click.echo(f"rsi: nothing was written back: {why}", err=True)
        return result.returncode, None

    def begun(log: UndoLog) -> None:
        text = f"rsi: writing {len(changes)} back; to undo, also if this is killed: rsi sandbox undo {log.id}"
        click.echo(text, err=True)

    try:
        log = apply(changes, view.workspace, expect=before, allow_links=links, begun=begun)
    except (SandboxError, OSError) as error:
        click.echo(f"rsi: {harmless(error)}", err=True)
        return REFUSED, None
    click.echo(f"rsi: {len(changes)} written back; to undo: rsi sandbox undo {log.id}", err=True)
    return result.returncode, log


def _document(view: Sandbox, result: ExecResult, changes: list[Change], log: UndoLog | None) -> dict[str, Any]:
    """What `--json` prints; bytes that are no text are escaped (`\\xff`)."""
    plain = (
        "returncode",
        "killed_by",
        "stdout",
        "stderr",
        "stdout_total",
        "stderr_total",
        "wall_ms",
        "cpu_s",
        "max_rss",
    )
    return {
        "backend": view.backend,
        "isolation": view.capabilities(),
        **{name: getattr(result, name) for name in plain},
        "changes": [{"path": text_of(change.path), "change": change.letter} for change in changes],
        "undo": log.id if log is not None else None,
    }
