"""`rsi demo`: the whole loop in under a minute, for real: provider, agents, daemon, verdict.

The demo itself is a client: it sees the daemon over HTTP only.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from rsi.cli.demo import modes
from rsi.cli.demo.stage import Stage
from rsi.cli.demo.story import Story


@click.command()
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The provider's weather.")
@click.option("--null", "null", is_flag=True, help="Canary a change that does nothing; it must not be verified.")
@click.option("--harmful", is_flag=True, help="Canary a change that hurts; it must be rolled back.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON: verdict and mode.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the demo's home in this folder.")
@click.pass_context
def demo(ctx: click.Context, *, seed: int, null: bool, harmful: bool, as_json: bool, keep: Path | None) -> None:
    """Show failures → issues → the safe fix going live → both arms → the verdict.

    \b
    Example:
      rsi demo
      rsi demo --harmful --seed 7 --json
    """
    if null and harmful:
        raise click.UsageError("--null or --harmful, not both")
    mode = modes.NULL if null else modes.HARMFUL if harmful else modes.HELPFUL
    with tempfile.TemporaryDirectory(prefix="rsi-demo-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        with Stage(folder, seed, mode.rules) as stage:
            verdict = Story(stage, mode).tell()
    if as_json:
        click.echo(json.dumps({"verdict": verdict, "mode": mode.name}))
    ctx.exit(0 if verdict in mode.expected else 1)
