"""A merge that is killed at any system call is undone or finished, and one that fails leaves nothing."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from test_merge import NEW, OLD
from tree_kit import changes, plant, quick_folder, snapshot

from rsi.errors import ConflictError, MergeError
from rsi.sandbox.merge import UndoLog, apply, fingerprint, recover
from rsi.sandbox.merge import step as step_module

#: Dies by SIGKILL before the n-th system call that changes a tree.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
left = int(sys.argv[1])
def dying(call):
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **kwargs)
    return counted
from tree_kit import changes
from rsi.sandbox.merge import apply, recover
root = Path(sys.argv[2])
diff = changes(root / "old", root / "new")
for name in ("rename", "unlink", "rmdir", "mkdir", "fsync", "fchmod", "symlink", "write"):
    setattr(os, name, dying(getattr(os, name)))
if sys.argv[3] == "apply":
    apply(diff, root / "target", undo=root / "undo")
else:
    recover(root / "target", undo=root / "undo")
"""


@pytest.fixture
def root():
    with quick_folder() as folder:
        for name, spec in (("old", OLD), ("new", NEW), ("target", OLD)):
            plant(folder / name, spec)
        yield folder


def killed_at(number: int, root: Path, what: str = "apply") -> bool:
    """Run it until the n-th call; False when it came to its end."""
    code = KILLED.format(tests=str(Path(__file__).parent))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests do not matter: the child is killed
        pid = os.fork()  # the imports are done: a hundred interpreters would take a minute
    if pid == 0:
        sys.argv = ["x", str(number), str(root), what]
        try:
            exec(compile(code, "killed", "exec"), {"__name__": "killed"})
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_at_every_call_is_undone_or_finished(root):
    number, finished = 0, 0
    while killed_at(number, root):
        finish = number % 2 == 1
        logs = recover(root / "target", undo=root / "undo", finish=finish)
        done = [log for log in (root / "undo").glob("*") if UndoLog.load(log).status == "applied"]
        assert not logs or bool(done) == finish, number
        finished += bool(logs) and finish
        assert snapshot(root / "target") == snapshot(root / ("new" if done else "old")), number
        assert recover(root / "target", undo=root / "undo") == []
        for log in done:
            UndoLog.load(log).undo()
            UndoLog.load(log).discard()
        assert snapshot(root / "target") == snapshot(root / "old"), number
        number += 1
    assert number > 60
    assert finished > 10


def test_a_kill_during_the_way_back_is_undone_at_the_next_start(root):
    number = 0
    while True:
        assert killed_at(75, root)  # half way through the replacements
        if not killed_at(number, root, "recover"):
            break
        recover(root / "target", undo=root / "undo")
        assert snapshot(root / "target") == snapshot(root / "old"), number
        number += 7
    assert number > 20


def test_the_journal_is_on_the_disk_before_the_first_replacement(root, monkeypatch):
    seen = []

    def first(*args, **kwargs):
        seen.extend((root / "undo").glob("*/journal.json"))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step_module, "_replace", first)
    monkeypatch.setattr(step_module, "_gone", first)
    with pytest.raises(MergeError, match=r"nothing was merged: .*No space left"):
        apply(changes(root / "old", root / "new"), root / "target", undo=root / "undo")
    assert seen
    assert snapshot(root / "target") == snapshot(root / "old")


@pytest.mark.parametrize("number", range(12))
def test_a_failure_half_way_leaves_nothing(root, monkeypatch, number):
    real, calls = os.rename, []

    def rename(*args, **kwargs):
        if "src_dir_fd" in kwargs and not str(args[1]).startswith("journal"):
            calls.append(args)
            if len(calls) == number + 1:
                raise OSError(28, "No space left on device", args[1])
        return real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", rename)
    diff = changes(root / "old", root / "new")
    if number < 11:
        with pytest.raises(MergeError, match=r"nothing was merged: .*No space left"):
            apply(diff, root / "target", undo=root / "undo")
        assert snapshot(root / "target") == snapshot(root / "old")
        assert [UndoLog.load(path).status for path in (root / "undo").iterdir()] == ["undone"]
    else:
        apply(diff, root / "target", undo=root / "undo")


def test_somebody_who_edits_during_the_merge_is_not_overwritten(root, monkeypatch):
    real = os.rename

    def rename(*args, **kwargs):
        if "src_dir_fd" in kwargs and args[1] == "a.py":
            (root / "target" / "run.sh").write_text("mine")
        return real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(MergeError, match=r"run\.sh: changed while the merge was being made"):
        apply(changes(root / "old", root / "new"), root / "target", undo=root / "undo")
    monkeypatch.undo()
    assert (root / "target" / "run.sh").read_text() == "mine"
    (root / "target" / "run.sh").write_bytes(b"#!/bin/sh\n")
    assert snapshot(root / "target") == snapshot(root / "old")


def test_recover_names_what_stands_in_the_way(root):
    number = 60
    assert killed_at(number, root)
    for name in ("a.py", "gone.txt"):
        (root / "target" / name).write_text("by hand")
    with pytest.raises(ConflictError, match=r"a\.py"):
        recover(root / "target", undo=root / "undo")
    assert (root / "target" / "a.py").read_text() == "by hand"


def test_a_running_merge_is_not_recovered(root):
    """A second process that recovers waits for the first one's lock."""
    from rsi.sandbox.merge.undo import locked

    (root / "undo").mkdir()
    code = f"from pathlib import Path\nfrom rsi.sandbox.merge import recover\nrecover(Path({str(root / 'target')!r}), undo=Path({str(root / 'undo')!r}))"
    with locked(root / "undo"):
        process = subprocess.Popen([sys.executable, "-c", code])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
    assert process.wait(30) == 0


def test_a_fingerprint_sees_every_kind_of_edit(root):
    target = root / "target"
    base = fingerprint(target, ["a.py"])
    assert _drift(base, target) == []
    edits = {
        "d/x": lambda: (target / "d/x").write_bytes(b"\0\2"),
        "run.sh": lambda: (target / "run.sh").chmod(0o700),
        "gone.txt": (target / "gone.txt").unlink,
        "fresh": (target / "fresh").touch,
        "empty": (target / "empty").rmdir,
        "l": lambda: ((target / "l").unlink(), (target / "l").symlink_to("d")),
    }
    for edit in edits.values():
        edit()
    (target / ".git").mkdir()
    (target / ".rsi").mkdir()
    assert _drift(base, target) == sorted(edits)


def test_a_fingerprint_sees_contents_whose_times_were_put_back(root):
    from rsi.sandbox.merge import drift
    from rsi.sandbox.merge.fingerprint import Fingerprint

    target = root / "target"
    base = fingerprint(target, ["a.py"])
    (target / "a.py").write_bytes(b"print(3)\n")
    now = fingerprint(target, ["a.py"])
    unseen = Fingerprint(entries=base.entries, contents=now.contents)  # as if lstat had seen nothing
    assert drift(base, unseen) == ["a.py"]


def test_what_is_ignored_does_not_drift(root):
    target = root / "target"
    base = fingerprint(target, ignore=["d", "gone.txt"])
    (target / "d/new").touch()
    (target / "gone.txt").unlink()
    assert _drift(base, target) == []


def _drift(base, target):
    from rsi.sandbox.merge import drift
    from rsi.sandbox.merge.fingerprint import again

    return drift(base, again(target, base))
