"""`rsi classify`, the dry run of analysis: rules, then prototypes, then what belongs together; nothing is stored."""

from __future__ import annotations

import io
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

import click
import msgspec

from rsi import rules
from rsi.cli.options import Place, place
from rsi.errors import WorkerError
from rsi.model import Category, Fingerprint

if TYPE_CHECKING:  # loaded when they are needed
    from sqlalchemy import Connection

    from rsi.worker import Resemblance

REMEMBERED: Final = 1 << 15
"""Lines that are answered again without masking them: a log repeats itself."""


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
    """One line of output. `cluster`: an issue of this home, or `new-<fingerprint>` of its first member."""

    category: str
    confidence: float
    by: str
    fingerprint: str
    template: str
    cluster: str


class Refused(msgspec.Struct, frozen=True):
    """The answer to a line that cannot be read, in its place."""

    error: str


_Key = tuple[str, str]  # category and hash: what names a template in a home


class _Known(NamedTuple):
    """What was found out about texts of one template, category, type, status and provider."""

    category: Category
    mark: Fingerprint

    @property
    def key(self) -> _Key:
        return self.category.name, self.mark.hash


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@place
def classify(place: Place, files: tuple[str, ...]) -> None:
    """What would these errors be? JSONL in, JSONL out, in order; nothing is stored.

    Each line is a JSON string, or an object with text (or error), error_type, status, provider. The answer is
    category, confidence, by (rule:ID, prototype, or none), fingerprint, template, cluster: the issue that this home has
    for it, else new-FINGERPRINT of the first line that belongs with it. A line that cannot be read is answered by
    {"error": …} in its place, and the exit code is 1. Input is read to its end first. Rules decide; only where
    they are not sure the analysis worker is started to compare with prototypes.

    \b
    Example:
      echo '"429 Too Many Requests"' | rsi classify -
    """
    dry = _Dry(place)
    lines = [dry.take(found) if isinstance(found, Text) else found for found in _texts(files)]
    answers = dry.answers()
    for line in lines:
        click.echo(msgspec.json.encode(answers[line] if isinstance(line, int) else line))
    if any(isinstance(line, Refused) for line in lines):
        click.get_current_context().exit(1)


class _Dry:
    """Takes lines one by one, answers them all at once.

    As in the pipeline, each text has the category that the rules give it, and what resembles prototypes is decided for
    all wordings of one fault.
    """

    def __init__(self, place: Place) -> None:
        from rsi.classify import for_home
        from rsi.redact import Redactor

        self._place = place
        self._decide = for_home(place.home.path)
        self._redact = Redactor(place.config.redact.extra).text
        self._ruled: dict[Hashable, Category] = {}
        self._known: list[_Known] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self.take = lru_cache(REMEMBERED)(self._take)

    def _take(self, found: Text) -> int:
        """The number of its answer."""
        from rsi.analyze import fingerprint

        text = self._redact(found.text or "")
        asked = found.error_type, found.status, found.provider
        one = _Known(self._category(text, *asked), fingerprint(text, found.error_type))
        number = self._numbers.setdefault((*one.key, *asked), len(self._known))
        if number == len(self._known):
            self._known.append(one)
        return number

    def _category(self, text: str, error_type: str | None, status: int | None, provider: str | None) -> Category:
        """What the rules say of this very text: its template has lost what some of them read."""
        key = self._decide.key(text)
        if key is None:
            return self._decide(text, error_type, status, provider)
        whole = key, error_type, status, provider
        if whole not in self._ruled:
            self._ruled[whole] = self._decide(text, error_type, status, provider)
        return self._ruled[whole]

    def answers(self) -> list[Classified]:
        """By number."""
        from rsi.cli.show import reading

        with reading(self._place) as conn:
            self._remember(conn)
            self._compare()
            clusters = _clusters(conn, self._known)
        return [
            Classified(
                one.category.name, one.category.confidence, one.category.by, one.mark.hash, one.mark.template,
                clusters[one.key],
            )
            for one in self._known
        ]  # fmt: skip

    def _remember(self, conn: Connection | None) -> None:
        """What this home's prototypes have decided already."""
        from rsi.analyze.prototype import open_to, remembered
        from rsi.store import recategorize

        asked = {at: one.key for at, one in enumerate(self._known) if open_to(one.category)}
        there = recategorize.remembered(conn, set(asked.values())) if conn is not None else {}
        for at, key in asked.items():
            if key in there:
                self._known[at] = self._known[at]._replace(category=remembered(there[key]))

    def _compare(self) -> None:
        """What no rule decides for sure, with the prototypes, in a worker; if that fails it stays as it is."""
        from rsi.analyze.prototype import decide

        faults = _open(self._known)
        asked = [pair for held in faults for pair in _asked(held)]
        if not asked:
            return
        try:
            reply = _resemblance(self._place, [text for _, text in asked])
        except WorkerError as error:
            click.echo(f"rsi: {len(asked)} texts stay as rules left them, no prototype was asked: {error}", err=True)
            return
        said: dict[_Key, Category] = {}
        for (one, text), like in zip(asked, reply.found, strict=True):
            choice = decide(text, like, one.category.name)
            if choice is not None:
                said[one.key] = choice.category
        for held in faults:
            said |= _of_one_mind(held, said)
        self._known = [one._replace(category=said.get(one.key, one.category)) for one in self._known]


