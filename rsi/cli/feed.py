"""`rsi observe` and `rsi ingest`: hand outcomes in, to the daemon or straight into the home."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from pathlib import Path
from typing import Any, Final, Self

import click
import msgspec

from rsi.cli.options import Place, as_json, harmless, place, print_json
from rsi.cli.remote import RefusedError, Remote, running
from rsi.errors import InvalidInputError, RSIError
from rsi.model import Batch, Receipt, Rejected

#: Outcomes per request: large enough for the group commit, small enough for a moving progress bar.
SLICE: Final = 500
GZIP: Final = b"\x1f\x8b"


@click.command()
@click.argument("task")
@click.option("--ok", is_flag=True, help="It worked.")
@click.option("--fail", is_flag=True, help="It did not.")
@click.option("--error", help="The error text; - reads it from standard input.")
@click.option("--source", help="Which agent (default: $RSI_SOURCE, else the home's name).")
@click.option("--kind", type=click.Choice(["task", "step", "tool", "llm"]), default="task", show_default=True)
@click.option("--id", "ident", help="Your own id: the same id is one outcome however often sent.")
@click.option("--duration-ms", type=click.FloatRange(min=0))
@click.option("--model")
@as_json
@place
def observe(place: Place, *, task: str, ok: bool, fail: bool, error: str | None, as_json: bool, **given: Any) -> None:
    """Report one outcome: --ok or --fail.

    \b
    Example:
      rsi observe search --fail --error "429 Too Many Requests"
      tail -1 err.log | rsi observe build --fail --error -
    """
    if ok == fail:
        raise click.UsageError("say how it ended: --ok or --fail")
    item: dict[str, Any] = {"task": task, "success": ok, "id": given.pop("ident"), **given}
    item["source"] = item.get("source") or os.environ.get("RSI_SOURCE") or place.home.path.name
    item["error"] = sys.stdin.read() if error == "-" else error
    line = msgspec.json.encode({key: value for key, value in item.items() if value is not None})
    with _Feeder(place) as feeder:
        receipt = feeder.send([line])
    _answer(place, receipt, as_json=as_json)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@as_json
@place
def ingest(place: Place, files: tuple[str, ...], as_json: bool) -> None:
    """Take outcomes from JSON, JSONL or NDJSON files (also .gz); - is standard input.

    \b
    Example:
      rsi ingest runs.jsonl.gz
      my-exporter | rsi ingest -
    """
    total = Receipt()
    with _Feeder(place) as feeder:
        for name in files:
            lines = _lines(name)
            shown = sys.stderr.isatty() and not place.quiet and not as_json
            with click.progressbar(length=len(lines), label=name, file=sys.stderr, hidden=not shown) as bar:
                for start in range(0, len(lines), SLICE):
                    part = lines[start : start + SLICE]
                    total = _add(total, feeder.send(part), offset=start)
                    bar.update(len(part))
    _answer(place, total, as_json=as_json)


def _lines(name: str) -> list[bytes]:
    """The outcomes of one file, each as a line of JSON (or of what should have been JSON)."""
    raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    if raw.startswith(GZIP) or name.endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInputError(f"{name}: not readable as gzip: {error}; nothing of it was taken") from error
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return [line for line in raw.splitlines() if line.strip()]
    return [msgspec.json.encode(item) for item in (found if isinstance(found, list) else [found])]


class _Feeder:
    """To the daemon if one runs, else into the home directly (opened once)."""

    def __init__(self, place: Place) -> None:
        self._remote: Remote | None = running(place.home)
        self._place = place
        self._loop: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.run_cycle()
            self._loop.close()

    def send(self, lines: list[bytes]) -> Receipt:
        body = b"\n".join(lines)
        if self._remote is not None:
            return self._post(body, len(lines))
        if self._loop is None:
            from rsi.embedded import RSILoop

            self._loop = RSILoop(self._place.home.path)
        receipt: Receipt = self._loop.ingest(Batch(door="cli", body=body, ndjson=True))
        return receipt

    def _post(self, body: bytes, count: int) -> Receipt:
        if self._remote is None:
            raise RSIError("no daemon")
        try:
            return msgspec.convert(self._remote.send("/v1/outcomes", body, "application/x-ndjson"), Receipt)
        except RefusedError as error:
            found = error.answer.get("rejected") or [{"index": i, "error": str(error)} for i in range(count)]
            return Receipt(rejected=msgspec.convert(found, list[Rejected]))


def _add(a: Receipt, b: Receipt, offset: int) -> Receipt:
    return Receipt(
        accepted=a.accepted + b.accepted,
        duplicates=a.duplicates + b.duplicates,
        rejected=a.rejected + [Rejected(r.index + offset, r.error) for r in b.rejected],
        ids=a.ids + b.ids,
    )


def _answer(place: Place, receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        print_json(receipt)
    elif not place.quiet:
        where = "" if running(place.home) else f" into {place.home.path} (no daemon runs there)"
        done = f"{receipt.accepted} accepted, {receipt.duplicates} duplicates, {len(receipt.rejected)} rejected"
        click.echo(done + where)
    for rejected in receipt.rejected if not as_json else []:
        click.echo(f"rejected {rejected.index}: {harmless(rejected.error)}", err=True)
    if receipt.rejected:
        click.get_current_context().exit(1)
