"""From changes to steps: everything is checked, and every refusal collected, before anything is written to the target.

What is to be written is copied into the log's folder while it is hashed, and so is what is
there now: from here on only these bytes count.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rsi.sandbox.merge.names import parents, refused_link, refused_path
from rsi.sandbox.merge.refusal import MergeRefusedError, Refusal
from rsi.sandbox.merge.state import ABSENT, State, Step
from rsi.sandbox.merge.tree import Tree, kept, source
from rsi.sandbox.model import Change, Entry, MiB

#: A fix is text; what is larger is an output, which belongs to no fix.
MAX_BYTES: Final = 10 * MiB
MAX_TOTAL: Final = 100 * MiB
#: A fix that touches more than a whole large repository is a mistake.
MAX_PATHS: Final = 50_000


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller allows. Sizes are bytes: of one file, and of all together."""

    allow_links: bool = False
    max_bytes: int = MAX_BYTES
    max_total: int = MAX_TOTAL
    max_paths: int = MAX_PATHS


class _NotMergedError(Exception):
    """One refusal on its way to the list."""


def check(diff: Sequence[Change], rules: Rules) -> dict[str, Change]:
    """The changes by path, as far as names, kinds and sizes can say.

    Raises:
        MergeRefusedError: names every path that may not be written.
    """
    if len(diff) > rules.max_paths:
        raise MergeRefusedError(
            [Refusal("*", f"{len(diff)} paths are over the limit of {rules.max_paths} (max_paths)")]
        )
    changes: dict[str, Change] = {}
    refusals: list[Refusal] = []
    for change in diff:
        reason = "it is there twice" if change.path in changes else _refused(change, rules)
        if reason:
            refusals.append(Refusal(change.path, reason))
        changes[change.path] = change
    refusals += _misplaced(changes)
    total = sum(change.after.size for change in diff if change.after)
    if total > rules.max_total:
        refusals.append(Refusal("*", f"{total} bytes are over the limit of {rules.max_total} (max_total)"))
    if refusals:
        raise MergeRefusedError(refusals)
    return changes


def prepare(changes: Mapping[str, Change], tree: Tree, folder: Path, rules: Rules) -> list[Step]:
    """The steps, in the order in which they must be done; bytes are kept in `folder`'s `old/` and `new/`.

    Raises:
        MergeRefusedError: names every path whose place or bytes do not allow it.
    """
    refusals: list[Refusal] = []
    pairs: dict[str, tuple[State, State]] = {}
    for number, (path, change) in enumerate(sorted(changes.items())):
        try:
            for above, pair in _made_folders(change, changes, tree):
                pairs.setdefault(above, pair)
            before = _before(change, changes, tree, folder / "old" / str(number))
            pairs[path] = before, _after(change, before, folder / "new" / str(number), rules)
        except _NotMergedError as refused:
            refusals.append(Refusal(path, str(refused)))
        except OSError as error:
            refusals.append(Refusal(path, error.strerror or repr(error)))
    total = sum(after.size for _, after in pairs.values())
    if total > rules.max_total:  # what a change says of its size need not be true
        refusals.append(Refusal("*", f"{total} bytes are over the limit of {rules.max_total} (max_total)"))
    if refusals:
        raise MergeRefusedError(refusals)
    return _ordered(pairs)


def _refused(change: Change, rules: Rules) -> str | None:
    reason = refused_path(change.path)
    if reason or change.after is None:
        return reason
    after = change.after
    if after.kind == "other":
        return "a device, a fifo or a socket"
    if after.kind == "symlink":
        return refused_link(change.path, after.link or "") if rules.allow_links else "a symlink (not in the fix)"
    if after.kind == "file" and after.source is None:
        return "a file without a source"
    if after.size > rules.max_bytes:
        return f"{after.size} bytes are over the limit of {rules.max_bytes} (max_bytes)"
    return None


def _misplaced(changes: Mapping[str, Change]) -> Iterator[Refusal]:
    """What would lie below a name that the same changes remove or make a file."""
    for path, change in changes.items():
        if change.after is None:
            continue
        for above in parents(path):
            over = changes.get(above)
            if over and (over.after is None or over.after.kind != "directory"):
                yield Refusal(path, f"lies below {above!r}, which is not a folder after this change")


