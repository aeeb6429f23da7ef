"""`rsi rules list|check|test`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsi import rules as rule_files
from rsi.cli.options import Place, as_json, place, print_json, styled, table

if TYPE_CHECKING:
    from rsi.fix.records import Scored

KINDS = ("classify", "fix")
PROTOTYPES = "prototypes"
#: Knobs that make a call once more.
REPEATING = ("retry", "reask")


@click.group()
@click.option("--home", metavar="DIR", help="The project's folder.")
@click.pass_context
def rules(ctx: click.Context, home: str | None) -> None:
    """What an error is and what to do about it, as data: list, check and test the rules.

    \b
    Example:
      rsi rules list
    """
    if home:
        ctx.find_root().obj = {**(ctx.find_root().obj or {}), "home": home}


@rules.command("list")
@click.option("--kind", type=click.Choice([*KINDS, PROTOTYPES]), help="One kind only. Prototypes: only so.")
@as_json
@place
def list_rules(place: Place, kind: str | None, as_json: bool) -> None:
    """Every rule that is in force here, with its status and its record.

    \b
    Example:
      rsi rules list --kind fix
    """
    if kind == PROTOTYPES:
        _list_prototypes(place, as_json=as_json)
        return
    kinds = [kind] if kind else KINDS
    found = [rule for one in kinds for rule in _records(place, one)]
    if as_json:
        print_json({"rules": found})
        return
    table([_cells(rule) for rule in found], ["id", "kind", "status", "origin", "acts", "record", "brier", "categories"])
    if not place.quiet:
        for rule in found:
            if rule.get("why"):
                click.echo(f"  {rule['why']}")


def _cells(rule: dict[str, Any]) -> list[str]:
    acts = rule.get("acts")
    shown = "-" if acts is None else "alone" if acts else "proposes"
    brier = rule.get("brier")
    scored = "-" if brier is None else f"{brier:.2f}"
    categories = ", ".join(rule["categories"])[:60]
    return [
        rule["id"], rule["kind"], rule["status"], rule["origin"], shown, rule["record"] or "-", scored, categories
    ]  # fmt: skip


def _list_prototypes(place: Place, *, as_json: bool) -> None:
    found = rule_files.load_prototypes([place.home.rules]).prototypes
    if as_json:
        print_json({"prototypes": [{"category": p.category, "text": p.text, "origin": p.origin, "file": p.file,
                                    "line": p.line} for p in found]})  # fmt: skip
        return
    table([[p.category, p.origin, p.text] for p in found], ["category", "origin", "prototype"])


def _records(place: Place, kind: str) -> Iterator[dict[str, Any]]:
    from rsi.cli.show import reading

    loaded = rule_files.load(kind, [place.home.rules])  # type: ignore[arg-type]
    with reading(place) as conn:
        past = _past(conn) if kind == "fix" and conn is not None else {}
        for rule in loaded.rules:
            yield {
                "id": rule.id,
                "kind": kind,
                "status": rule.status,
                "origin": rule.origin,
                "categories": rule.categories if kind == "fix" else [rule.category],
                "precedence": rule.precedence,
                "record": None,
                "file": rule.file,
                **(_standing(rule, past, known=conn is not None) if kind == "fix" else {}),
            }


def _past(conn: Any) -> Mapping[str, Scored]:
    from rsi.fix import records
    from rsi.store import endings

    return records.count(endings.load(conn))


def _standing(rule: Any, past: Mapping[str, Scored], *, known: bool) -> dict[str, Any]:
    """What is counted of a rule for fixes, and what follows from it; advice has nothing to win."""
    from rsi.fix import records

    own = past.get(rule.id, records.Scored())
    said = records.standing(rule, own)
    changes, acts = rule.change is not None, said.acts and rule.safe
    unsafe = f"{rule.id} does not call its change safe" if said.acts and not rule.safe else said.sentence
    return {
        "record": f"{own.won} won, {own.lost} lost, {own.undecided} undecided" if known else None,
        "won": own.won,
        "lost": own.lost,
        "undecided": own.undecided,
        "confidence": round(records.confidence(rule.id, past), 4) if changes else None,
        "brier": None if own.brier is None else round(own.brier, 4),
        "scored": own.scored,
        "acts": acts if changes else None,
        "why": unsafe if changes and not acts else "",
    }


@rules.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@as_json
@place
def check(place: Place, paths: tuple[Path, ...], as_json: bool) -> None:
    """Are the rule files well-formed? Without paths: the built-in ones and the home's. Exit 1 if not.

    A rule that can do nothing (`retry` for a category that is never repeated) is a warning.

    \b
    Example:
      rsi rules check rules/
    """
    problems, warnings = rule_files.check(paths or _folders(place)), _warnings(paths or _folders(place))
    if as_json:
        print_json({"problems": [str(one) for one in problems], "warnings": [str(one) for one in warnings]})
    for problem in [] if as_json else problems:
        click.echo(styled(str(problem), fg="red"))
    for warning in [] if as_json else warnings:
        click.echo(styled(f"warning: {warning}", fg="yellow"))
    if problems:
        click.get_current_context().exit(1)
    if not as_json and not place.quiet:
        click.echo("all rules are well-formed")


def _warnings(paths: Sequence[Path]) -> list[rule_files.Problem]:
    from rsi.change import NEVER_RETRIED

    return rule_files.warnings(paths, dict.fromkeys(REPEATING, NEVER_RETRIED))


def _folders(place: Place) -> list[Path]:
    return [rule_files.builtin_dir(), *([place.home.rules] if place.home.rules.is_dir() else [])]


@rules.command("test")
@as_json
@place
def run_tests(place: Place, as_json: bool) -> None:
    """Run every X.test.yaml: what a rule must and must not match. Exit 1 if one fails.

    \b
    Example:
      rsi rules test
    """
    results = [result for kind in KINDS for result in rule_files.test(kind, [place.home.rules])]  # type: ignore[arg-type]
    failed = [problem for result in results for problem in result.failures]
    passed, total = sum(r.passed for r in results), sum(r.total for r in results)
    if as_json:
        print_json({"passed": passed, "total": total, "failures": [str(problem) for problem in failed]})
    else:
        for problem in failed:
            click.echo(styled(str(problem), fg="red"))
        click.echo(f"{passed} of {total} rule examples pass")
    if failed or not total:
        click.get_current_context().exit(1)
