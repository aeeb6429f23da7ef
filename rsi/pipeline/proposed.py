"""The folder `proposals/`: files are written for people, and what people decide in them is done.

A look costs one `lstat` per file; only a file that has changed since the last look is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rsi import clock
from rsi.errors import ConflictError, InvalidInputError, NotFoundError, RSIError
from rsi.fix import apply, binding, edited, proposals
from rsi.fix.edited import Decision, Said
from rsi.fix.proposals import Background
from rsi.rules import FixRule
from rsi.store import Store, fixes, issue_rows
from rsi.store.fixes import FixRow

WHO: Final = "person:proposal file"
LOOK_EVERY_S: Final = 1.0
"""A person does not notice it, and a busy daemon runs twenty cycles a second."""

log = logging.getLogger("rsi.pipeline")


class Stamp(NamedTuple):
    """What of a file changes when somebody saves it, also by replacing it."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int


class Proposed:
    """Writes proposals and reads decisions; used by one thread at a time.

    Args:
        folder: `proposals/` of the home.
        store: to look fixes up.
        decide: `decide(ref, decision, digest)` does what `rsi approve` or `rsi reject` does.
    """

    def __init__(self, folder: Path, store: Store, decide: Callable[[str, Decision, str], object]) -> None:
        self._folder = folder
        self._store = store
        self._decide = decide
        self._stamps: dict[str, Stamp] = {}
        self._unclear: dict[str, Stamp] = {}
        self._wrong: dict[str, str] = {}
        self._notes: dict[str, tuple[str, str]] = {}  # by fix: its state then, and what its file says of an edit
        self._look_at = float("-inf")
        self._written_until = 0.0
        self._written: dict[int, FixRow] = {}

    def sentences(self) -> list[str]:
        """What was refused and why, one sentence a file."""
        return [f"proposals/{name}" for name in self._wrong.values()]

    # --- what people decided

    def look(self, rules: Mapping[str, FixRule], *, rest: bool = False) -> int:
        """Do what was decided in files that have changed; how many decisions were carried out.

        Args:
            rules: by id, for the text of a file that has to be answered.
            rest: not more than once a second.
        """
        if rest and clock.monotonic() < self._look_at:
            return 0
        self._look_at = clock.monotonic() + LOOK_EVERY_S
        found = self._scan()
        for gone in self._wrong.keys() - found.keys():
            del self._wrong[gone]
        changed = [name for name, stamp in found.items() if self._stamps.get(name) != stamp]
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in found}
        return sum(self._look_into(name, found[name], rules) for name in sorted(changed))

    def _scan(self) -> dict[str, Stamp]:
        try:
            paths = [path for path in self._folder.iterdir() if path.suffix == ".md" and path.name[:1] != "."]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        found = {}
        for path in paths:
            try:
                facts = path.lstat()
            except FileNotFoundError:
                continue
            found[path.name] = Stamp(facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino)
        return found

    def _look_into(self, name: str, stamp: Stamp, rules: Mapping[str, FixRule]) -> bool:
        """Whether a decision was carried out. What is unclear may be half typed: it is answered at the next look."""
        fix: FixRow | None = None
        try:
            said = edited.parse(edited.read(self._folder / name))
            fix = self._fix(name, said)
            done = said is not None and fix is not None and self._carry_out(said, fix)
        except FileNotFoundError:
            return False
        except (RSIError, OSError) as error:
            self._refuse(name, str(error))
            if isinstance(error, InvalidInputError) and self._unclear.pop(name, None) != stamp:
                self._unclear[name] = stamp
                return False
            self._stamps[name] = stamp
            if fix is not None:
                self._answer(fix, rules, str(error))
            return False
        self._wrong.pop(name, None)
        self._unclear.pop(name, None)
        self._stamps[name] = stamp
        return done

    def _fix(self, name: str, said: Said | None) -> FixRow | None:
        """The fix that a file is about; `None` where it decides nothing."""
        if said is None or not said.id or not said.state:
            return None
        try:
            with self._store.read() as conn:
                fix = fixes.get(conn, fixes.number(said.id))
        except NotFoundError as error:
            if said.decision is None:
                return None
            raise NotFoundError(f"{name}: {error}") from error
        if proposals.path_of(self._folder, fix).name == name:
            return fix
        if said.decision is not None and fix.state == "proposed":
            own = proposals.path_of(self._folder, fix).name
            raise ConflictError(f"{name}: not the file of {fix.ref}; decide in {own}")
        return None

    def _carry_out(self, said: Said, fix: FixRow) -> bool:
        """Do what the person said, if it is about this fix as it is.

        Raises:
            InvalidInputError, ConflictError: a word that decides nothing; another change; nothing to decide any more.
        """
        name = proposals.path_of(self._folder, fix).name
        if said.state in (fix.state, "proposed"):
            return False
        decision = said.decision
        if decision is None:
            raise InvalidInputError(f"{name}: state: {said.state[:40]!r} decides nothing; {edited.ALLOWED}")
        if decision == "approve" and apply.approval(fix) is not None:
            return False
        if fix.state != "proposed":
            raise ConflictError(f"{name}: stale: {fix.ref} is {fix.state}, only what is proposed is decided here")
        if said.digest != binding.short(fix):
            raise ConflictError(
                f"{name}: stale: the change is another than the one that this was said about; look again"
            )
        self._decide(fix.ref, decision, said.digest)
        return True

    def _refuse(self, name: str, why: str) -> None:
        sentence = why if why.startswith(name) else f"{name}: {why}"
        if self._wrong.get(name) != sentence:
            log.warning("proposals/%s", sentence)
        self._wrong[name] = sentence

    def _answer(self, fix: FixRow, rules: Mapping[str, FixRule], note: str) -> None:
        """The file as it was, with a line that says why."""
        self._notes[fix.ref] = (fix.state, note)
        with self._store.read() as conn:
            row = issue_rows.load(conn, [fix.issue]).get(fix.issue)
        proposals.write(self._folder, fix, _background(rules.get(fix.rule), row), note=note, answer=True)

    # --- what people read

    def write(self, rules: Mapping[str, FixRule]) -> int:
        """Files of the fixes that changed since the last time; all of them after a start. How many were written."""
        with self._store.read() as conn:
            found = {fix.id: fix for fix in fixes.updated_since(conn, self._written_until)}
            changed = [fix for fix in found.values() if self._written.get(fix.id) != fix]
            rows = issue_rows.load(conn, {fix.issue for fix in changed}) if changed else {}
        written = 0
        for fix in changed:
            background = _background(rules.get(fix.rule), rows.get(fix.issue))
            written += proposals.write(self._folder, fix, background, note=self._note(fix))
        if changed:
            self._written_until = max(fix.updated for fix in changed)
            self._written = {key: fix for key, fix in found.items() if fix.updated >= self._written_until}
        return written

    def _note(self, fix: FixRow) -> str:
        """What its file says of an edit, until the fix has moved on."""
        state, note = self._notes.get(fix.ref, ("", ""))
        if state and state != fix.state:
            del self._notes[fix.ref]
        return note if state == fix.state else ""


def _background(rule: FixRule | None, row: issue_rows.IssueRow | None) -> Background:
    return Background(
        title=row.title if row else "",
        samples=row.samples if row else (),
        why=rule.why if rule else "",
        suggest=rule.suggest if rule else "",
    )
