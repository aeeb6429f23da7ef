"""`rsi demo`: the whole loop in under a minute, for real: provider, agents, daemon, verdict.

The demo itself is a client: it sees the daemon over HTTP only.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from rsi.cli.demo import modes
from rsi.cli.demo.stage import Stage
from rsi.cli.demo.story import LONGEST_S, Story


@click.command()
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The provider's weather.")
@click.option("--null", "null", is_flag=True, help="Canary a change that does nothing; it must not be verified.")
@click.option("--harmful", is_flag=True, help="Canary a change that hurts; it must be rolled back.")
@click.option(
    "--seconds",
    default=LONGEST_S,
    show_default=True,
    type=click.FloatRange(10, 3600),
    help="End after this long even without a verdict; a busy machine needs more.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON: verdict and mode.")
@click.option("--home", "--keep", "home", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep the demo's home in this new or empty folder.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print the verdict only.")
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    seed: int,
    null: bool,
    harmful: bool,
    seconds: float,
    as_json: bool,
    home: Path | None,
    quiet: bool,
) -> None:
    """Show failures → issues → the safe fix going live → both arms → the verdict.

    \b
    Example:
      rsi demo
      rsi demo --harmful --seed 7 --json
    """
    if null and harmful:
        raise click.UsageError("--null or --harmful, not both")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what the demo started ends with it
    mode = modes.NULL if null else modes.HARMFUL if harmful else modes.HELPFUL
    given = ctx.find_root().obj or {}
    home = home or (Path(given["home"]) if given.get("home") else None)
    if home is not None and home.exists() and any(home.iterdir()):
        raise click.UsageError(f"{home} is not empty: the demo makes a home of its own, name a new folder")
    with (
        _ends_cleanly(),
        tempfile.TemporaryDirectory(prefix="rsi-demo-") as scratch,
        Stage(Path(scratch), home or Path(scratch) / "home", seed, mode.rules) as stage,
    ):
        verdict = Story(stage, mode, seconds, quiet=quiet or bool(given.get("quiet"))).tell()
    if as_json:
        click.echo(json.dumps({"verdict": verdict, "mode": mode.name}))
    ctx.exit(0 if verdict in mode.expected else 1)


@contextlib.contextmanager
def _ends_cleanly() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: with everything that it started."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
