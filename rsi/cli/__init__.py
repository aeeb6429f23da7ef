"""The command `rsi`: one file per command group, imported when its command is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import click

import rsi
from rsi.errors import InvalidInputError, RSIError

#: command → `module:attribute`; the order is the order of `rsi --help`.
COMMANDS: Final = {
    "init": "rsi.cli.up:init",
    "up": "rsi.cli.up:up",
    "demo": "rsi.cli.demo:demo",
    "observe": "rsi.cli.feed:observe",
    "ingest": "rsi.cli.feed:ingest",
    "status": "rsi.cli.show:status",
    "health": "rsi.cli.show:health",
    "issues": "rsi.cli.show:issues",
    "issue": "rsi.cli.show:issue",
    "incidents": "rsi.cli.incidents:incidents",
    "fixes": "rsi.cli.show:fixes",
    "fix": "rsi.cli.show:fix",
    "policy": "rsi.cli.show:policy",
    "approve": "rsi.cli.act:approve",
    "reject": "rsi.cli.act:reject",
    "rollback": "rsi.cli.act:rollback",
    "pause": "rsi.cli.act:pause",
    "resume": "rsi.cli.act:resume",
    "merge": "rsi.cli.act:merge",
    "split": "rsi.cli.act:split",
    "state": "rsi.cli.act:state",
    "classify": "rsi.cli.classify:classify",
    "rules": "rsi.cli.rules:rules",
    "sandbox": "rsi.cli.sandbox:sandbox",
    "run": "rsi.cli.run:run",
    "connect": "rsi.cli.connect:connect",
    "disconnect": "rsi.cli.connect:disconnect",
    "hook": "rsi.cli.hook:hook",
    "doctor": "rsi.cli.maintain:doctor",
    "prune": "rsi.cli.maintain:prune",
}

NEGATIVE: Final = 1
USAGE: Final = 2


class _Lazy(click.Group):
    """Imports a command's module when the command is called, so that `rsi --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--home", metavar="DIR", help="The project's folder (default: $RSI_HOME, the nearest rsi.yaml, or here).")
@click.option("--quiet", is_flag=True, help="Print results only.")
@click.version_option(rsi.__version__, prog_name="rsi")
@click.pass_context
def cli(ctx: click.Context, home: str | None, quiet: bool) -> None:
    """Observe agents, analyze what keeps failing, fix what is safe, verify that it helped, else take it back.

    \b
    Example:
      rsi up                          # the daemon: inbox/, http://127.0.0.1:7474
      rsi observe search --fail --error "429 Too Many Requests"
      rsi issues
    """
    ctx.obj = {"home": home, "quiet": quiet}


def main(argv: list[str] | None = None) -> None:
    """Entry point. Exit 0 fine, 1 a negative answer, 2 usage or configuration."""
    try:
        result: Any = cli.main(args=argv, prog_name="rsi", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except RSIError as error:
        click.echo(f"rsi: {error}", err=True)
        sys.exit(USAGE if isinstance(error, InvalidInputError) else NEGATIVE)
    sys.exit(result if isinstance(result, int) else 0)