def _open(known: Iterable[_Known]) -> list[list[_Known]]:
    """The templates of each fault of which no rule and no prototype has decided any."""
    from rsi.analyze.prototype import BY, open_to

    distinct: dict[_Key, _Known] = {}
    for one in known:
        distinct.setdefault(one.key, one)
    faults = [[distinct[key] for key in keys] for keys in _groups(distinct.values())]
    return [held for held in faults if all(open_to(one.category) and one.category.by != BY for one in held)]


def _asked(held: Sequence[_Known]) -> Iterable[tuple[_Known, str]]:
    """The templates of one fault that are compared, and by what."""
    from rsi.analyze.prototype import MOST, subject, wordings

    newest = held[-MOST:]
    return zip(newest, wordings([subject(one.mark.template, one.mark.error_type) for one in newest]), strict=True)


def _of_one_mind(held: Sequence[_Known], said: Mapping[_Key, Category]) -> dict[_Key, Category]:
    """What prototypes say of some wordings of one fault, if it is one thing, is said of all."""
    answers = [said[one.key] for one in held if one.key in said]
    named = {answer.name for answer in answers}
    return {one.key: said.get(one.key, answers[0]) for one in held} if len(named) == 1 else {}


def _resemblance(place: Place, texts: Sequence[str]) -> Resemblance:
    from rsi.worker import Worker

    state = place.home.state  # what was learned is kept where a home has been prepared
    with Worker(env={"RSI_WORKER_AWAITED": "1"}, keep=state if state.is_dir() else None) as worker:
        return worker.resemble(texts, rules.load_prototypes([place.home.rules]))


def _clusters(conn: Connection | None, known: Sequence[_Known]) -> dict[_Key, str]:
    """(category, hash) → the home's issue, that of something it belongs with, or a name after the first such."""
    from rsi.store import fingerprints

    distinct = {one.key: one for one in known}
    home = (
        {key: f"i{one.cluster}" for key, one in fingerprints.find(conn, distinct).items()} if conn is not None else {}
    )
    named: dict[_Key, str] = {}
    for members in _groups(distinct.values()):
        name = next((home[key] for key in members if key in home), f"new-{members[0][1]}")
        named |= {key: home.get(key, name) for key in members}
    return named


def _groups(known: Iterable[_Known]) -> list[list[_Key]]:
    """What belongs together, by category and hash, in the order it came in."""
    from rsi.analyze.cluster import Item
    from rsi.analyze.grouping import group

    held = list(known)
    items = [Item(str(at), one.category.name, one.mark.template, one.mark.error_type) for at, one in enumerate(held)]
    return [[held[at].key for at in sorted(map(int, together.ids))] for together in group(items)]


def _texts(files: Iterable[str]) -> Iterator[Text | Refused]:
    for name in files:
        if name == "-":
            yield from _lines(name, io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace"))
        else:
            with Path(name).open(encoding="utf-8-sig", errors="replace") as file:
                yield from _lines(name, file)


def _lines(name: str, file: TextIO) -> Iterator[Text | Refused]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            found = _READ.decode(line)
        except msgspec.DecodeError as error:
            yield Refused(f"{name}:{number}: expected a JSON string or an object with `text`: {error}")
            continue
        yield Text(text=found) if isinstance(found, str) else found.flat()


_READ: Final = msgspec.json.Decoder(str | Text)
