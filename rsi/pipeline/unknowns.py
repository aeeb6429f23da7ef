"""What no rule decides for sure is compared with prototypes, once per issue and new template of it.

And once more for other rules or prototypes. What is asked is what an issue's templates have in common, so that
`failed to notify alice` and `failed to notify bobby` cannot get two answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from rsi.analyze.prototype import MOST, decide, subject, wordings
from rsi.rules import PrototypeSet
from rsi.store import Store, fingerprints, postponed, recategorize, rulings
from rsi.store.fingerprints import Interned
from rsi.store.recategorize import Answer, Open, Recategorized
from rsi.worker import Worker

AT_ONCE: Final = 256
"""Templates of one request: what the worker takes in one piece."""
ONE_FAULT: Final = "prototype: of another wording of the same fault"


def of_one_mind(conn: Connection, answers: Mapping[int, Answer], weak: Collection[str]) -> dict[int, Answer]:
    """One fault has one category, in whatever wording: what put an issue together outweighs what it resembles.

    A sure rule that decided one of an issue's templates decided all of them, and no resemblance parts them. Else what
    is said of some of them, if it is one thing, is said of those as well that resemble nothing.
    """
    found = fingerprints.by_id(conn, answers)
    agreed: dict[int, Answer] = {}
    for cluster in {one.cluster for one in found.values()}:
        held = fingerprints.of_cluster(conn, cluster)
        said = {one.id: answers[one.id] for one in held if one.id in answers}
        if any(_surely(one, weak) for one in held):
            continue
        named = {answer.category for answer in said.values()}
        if len(named) == 1:
            because = next(iter(said.values()))._replace(why=ONE_FAULT)
            others = (one for one in held if not recategorize.by_prototype(one.classified_by))
            said = {one.id: because._replace(by=recategorize.over(one.category)) for one in others} | said
        agreed |= said
    return agreed


def _surely(one: Interned, weak: Collection[str]) -> bool:
    """A rule decided this template, and it is not one that may be overruled."""
    return (
        one.category != recategorize.UNKNOWN
        and not recategorize.by_prototype_alone(one.classified_by)
        and one.classified_by not in weak
    )


class Unknowns:
    """Asks the worker about templates that are `unknown` or only weakly decided, oldest first.

    The answers and how far it came are one transaction: a crash before it asks again, one behind it does not.
    What an issue is called does not change while a fix of it is being tried: then its answers wait.
    """

    def __init__(self, store: Store, worker: Worker, prototypes: PrototypeSet, weak: frozenset[str]) -> None:
        self._store = store
        self._worker = worker
        self._prototypes = prototypes
        self._weak = weak

    def _rules(self, conn: Connection) -> tuple[frozenset[str], str]:
        """The rules that may be overruled by now, and a name for them and the prototypes."""
        ruled = rulings.ruled(conn)
        weak = self._weak if ruled is None or ruled.weak is None else frozenset(ruled.weak)
        rules = hashlib.blake2b("\n".join(sorted(weak)).encode(), digest_size=4).hexdigest()
        return weak, f"{self._prototypes.key}-{rules}"

    def once(self) -> list[Recategorized] | None:
        """One request: the issues that changed; `None` if there is nothing to ask.

        Raises:
            WorkerError: no answer; nothing was changed.
        """
        if not self._prototypes.prototypes:
            return None
        with self._store.read() as conn:
            weak, key = self._rules(conn)
            new = recategorize.unasked(conn, key, weak, AT_ONCE)
            waited = bool(postponed.ready(conn, key))
            asked = self._asked(conn, new, weak) if new else []
        if not new and not waited:
            return None
        answers = self._ask(asked) if asked else {}

        def job(conn: Connection) -> list[Recategorized]:
            agreed = of_one_mind(conn, answers, weak)
            changed = recategorize.recategorize(conn, postponed.settle(conn, key, agreed))
            if new:
                recategorize.asked(conn, key, new[-1].id)
            return changed

        return self._store.write(job)

    def waited(self) -> bool:
        """Whether an answer waited for a trial that is over."""
        with self._store.read() as conn:
            return bool(postponed.ready(conn, self._rules(conn)[1]))

    def _asked(self, conn: Connection, new: Sequence[Open], weak: Collection[str]) -> list[tuple[Interned, str]]:
        """The templates of the issues of these that no rule decides for sure, and by what each is compared."""
        found = fingerprints.by_id(conn, [one.id for one in new])
        asked: list[tuple[Interned, str]] = []
        for cluster in dict.fromkeys(one.cluster for one in found.values()):
            held = fingerprints.of_cluster(conn, cluster)
            if any(_surely(one, weak) for one in held):
                continue
            members = [one for one in held if not recategorize.by_prototype(one.classified_by)][-MOST:]
            asked += zip(members, wordings([subject(one.template, one.error_type) for one in members]), strict=True)
        return asked

    def _ask(self, asked: Sequence[tuple[Interned, str]]) -> Mapping[int, Answer]:
        reply = self._worker.resemble([text for _, text in asked], self._prototypes)
        answers: dict[int, Answer] = {}
        for (one, text), like in zip(asked, reply.found, strict=True):
            choice = decide(text, like, one.category)
            if choice is not None:
                answers[one.id] = Answer(choice.category.name, choice.why, recategorize.over(one.category))
        return answers
