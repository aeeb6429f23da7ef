"""What no rule decides for sure is compared with prototypes, once per template, set of rules and of prototypes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from rsi.analyze.prototype import decide, subject
from rsi.rules import PrototypeSet
from rsi.store import Store, recategorize
from rsi.store.recategorize import Answer, Open, Recategorized
from rsi.worker import Worker

AT_ONCE: Final = 256
"""Templates of one request: what the worker takes in one piece."""


class Unknowns:
    """Asks the worker about templates that are `unknown` or only weakly decided, oldest first.

    The answers and how far it came are one transaction: a crash before it asks again, one behind it does not.
    """

    def __init__(self, store: Store, worker: Worker, prototypes: PrototypeSet, weak: frozenset[str]) -> None:
        self._store = store
        self._worker = worker
        self._prototypes = prototypes
        self._weak = weak
        rules = hashlib.blake2b("\n".join(sorted(weak)).encode(), digest_size=4).hexdigest()
        self._key = f"{prototypes.key}-{rules}"

    def once(self) -> list[Recategorized] | None:
        """One request: the issues that changed; `None` if there is nothing to ask.

        Raises:
            WorkerError: no answer; nothing was changed.
        """
        if not self._prototypes.prototypes:
            return None
        with self._store.read() as conn:
            new = recategorize.unasked(conn, self._key, self._weak, AT_ONCE)
        if not new:
            return None
        answers = self._ask(new)

        def job(conn: Connection) -> list[Recategorized]:
            changed = recategorize.recategorize(conn, answers)
            recategorize.asked(conn, self._key, new[-1].id)
            return changed

        return self._store.write(job)

    def _ask(self, new: Sequence[Open]) -> Mapping[int, Answer]:
        texts = [subject(one.template, one.error_type) for one in new]
        reply = self._worker.resemble(texts, self._prototypes)
        answers: dict[int, Answer] = {}
        for one, text, like in zip(new, texts, reply.found, strict=True):
            choice = decide(text, like, one.category)
            if choice is not None:
                answers[one.id] = Answer(choice.category.name, choice.why)
        return answers
