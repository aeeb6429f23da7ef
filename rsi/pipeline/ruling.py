"""When the classification rules have changed, the stored templates are judged again, each by its newest text.

Only then does it cost anything, and then once per template. Whole issues at a time, each slice one transaction with how
far it went: a crash goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from rsi.analyze.observe import NOT_A_FAILURE
from rsi.analyze.prototype import SURE, open_to
from rsi.classify import Classifier
from rsi.model import Category
from rsi.rules import ClassifyRule
from rsi.store import Store, fingerprints, issues, outcomes, postponed, recategorize, rulings
from rsi.store.fingerprints import Interned
from rsi.store.recategorize import DECIDES, SILENT, UNKNOWN, Answer, Recategorized
from rsi.store.rulings import Ruled

AT_ONCE: Final = 200
"""Issues of one slice: some 50 ms of the writer where every one of them changes."""


def key_of(rules: Sequence[ClassifyRule]) -> str:
    """What these rules decide by; where they lie and what is said about them makes no difference."""
    said = sorted(
        msgspec.json.encode((rule.id, rule.category, rule.precedence, rule.confidence, rule.status, rule.match))
        for rule in rules
    )
    return hashlib.blake2b(b"\n".join(said), digest_size=8).hexdigest()


class Ruling:
    """Goes through the store once after its rules have changed; where a fix is being tried, when that is over.

    Args:
        store: open for writing.
        classifier: the rules that hold now.
        key: their `key_of`.
        again: hears of issues (numbers) whose templates have another category now.
    """

    def __init__(
        self, store: Store, classifier: Classifier, key: str, again: Callable[[set[int]], None] = lambda _: None
    ) -> None:
        self._store = store
        self._again = again
        self.use(classifier, key)

    def use(self, classifier: Classifier, key: str) -> None:
        """Other rules hold now."""
        self._classifier = classifier
        self._key = key
        self._weak = classifier.weaker_than(SURE)
        self._done = False

    def run(self) -> list[Recategorized]:
        """Everything that is left to go through; the issues that changed.

        Raises:
            StoreError: the store cannot be read or written; the next call goes on.
        """
        changed: list[Recategorized] = []
        self._rests = False
        while not (self._done or self._rests):
            changed += self._slice()
        if changed:
            self._again({issues.number(one.issue) for one in changed})
        return changed

    def _slice(self) -> list[Recategorized]:
        with self._store.read() as conn:
            state = rulings.ruled(conn)
            if state is not None and state.key == self._key:
                clusters = [] if state.up_to is None else rulings.clusters_behind(conn, state.up_to, AT_ONCE)
                free, busy = self._parted(conn, state.waiting)
                if state.up_to is None and not free:
                    self._done = not busy
                    self._rests = True
                    return []
                answers = {key: one for at in (*clusters, *free) for key, one in self._answers(conn, at).items()}
        if state is None or state.key != self._key:
            self._store.write(lambda conn: rulings.begin(conn, self._key, self._weak))
            return []
        went = replace(state, up_to=clusters[-1] if clusters else None, waiting=busy)
        return self._store.write(lambda conn: _apply(conn, answers, went))

    def _parted(self, conn: Connection, waiting: Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
        """Of templates that wait: the issues (numbers) that need not any more, and the templates that still do."""
        tried = postponed.tried(conn) if waiting else set()
        held = fingerprints.by_id(conn, waiting) if waiting else {}
        free = sorted({one.cluster for one in held.values() if one.cluster not in tried})
        return free, tuple(key for key, one in held.items() if one.cluster in tried)

    def _answers(self, conn: Connection, cluster: int) -> Mapping[int, Answer]:
        """What the rules say now of the templates of an issue; empty where they say what they said.

        A template of which no text is kept goes with the others, if they agree.
        """
        held = fingerprints.of_cluster(conn, cluster)
        found = {one.id: answer for one in held if (answer := self._answer(conn, one)) is not None}
        if all(found[one.id].category == one.category for one in held if one.id in found):
            return {}
        if len({one.category for one in found.values()}) == 1:
            whole = next(iter(found.values()))
            found = {one.id: found.get(one.id, whole) for one in held}
        return found

    def _answer(self, conn: Connection, one: Interned) -> Answer | None:
        """None where there is no text, or where prototypes decide."""
        ruled = self._ruled(conn, one)
        if ruled is None or (ruled.name == NOT_A_FAILURE != one.category):
            return None
        if open_to(ruled) and recategorize.by_prototype(one.classified_by):
            return None
        why = f"{ruled.by}{DECIDES}" if ruled.name != UNKNOWN else "no rule decides it any more"
        severity = self._classifier.severity(ruled)
        return Answer(ruled.name, why, ruled.by, severity)

    def _ruled(self, conn: Connection, one: Interned) -> Category | None:
        newest = next(iter(outcomes.samples(conn, [one.id], 1)), None)
        if newest is None or one.template.startswith(SILENT):
            return None
        outcome = newest.outcome
        text = outcome.error or outcome.stack or ""
        return self._classifier(text, outcome.error_type, outcome.error_status, outcome.provider)


def _apply(conn: Connection, answers: Mapping[int, Answer], went: Ruled) -> list[Recategorized]:
    now, later = postponed.parted(conn, answers)
    changed = recategorize.recategorize(conn, now)
    for key, answer in now.items():
        if answer.category == UNKNOWN:
            recategorize.ask_again(conn, key)
    rulings.put(conn, replace(went, waiting=tuple(sorted({*went.waiting, *later}))))
    return changed
