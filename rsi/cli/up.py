"""`rsi init` and `rsi up`."""

from __future__ import annotations

import os
from functools import partial
from typing import Final

import click

from rsi.cli.options import Place, as_json, place, print_json, styled
from rsi.config import CONFIG_FILE, DEFAULT_HOST, DEFAULT_PORT, load

IGNORED: Final = (".rsi/", "inbox/.work/", "inbox/done/", "inbox/failed/")

STARTER: Final = """\
# rsi.yaml: everything is optional. What each key means: docs/reference/config.md
sources: {}
  # my-agent:
  #   slo: 0.95              # unhealthy when surely below this success rate
  #   idempotent: [search]   # tasks that may be repeated
fix:
  auto: true                 # false: everything is a proposal
"""


@click.command()
@click.option("--yes", is_flag=True, help="Also extend .gitignore without asking.")
@place
def init(place: Place, yes: bool) -> None:
    """Make a home here: rsi.yaml, inbox/, and lines for .gitignore.

    \b
    Example:
      rsi init
    """
    home = place.home
    home.prepare()
    home.inbox.mkdir(exist_ok=True)
    config = home.path / CONFIG_FILE
    if not config.exists():
        config.write_text(STARTER, encoding="utf-8")
    load(home.path)
    ignore = home.path / ".gitignore"
    have = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    missing = [line for line in IGNORED if line not in have]
    if missing and (yes or _agreed(place, f"Add {', '.join(missing)} to .gitignore?")):
        ignore.write_text("\n".join([*have, *missing]) + "\n", encoding="utf-8")
    if not place.quiet:
        click.echo(f"{home.path} is ready. Next: rsi up")


def _agreed(place: Place, question: str) -> bool:
    """Ask, if there is somebody to answer; a script is told how to say yes."""
    if os.isatty(0):
        return click.confirm(question, default=True)
    if not place.quiet:
        click.echo(f"{question} Say so with --yes.", err=True)
    return False


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Anything but loopback needs auth.tokens.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--once", is_flag=True, help="Take the inbox, run one full cycle, print a summary, exit.")
@as_json
@place
def up(place: Place, host: str, port: int, once: bool, as_json: bool) -> None:
    """Run the daemon of this home.

    \b
    Example:
      rsi up                      # until Ctrl-C or SIGTERM
      rsi up --once --json        # for cron and CI
    """
    from rsi.cli import logs
    from rsi.daemon import Daemon, refuse_windows

    refuse_windows()
    config = place.config
    place.home.prepare()
    logs.configure(place.home.logs, to_terminal=not (once or place.quiet))
    with Daemon(place.home, config, once=once) as daemon:
        if not once:
            daemon.serve(host, port, listening=None if place.quiet else partial(_greet, place))
            return
        report = daemon.once()
    if as_json:
        print_json(report)
        return
    cycle = report.cycle
    click.echo(
        f"{report.batches} files taken, {cycle.outcomes} outcomes, {cycle.issues} issues touched, "
        f"{cycle.planned} fixes planned, {cycle.applied} applied, {cycle.ms:.0f} ms"
    )
    for trouble in report.troubles:
        click.echo(styled(f"! {trouble}", fg="yellow"))


def _greet(place: Place, url: str) -> None:
    click.echo(f"rsi watches {place.home.inbox} and listens on {url}  (Ctrl-C stops it)")
