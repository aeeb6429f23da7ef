"""`rsi rules list|check|test`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rsi import rules as rule_files
from rsi.cli.options import Place, as_json, place, print_json, styled, table

KINDS = ("classify", "fix")
PROTOTYPES = "prototypes"


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
    rows = [
        [r["id"], r["kind"], r["status"], r["origin"], r["record"] or "-", ", ".join(r["categories"])[:60]]
        for r in found
    ]
    table(rows, ["id", "kind", "status", "origin", "record", "categories"])


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
        for rule in loaded.rules:
            yield {
                "id": rule.id,
                "kind": kind,
                "status": rule.status,
                "origin": rule.origin,
                "categories": rule.categories if kind == "fix" else [rule.category],
                "precedence": rule.precedence,
                "record": _record(conn, rule.id) if kind == "fix" and conn is not None else None,
                "file": rule.file,
            }


def _record(conn: Any, rule: str) -> str:
    from rsi.store import fixes

    found = fixes.record(conn, rule)
    return f"{found.won} won, {found.lost} lost, {found.undecided} undecided"


@rules.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@as_json
@place
def check(place: Place, paths: tuple[Path, ...], as_json: bool) -> None:
    """Are the rule files well-formed? Without paths: the built-in ones and the home's. Exit 1 if not.

    \b
    Example:
      rsi rules check rules/
    """
    problems = rule_files.check(paths or _folders(place))
    if as_json:
        print_json({"problems": [str(problem) for problem in problems]})
    for problem in [] if as_json else problems:
        click.echo(styled(str(problem), fg="red"))
    if problems:
        click.get_current_context().exit(1)
    if not as_json and not place.quiet:
        click.echo("all rules are well-formed")


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
