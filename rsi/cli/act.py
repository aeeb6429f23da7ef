"""Commands that decide something: approve, reject, rollback, pause, resume, merge, split, state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any
from urllib.parse import quote

import click
import msgspec

from rsi.cli.options import Place, as_json, harmless, place, print_json
from rsi.cli.remote import running

WHO = "person:cli"
#: A fix that is over waits for nothing, whatever spoke against it before.
WAITING = ("proposed", "approved", "checking")
#: What the daemon says of a file that it could not take a change out of.
STILL_THERE = "still there:"


def _do(place: Place, path: str, body: dict[str, Any], local: Callable[[Any], Any]) -> Any:
    """Ask the daemon of this home; with none, own the home for a moment and do it here."""
    remote = running(place.home)
    if remote is not None:
        return remote.call("POST", path, body)
    from rsi.embedded import RSILoop

    with RSILoop(place.home.path) as loop:
        loop.run_cycle()
        done = local(loop.pipeline)
        loop.run_cycle()
        return msgspec.to_builtins(done)


def _at(what: str, ident: str, verb: str) -> str:
    return f"/v1/{what}/{quote(ident, safe='')}/{verb}"


def _say(place: Place, done: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    elif not place.quiet:
        _say_fix(done)


def _say_fix(done: dict[str, Any]) -> None:
    click.echo(f"{done.get('id', '')} {done.get('state', '')}".strip())
    for name, rail in _rails(done):
        click.echo(f"  waits ({name}): {harmless(rail)}" if name else f"  waits: {harmless(rail)}")
    if done.get("file"):
        click.echo(f"  {harmless(done['file'])}")


def _rails(done: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """What it waits for, if it waits."""
    if done.get("state") not in WAITING:
        return ()
    return zip_longest(done.get("refused_by", ()), done.get("rails", ()), fillvalue="")


def _fail_if_there(done: list[dict[str, Any]]) -> None:
    """Exit 1 if a file holds the change still."""
    if any(str(one.get("file", "")).startswith(STILL_THERE) for one in done):
        click.get_current_context().exit(1)


@click.command()
@click.argument("fix_id")
@click.option("--now", is_flag=True, help="100 % at once, shown as kept_unverified; no canary, no verdict.")
@as_json
@place
def approve(place: Place, fix_id: str, now: bool, as_json: bool) -> None:
    """Start the checks and the canary of a proposed fix.

    \b
    Example:
      rsi approve f12
    """
    done = _do(place, _at("fixes", fix_id, "approve"), {"now": now}, lambda p: p.approve(fix_id, WHO, now=now))
    _say(place, done, as_json=as_json)


@click.command()
@click.argument("fix_id")
@as_json
@place
def reject(place: Place, fix_id: str, as_json: bool) -> None:
    """Say no to a proposed fix; it is not proposed again.

    \b
    Example:
      rsi reject f12
    """
    _say(place, _do(place, _at("fixes", fix_id, "reject"), {}, lambda p: p.reject(fix_id, WHO)), as_json=as_json)


@click.command()
@click.argument("fix_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Every fix that is live.")
@as_json
@place
def rollback(place: Place, fix_id: str | None, everything: bool, as_json: bool) -> None:
    """Take a fix back: the agents' next call no longer sees it, and a file it edited is as it was, byte for byte.

    What somebody wrote over it since stays, and is said. Exit 1 if a file holds the change still.

    \b
    Example:
      rsi rollback f12
      rsi rollback --all
    """
    if bool(fix_id) == everything:
        raise click.UsageError("name one fix, or --all")
    if fix_id is None:
        done = _do(place, "/v1/fixes/all/rollback", {}, lambda p: {"fixes": p.rollback_all(WHO)})
        if as_json:
            print_json(done)
        elif not place.quiet:
            click.echo(f"{len(done['fixes'])} fixes rolled back")
            for one in done["fixes"]:
                if one.get("file"):
                    click.echo(f"  {one['id']}: {harmless(one['file'])}")
        _fail_if_there(done["fixes"])
        return
    one = _do(place, _at("fixes", fix_id, "rollback"), {}, lambda p: p.rollback(fix_id, WHO))
    _say(place, one, as_json=as_json)
    _fail_if_there([one])


@click.command()
@place
def pause(place: Place) -> None:
    """Apply no fix until `rsi resume`; what is live stays, proposals are still written.

    \b
    Example:
      rsi pause
    """
    _do(place, "/v1/pause", {}, lambda p: {"paused": p.pause(WHO)})
    if not place.quiet:
        click.echo("paused: no fix is applied until `rsi resume`")


@click.command()
@place
def resume(place: Place) -> None:
    """Apply fixes again.

    \b
    Example:
      rsi resume
    """
    _do(place, "/v1/resume", {}, lambda p: {"paused": p.resume(WHO)})
    if not place.quiet:
        click.echo("resumed")


@click.command()
@click.argument("a")
@click.argument("b")
@as_json
@place
def merge(place: Place, a: str, b: str, as_json: bool) -> None:
    """Declare two issues the same thing, for ever; the older id stays, the other redirects.

    \b
    Example:
      rsi merge i3 i9
    """
    done = _do(place, "/v1/issues/merge", {"a": a, "b": b}, lambda p: p.merge(a, b, WHO))
    _say(place, done, as_json=as_json)


@click.command()
@click.argument("issue_id")
@click.option("--template", type=int, help="Take out this one only; `rsi issue ID` lists them with their numbers.")
@as_json
@place
def split(place: Place, issue_id: str, template: int | None, as_json: bool) -> None:
    """Take an issue apart, for ever: its first template stays, all others leave; or one leaves alone.

    \b
    Example:
      rsi split i3
      rsi split i3 --template 41
    """
    body = {"id": issue_id} if template is None else {"id": issue_id, "fingerprint": template}
    done = _do(place, "/v1/issues/split", body, lambda p: {"issues": p.split(issue_id, WHO, template)})
    if as_json:
        print_json(done)
    else:
        click.echo(", ".join(found["id"] for found in done["issues"]))


@click.command()
@click.argument("issue_id")
@click.argument("to", type=click.Choice(["ongoing", "resolved", "ignored"]))
@as_json
@place
def state(place: Place, issue_id: str, to: str, as_json: bool) -> None:
    """Set an issue's state by hand.

    \b
    Example:
      rsi state i3 ignored
    """
    done = _do(place, _at("issues", issue_id, "state"), {"state": to}, lambda p: p.set_issue_state(issue_id, to, WHO))
    _say(place, done, as_json=as_json)
