"""What a person wrote into the front matter of a proposal: `state:`, and which change it was said about. Nothing else.

The file is untrusted until it was read: no link is followed, nothing but a regular file of the home's owner is opened,
and of its front matter three lines are looked at. No YAML is loaded, nothing is ever run.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from rsi.errors import ForbiddenError, InvalidInputError, RSIError, TooLargeError

Decision: TypeAlias = Literal["approve", "reject"]

MAX_BYTES: Final = 256 * 1024
"""Ours have a few KiB; the limit of rule files."""
WORDS: Final[Mapping[str, Decision]] = {
    "approved": "approve",
    "approve": "approve",
    "rejected": "reject",
    "reject": "reject",
}
ALLOWED: Final = "write approved or rejected"
_FENCE: Final = "---"
_ROOT: Final = 0
_FIELD: Final = re.compile(r"""(id|digest|state)[ \t]*:[ \t]*(?:"([^"]*)"|'([^']*)'|([^\s#"']*))[ \t]*(?:[ \t]\#.*)?""")
_NAMED: Final = re.compile(r"""["']?(id|digest|state)["']?[ \t]*:""")
_LINE_END: Final = re.compile(r"\r\n?|\n")
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The three lines; empty where one is missing. `state` is in small letters."""

    id: str = ""
    digest: str = ""
    state: str = ""

    @property
    def decision(self) -> Decision | None:
        """What the person decided, if this is a decision."""
        return WORDS.get(self.state)


def read(path: Path) -> str:
    """The text of a proposal.

    Raises:
        FileNotFoundError: there is none.
        ForbiddenError: a link or no regular file, owned by somebody else than the home's owner (or root), or writable
            by everybody.
        TooLargeError, InvalidInputError: over 256 KiB; not UTF-8.
    """
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ForbiddenError(f"{path.name}: not read: {error.strerror}; a proposal is a plain file") from error
    with os.fdopen(fd, "rb") as file:
        _check(path, os.fstat(file.fileno()))
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TooLargeError(f"{path.name}: over {MAX_BYTES // 1024} KiB, no proposal of ours is")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path.name}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _check(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise ForbiddenError(f"{path.name}: not read: a proposal is a plain file")
    if not hasattr(os, "geteuid"):
        return
    if facts.st_uid not in (path.parent.parent.stat().st_uid, os.geteuid(), _ROOT):
        raise ForbiddenError(f"{path.name}: not read: it belongs to another user (uid {facts.st_uid}) than this home")
    if facts.st_mode & stat.S_IWOTH:
        raise ForbiddenError(f"{path.name}: not read: everybody may write to it; chmod o-w says that you mean it")


def parse(text: str) -> Said | None:
    """What the front matter says; `None` if there is no (whole) front matter.

    Raises:
        InvalidInputError: a line is there twice, or its value is no plain word.
    """
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    if not lines or lines[0].rstrip() != _FENCE:
        return None
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.rstrip() == _FENCE:
            return Said(id=found.get("id", ""), digest=found.get("digest", ""), state=found.get("state", "").lower())
        named = _NAMED.match(line)
        if named is None:
            continue
        field = _FIELD.fullmatch(line.rstrip())
        if field is None:
            raise InvalidInputError(
                f"{named[1]}: not understood, one plain word is expected; {ALLOWED}", field=named[1]
            )
        if field[1] in found:
            raise InvalidInputError(f"{field[1]}: it is there twice; {ALLOWED}, once", field=field[1])
        found[field[1]] = (field[2] or field[3] or field[4] or "").strip()
    return None


def decision(path: Path, ref: str, digest: str) -> Decision | None:
    """What lies undone in this file about exactly this fix and change; `None` also where the file is refused."""
    try:
        said = parse(read(path))
    except (OSError, RSIError):
        return None
    return said.decision if said is not None and (said.id, said.digest) == (ref, digest) else None