def _made_folders(
    change: Change, changes: Mapping[str, Change], tree: Tree
) -> Iterator[tuple[str, tuple[State, State]]]:
    """The folders above it that must be made; a symlink or a file among them is refused."""
    for above in parents(change.path):
        there = tree.state(above)
        if there.kind == "directory":
            continue
        if above in changes and changes[above].after is not None:
            return  # becomes a folder by a change of its own: what lies below is new
        if there.kind != "absent":
            raise _NotMergedError(f"its parent {above!r} is a {there.kind} in the target, which is never followed")
        if change.after is not None:
            yield above, (ABSENT, State(kind="directory", mode=0o755))


def _before(change: Change, changes: Mapping[str, Change], tree: Tree, copy: Path) -> State:
    """What is there now, kept; refused where it is not the kind of thing that the change was made from."""
    state = tree.state(change.path, copy=copy)
    if state.kind == "other":
        raise _NotMergedError("a device, a fifo or a socket is in its place")
    is_folder, was_folder = state.kind == "directory", change.before is not None and change.before.kind == "directory"
    stays_folder = change.after is not None and change.after.kind == "directory"
    if is_folder and not stays_folder:
        if not was_folder:
            raise _NotMergedError("a folder is in its place, where the change was made from something else")
        left = [name for name in sorted(tree.names(change.path)) if not _goes(changes, f"{change.path}/{name}")]
        if left:
            raise _NotMergedError(f"a folder that is not empty: {', '.join(map(ascii, left[:3]))} would stay in it")
    return state


def _goes(changes: Mapping[str, Change], path: str) -> bool:
    return path in changes and changes[path].after is None


def _after(change: Change, before: State, copy: Path, rules: Rules) -> State:
    after = change.after
    if after is None:
        return ABSENT
    owner = (before.uid, before.gid) if before.kind == after.kind else (-1, -1)
    if after.kind == "symlink":
        return State(kind="symlink", link=after.link or "", uid=owner[0], gid=owner[1])
    mode = _mode(change, before)
    if after.kind == "directory":
        return State(kind="directory", mode=mode, uid=owner[0], gid=owner[1])
    digest, size = _staged(after, change.path, copy, rules)
    return State(kind="file", mode=mode, sha256=digest, size=size, uid=owner[0], gid=owner[1], blob=copy.name)


def _mode(change: Change, before: State) -> int:
    """The target's own mode where the change is not about it; else the new one, not writable for others.

    Never set-uid, set-gid or sticky; the owner can always read and write.
    """
    after, was = change.after, change.before
    wanted = after.mode if after else 0
    least = 0o700 if after and after.kind == "directory" else 0o600
    if was and after and was.kind == after.kind == before.kind and was.mode == after.mode:
        if after.kind == "directory":
            return before.mode
        return before.mode & 0o777
    return (wanted & 0o755) | least


def _staged(after: Entry, path: str, copy: Path, rules: Rules) -> tuple[str, int]:
    """Its bytes, copied and hashed in one reading."""
    if after.source is None:
        raise _NotMergedError("a file without a source")
    with source(after.source, path) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _NotMergedError("its source is not a regular file")
        try:
            return kept(fd, copy, rules.max_bytes)
        except ValueError as error:
            raise _NotMergedError(f"more than {rules.max_bytes} bytes (max_bytes)") from error


def _ordered(pairs: Mapping[str, tuple[State, State]]) -> list[Step]:
    """Open folders first, then what goes (deepest first), folders (outermost first), files."""
    steps = [Step(path=path, before=before, after=after) for path, (before, after) in pairs.items()]
    steps = [part for step in steps if not step.before.same(step.after) for part in _parts(step)]
    return sorted(steps, key=lambda step: (_turn(step), _depth(step), step.path))


def _parts(step: Step) -> list[Step]:
    kinds = {step.before.kind, step.after.kind}
    if "directory" not in kinds or "absent" in kinds or len(kinds) == 1:
        return [step]
    return [
        Step(path=step.path, before=step.before, after=ABSENT),
        Step(path=step.path, before=ABSENT, after=step.after),
    ]


def _turn(step: Step) -> int:
    if step.before.kind == step.after.kind == "directory":
        return 0
    if step.after.kind == "absent":
        return 1
    return 2 if step.after.kind == "directory" else 3


def _depth(step: Step) -> int:
    deep = step.path.count("/")
    return -deep if step.after.kind == "absent" else deep
