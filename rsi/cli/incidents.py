"""`rsi incidents`: what moves together."""

from __future__ import annotations

import click

from rsi.cli.options import Place, as_json, harmless, place, print_json, styled
from rsi.cli.show import reading
from rsi.model import Incident

SHOWN_LINKS = 5


@click.command()
@click.option("--state", type=click.Choice(["open", "over"]))
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@as_json
@place
def incidents(place: Place, state: str | None, limit: int, as_json: bool) -> None:
    """Issues that move together, with what is likely behind them; open ones first.

    \b
    Example:
      rsi incidents --state open
    """
    from rsi.store import correlations

    with reading(place) as conn:
        found = correlations.list_incidents(conn, state=state, limit=limit) if conn is not None else []
    if as_json:
        print_json({"incidents": found})
        return
    for one in found:
        _print_incident(one)
    if not found:
        click.echo("no incidents")


def _print_incident(found: Incident) -> None:
    colour = "yellow" if found.state == "open" else "white"
    click.echo(f"{styled(found.id, bold=True)}  {styled(found.state, fg=colour)}  {harmless(found.title)}")
    rows = {
        "likely cause": found.likely_cause,
        "issues": ", ".join(found.issues),
        "sources": ", ".join(found.sources),
        "time": f"{found.started} to {found.last_seen}",
    }
    for name, value in rows.items():
        click.echo(f"  {name:12}  {harmless(value)}")
    for link in found.evidence[:SHOWN_LINKS]:
        click.echo(f"    {harmless(link.says)}")
    if len(found.evidence) > SHOWN_LINKS:
        click.echo(f"    and {len(found.evidence) - SHOWN_LINKS} more pairs (rsi incidents --json)")
