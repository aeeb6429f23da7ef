"""Real boxes for the tests of the overlay back end: a workspace, a home for stores, and shell lines to run in them."""

from __future__ import annotations

import os
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rsi.sandbox.model import Change, Command, ExecResult, Limits
from rsi.sandbox.overlay import OverlayBackend, OverlayBox
from rsi.sandbox.overlay.disk import Disk

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


_made: list[OverlayBackend] = []


def backend(home: Path, disk: Disk | None = None) -> OverlayBackend:
    _made.append(OverlayBackend(home, disk=disk))
    return _made[-1]


def workspace(root: Path, files: dict[str, str]) -> Path:
    root.mkdir()
    root.chmod(0o755)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o644)
    return root


def sh(box: OverlayBox, line: str, **limits) -> ExecResult:
    """Run a shell line that must end well, unless limits are given."""
    ended = box.run(Command(argv=("/bin/sh", "-ec", line), env=PATH, limits=Limits(**limits)))
    if not limits:
        assert ended.ok, ended
    return ended


def letters(changes: list[Change]) -> dict[str, str]:
    return {change.path: change.letter for change in changes}


def tree(root: Path) -> dict[str, tuple]:
    """Every path below `root` with what it is."""
    found: dict[str, tuple] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            st = os.lstat(path)
            where = os.path.relpath(path, root)
            if stat.S_ISLNK(st.st_mode):
                found[where] = ("symlink", str(path.readlink()))
            elif stat.S_ISREG(st.st_mode):
                found[where] = ("file", stat.S_IMODE(st.st_mode), path.read_bytes())
            else:
                found[where] = ("directory" if stat.S_ISDIR(st.st_mode) else "other", stat.S_IMODE(st.st_mode))
    return found


def applied(base: dict[str, tuple], changes: list[Change]) -> dict[str, tuple]:
    """The base with the changes made to it, each checked against what it says was there before."""
    after = dict(base)
    for change in changes:
        assert (change.before is None) == (change.path not in after), change
        if change.before is not None:
            assert after.pop(change.path)[0] == change.before.kind, change
        if (new := change.after) is not None:
            if new.kind == "file":
                assert new.source is not None
                after[change.path] = ("file", new.mode, new.source.read_bytes())
            else:
                after[change.path] = (new.kind, new.link if new.kind == "symlink" else new.mode)
    return after


def die(box: OverlayBox) -> None:
    """As far as its store can tell, the owner of this box is dead: what it held is let go, and nothing is given up."""
    box._squasher.background.drain()
    box._making.home.trash.background.drain()
    if box._launcher is not None:
        box._launcher.close()
    os.close(box._line.lock)


def settled(home: Path) -> None:
    """Clear what the dead left, and wait until all that was thrown away is deleted."""
    backend(home).sweep()
    for each in _made:
        each.drain()
    _made.clear()


#: Nobody's: an ordinary user of the host who owns nothing but what a test gives it.
ORDINARY = 47_114


@contextmanager
def common_folder() -> Iterator[Path]:
    """A folder that the ordinary user owns and reaches."""
    with tempfile.TemporaryDirectory(prefix="rsi-common-") as name:
        if os.geteuid() == 0:
            os.chown(name, ORDINARY, ORDINARY)
        yield Path(name)


def as_ordinary_user(work: Callable[[], None]) -> int:
    """Run it in a forked process without root's rights; what it raised is raised here. Its wait status."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(ORDINARY)
                os.setuid(ORDINARY)
            work()
        except BaseException:
            os.write(theirs, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        trouble = said.read().decode()
    status = os.waitpid(pid, 0)[1]
    assert not trouble, trouble
    return status
