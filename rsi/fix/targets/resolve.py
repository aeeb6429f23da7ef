"""From a target's name to the target, if `targets:` in rsi.yaml declares it; and what stands in a home's files now."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rsi.config import Bounds, Config
from rsi.config import Target as Declared
from rsi.errors import InvalidInputError
from rsi.fix.targets import declared, journal, keypath, litellm
from rsi.fix.targets.editing import applied_of
from rsi.fix.targets.errors import TargetRefusedError
from rsi.fix.targets.keys import Check, KeyTarget
from rsi.fix.targets.lessons import LessonTarget
from rsi.fix.targets.model import Applied, Target
from rsi.fix.targets.place import Place
from rsi.model import Change

FILE: Final = "file"
LITELLM: Final = "litellm"
LESSONS: Final = "lessons"
KINDS: Final = (FILE, LITELLM, LESSONS)


def is_file_target(target: str) -> bool:
    """Whether this is ours (`file:`, `litellm:`, `lessons:`) rather than the policy's."""
    return target.partition(":")[0] in KINDS


def resolve(target: str, home: Path, config: Config) -> Target:
    """The target of this name.

    Args:
        target: `file:<path>#<key>`, `litellm:<path>` or `lessons:<path>`, paths relative to the home.
        home: the folder with `rsi.yaml`.
        config: its settings; `targets:` says what may be edited, `fix.bounds` how far.

    Raises:
        TargetRefusedError: not declared, or a path or key that no fix may edit.
    """
    kind, _, rest = target.partition(":")
    file, _, key = rest.partition("#")
    if kind not in KINDS or not file or (kind == FILE) != bool(key):
        reason = f"{target!r} is no target; targets look like file:a.yaml#b.c, litellm:a.yaml, lessons:AGENTS.md"
        raise TargetRefusedError(file or target, key, reason)
    place = Place(home, file)
    if kind == FILE:
        return KeyTarget(target, place, _one_key(_keys(config, file), file, key), config.fix.bounds)
    if not any(one.file == file and one.type == kind for one in config.targets):
        raise _undeclared(file, "", f"{{file: {file}, type: {kind}}}")
    if kind == LESSONS:
        return LessonTarget(target, place)
    fallbacks = sorted({name for source in config.sources.values() for name in source.fallbacks})
    return KeyTarget(target, place, litellm.checker(file, _keys(config, file), fallbacks), config.fix.bounds)


def undoing(target: str, home: Path, config: Config) -> Target:
    """The target for taking an edit back or giving it up, also where its declaration is gone by now.

    Raises:
        TargetRefusedError: a path that no fix may edit.
    """
    kind, _, rest = target.partition(":")
    place = Place(home, rest.partition("#")[0])
    return LessonTarget(target, place) if kind == LESSONS else KeyTarget(target, place, _nothing, config.fix.bounds)


def _nothing(key: str, value: Any, bounds: Bounds | None) -> dict[str, Any]:
    raise TargetRefusedError("", key, f"{value!r:.40} is not written here, {bounds}; this target only takes back")


def renew(change: Change, home: Path, config: Config) -> Change:
    """The same change from what the file says now: for one that was refused because the file changed since.

    Raises:
        TargetRefusedError: as `Target.make`.
    """
    return resolve(change.target, home, config).make(change.after)


def standing(home: Path) -> list[Applied]:
    """Every edit that is in a file, as far as was written down, oldest first.

    After a crash compare it with the store: an edit whose fix is not live there is to be reverted.

    Raises:
        TargetRefusedError: a journal cannot be read.
    """
    folder = journal.folder_of(home)
    return [applied_of(folder, record) for record in journal.every(folder) if record.stands]


def settle(home: Path, config: Config) -> list[Applied]:
    """Decide what a killed process left half way, file by file; then `standing`.

    Raises:
        TargetRefusedError: a journal cannot be read.
    """
    for record in journal.every(journal.folder_of(home)):
        if record.status in {"applying", "reverting"}:
            with suppress(TargetRefusedError):  # the file cannot be read now: it is as good as standing
                undoing(record.target, home, config).settle()
    return standing(home)


def _keys(config: Config, file: str) -> list[Declared]:
    return [one for one in config.targets if one.file == file and one.key]


def _one_key(declarations: list[Declared], file: str, key: str) -> Check:
    """The check of one key: every declaration of it counts."""
    path = _path(file, key)
    own = [one for one in declarations if _path(file, one.key) == path]
    if not own:
        raise _undeclared(file, key, f"{{file: {file}, key: {key}, type: …, min: …, max: …}}")

    def check(name: str, value: Any, bounds: Bounds | None) -> dict[str, Any]:
        if _path(file, name) != path:
            raise TargetRefusedError(file, name, f"the target is {key}; no other key is edited through it")
        return declared.all_of(own, name, value, bounds)

    return check


def _path(file: str, key: str) -> keypath.KeyPath:
    try:
        return keypath.parse(key)
    except InvalidInputError as error:
        raise TargetRefusedError(file, key, str(error)) from error


def _undeclared(file: str, key: str, line: str) -> TargetRefusedError:
    return TargetRefusedError(file, key, f"not declared; to allow it, list {line} under targets: in rsi.yaml")
