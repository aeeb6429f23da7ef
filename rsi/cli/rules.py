"""`rsi classify` (the dry run of analysis) and `rsi rules list|check|test`."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from rsi import rules as rule_files
from rsi.cli.options import Place, as_json, place, print_json, styled, table
from rsi.errors import InvalidInputError

KINDS = ("classify", "fix")


class Failed(msgspec.Struct, frozen=True):
    """`error` as an outcome may have it."""

    message: str | None = None
    type: str | None = None
    status: int | None = None


class Text(msgspec.Struct, frozen=True):
    """One line of input: what `classify` takes; `error` is another word for `text`, or an outcome's object."""

    text: str | None = None
    error: str | Failed | None = None
    error_type: str | None = None
    status: int | None = None
    provider: str | None = None

    def flat(self) -> Text:
        """The same with `text`, `error_type` and `status` taken from `error` where they are not said."""
        error = self.error if isinstance(self.error, Failed) else Failed(message=self.error)
        return Text(
            text=self.text or error.message or "",
            error_type=self.error_type or error.type,
            status=self.status if self.status is not None else error.status,
            provider=self.provider,
        )


class Classified(msgspec.Struct, frozen=True):
    """One line of output. `cluster` is the issue that this home already has for it, if any."""

    category: str
    confidence: float
    by: str
    fingerprint: str
    template: str
    cluster: str | None = None


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@place
def classify(place: Place, files: tuple[str, ...]) -> None:
    """What would these errors be? JSONL in, JSONL out, in order; nothing is stored.

    Each line is a JSON string, or an object with text (or error), error_type, status, provider.

    \b
    Example:
      echo '"429 Too Many Requests"' | rsi classify -
    """
    from rsi.analyze import fingerprint
    from rsi.classify import Classifier
    from rsi.redact import Redactor

    decide = Classifier(rule_files.load("classify", [place.home.rules]).rules)
    redactor = Redactor(place.config.redact.extra)
    with _known(place) as issue_of:
        for found in _texts(files):
            text = redactor.text(found.text or "")
            category = decide(text, found.error_type, found.status, found.provider)
            mark = fingerprint(text, found.error_type)
            answer = Classified(
                category.name, category.confidence, category.by, mark.hash, mark.template,
                issue_of(category.name, mark.hash),
            )  # fmt: skip
            click.echo(msgspec.json.encode(answer))


@contextlib.contextmanager
def _known(place: Place) -> Iterator[Callable[[str, str], str | None]]:
    """Which issue of the home a fingerprint belongs to: (category, hash) → id."""
    from rsi.cli.show import reading
    from rsi.store import fingerprints

    with reading(place) as conn:

        def issue_of(category: str, hashed: str) -> str | None:
            found = fingerprints.find(conn, [(category, hashed)]) if conn is not None else {}
            return f"i{found[category, hashed].cluster}" if found else None

        yield issue_of


def _texts(files: Iterable[str]) -> Iterator[Text]:
    for name in files:
        if name == "-":
            yield from _lines(name, io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace"))
        else:
            with Path(name).open(encoding="utf-8-sig", errors="replace") as file:
                yield from _lines(name, file)


def _lines(name: str, file: TextIO) -> Iterator[Text]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line, type=str | Text)
        except msgspec.DecodeError as error:
            message = f"{name}:{number}: expected a JSON string or an object with `text`: {error}"
            raise InvalidInputError(message) from error
        yield Text(text=found) if isinstance(found, str) else found.flat()


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
@click.option("--kind", type=click.Choice(KINDS), help="One kind only.")
@as_json
@place
def list_rules(place: Place, kind: str | None, as_json: bool) -> None:
    """Every rule that is in force here, with its status and its record.

    \b
    Example:
      rsi rules list --kind fix
    """
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
