"""`rsi sandbox doctor`: what each back end isolates on this machine, found by attacking it, and why not more."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from rsi.cli.options import as_json, harmless, print_json, styled, table
from rsi.errors import IsolationError
from rsi.sandbox.choose import AUTO, KNOWN, backend, choose
from rsi.sandbox.model import FOR_FIXES, Isolation
from rsi.sandbox.probe import FLAGS, Report, report

_MARKS: Final = {True: "yes", False: "no"}
#: What each flag promises, in a table's width.
_SAYS: Final = {
    "fs_read": "no file outside is read",
    "fs_write": "nothing outside is written",
    "home": "the home folder is not there",
    "network": "no network, not even loopback",
    "sockets": "no socket or shared memory of the host",
    "env": "the daemon's environment and memory are closed",
    "processes": "no process of the host is seen or signalled",
    "kill_all": "nothing outlives a command",
    "privileges": "no namespace, mount, trace or rare system call",
    "memory": "the memory limit holds",
    "rewind": "checkpoints can be returned to",
}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One back end as `--json` prints it."""

    name: str
    unavailable: str | None
    isolation: Isolation
    why_not: dict[str, str]
    for_fixes: bool
    probe_ms: float
    attacks: list[dict[str, Any]]


@click.command()
@click.option("--fresh", is_flag=True, help="Attack again, whatever was found since the last boot.")
@click.option("--attacks", is_flag=True, help="Every attack with what it answered, outside and inside.")
@as_json
def doctor(fresh: bool, attacks: bool, as_json: bool) -> None:
    """What each back end isolates here, found by attacking it. Exit 1 if none isolates what a fix needs.

    \b
    Example:
      rsi sandbox doctor
      rsi sandbox doctor --fresh --attacks
    """
    found = [_seen(report(backend(name), fresh=fresh)) for name in KNOWN]
    taken = _taken()
    able = [each.name for each in found if each.for_fixes]
    if as_json:
        print_json({"backends": found, "auto": taken, "fixes_may_run": bool(able)})
    else:
        _print(found, taken, attacks=attacks)
    if not able:
        click.get_current_context().exit(1)


def _seen(found: Report) -> Seen:
    isolation = found.isolation()
    why = {flag: reason for flag in FLAGS if (reason := found.why_not(flag)) is not None}
    return Seen(
        name=found.backend,
        unavailable=found.trouble,
        isolation=isolation,
        why_not=why,
        for_fixes=not isolation.missing(FOR_FIXES),
        probe_ms=found.took_ms,
        attacks=[{**msgspec.to_builtins(each), "held": each.held} for each in found.tried],
    )


def _taken() -> str | None:
    """What `auto` takes for a fix."""
    try:
        return choose(AUTO, FOR_FIXES).backend.name
    except IsolationError:
        return None


def _print(found: list[Seen], taken: str | None, *, attacks: bool) -> None:
    rows = [[flag, *(_mark(each, flag) for each in found), _SAYS[flag]] for flag in FLAGS]
    table(rows, ["", *(each.name for each in found), ""])
    click.echo("")
    for each in found:
        _print_reasons(each)
        if attacks:
            _print_attacks(each)
    if taken is None:
        said = "no back end isolates enough here: a fix that needs a command run stays a proposal"
        click.echo(styled(said, fg="yellow"))
    else:
        click.echo(styled(f"auto takes {taken}; fixes that need a command run may be applied here", fg="green"))


def _mark(seen: Seen, flag: str) -> str:
    return "-" if seen.unavailable is not None else _MARKS[flag not in seen.why_not]


def _print_reasons(seen: Seen) -> None:
    if seen.unavailable is not None:
        click.echo(f"{seen.name}: not here: {harmless(seen.unavailable)}")
        return
    for flag, reason in seen.why_not.items():
        click.echo(f"{seen.name}: {flag}: {harmless(reason)}")


def _print_attacks(seen: Seen) -> None:
    for each in seen.attacks:
        inside = "SUCCEEDED" if each["succeeded"] else "stopped" if each["control"] else "not possible here"
        click.echo(f"  {each['flag']:10} {each['name']:20} {inside}: {harmless(each['said'])}")
