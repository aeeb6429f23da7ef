"""`rsi hook`: what an agent's hooks call. It never fails: an agent must not notice that we are ill."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click

from rsi.cli.connect import AGENTS, adapter_of

#: An event of Claude Code holds at most a tool's input and output.
MAX_BYTES: Final = 16 * 1024 * 1024


@click.command()
@click.argument("agent", type=click.Choice(list(AGENTS)))
@click.option("--tool-input", is_flag=True, help="Report what the tools were called with, too.")
@click.option("--home", "home_after", metavar="DIR", help="The project's folder.")
@click.pass_context
def hook(ctx: click.Context, agent: str, tool_input: bool, home_after: str | None) -> None:
    """Take one event of an agent on standard input; print what its hook should. Always exits 0.

    \b
    Example:
      rsi hook claude-code < event.json
    """
    home = home_after or (ctx.find_root().obj or {}).get("home")
    try:
        payload = json.loads(sys.stdin.buffer.read(MAX_BYTES))
        if not isinstance(payload, dict):
            raise ValueError("expected an object")  # noqa: TRY004, TRY301 - told like any other event that cannot be read
        said = adapter_of(agent).hook(payload, home=Path(home) if home else None, keep_input=tool_input)
    except Exception as error:  # noqa: BLE001 - the border to the agent, which would stop or show it
        click.echo(f"rsi hook {agent}: {type(error).__name__}: {error}", err=True)
        return
    if said:
        click.echo(json.dumps(said))
