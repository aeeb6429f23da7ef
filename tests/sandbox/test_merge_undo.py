"""Taking merges back: in their order, after a kill, by whoever starts next, and never what is not ours."""

import json
import os
import signal
from pathlib import Path

import pytest
from test_merge_crash import KILLED, killed_at
from tree_kit import changes, plant, quick_folder, snapshot

from rsi import clock
from rsi.errors import ConflictError, MergeError, NotFoundError
from rsi.sandbox.merge import UndoLog, apply, recover, recover_home
from rsi.sandbox.merge import step as step_module

ONE, TWO = {"f": ("file", b"1", 0o644)}, {"f": ("file", b"2", 0o644)}


@pytest.fixture
def root():
    with quick_folder() as folder:
        for name, spec in (("one", ONE), ("two", TWO), ("none", {}), ("target", ONE)):
            plant(folder / name, spec)
        yield folder


def merged(root: Path, old: str, new: str) -> UndoLog:
    return apply(changes(root / old, root / new), root / "target", undo=root / "undo")


@pytest.mark.parametrize("other", ["two", "none"])
def test_undo_out_of_order_is_refused_and_names_the_later_merge(root, other):
    """Both had the same bytes at their ends: undone in the wrong order they left what neither had found."""
    first, second = merged(root, "one", other), merged(root, other, "one")
    with pytest.raises(ConflictError, match=rf"f was written again by the later merge {second.id}"):
        first.undo()
    assert (UndoLog.load(first.folder).status, (root / "target/f").read_bytes()) == ("applied", b"1")
    second.undo()
    assert snapshot(root / "target") == snapshot(root / other)
    first.undo()
    assert snapshot(root / "target") == ONE


@pytest.mark.parametrize("name", [b"no \xff text", b"100%41", b"new\nline"])
def test_a_target_of_any_name_is_merged_into_found_again_and_undone(root, name):
    target = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    plant(target, ONE)
    log = apply(changes(root / "one", root / "two"), str(target), undo=root / "undo")
    assert snapshot(target) == TWO
    again = UndoLog.load(log.folder)
    assert again.target == target.resolve()
    again.undo()
    assert snapshot(target) == ONE
    assert recover(target, undo=root / "undo") == []


def test_a_clock_that_was_set_back_does_not_change_the_order(root):
    class Past:
        now = staticmethod(lambda: 1000.0)
        monotonic = staticmethod(clock._REAL.monotonic)
        sleep = staticmethod(clock._REAL.sleep)
        asleep = staticmethod(clock._REAL.asleep)

    first = merged(root, "one", "two")
    clock.install(Past())
    try:
        second = merged(root, "two", "one")
    finally:
        clock.install(None)
    assert second.at < first.at
    with pytest.raises(ConflictError, match=second.id):
        first.undo()
    second.undo()
    first.undo()


def test_merges_of_other_paths_are_undone_in_any_order(root):
    first = merged(root, "one", "two")
    plant(root / "more", {"g": ("file", b"g", 0o644)})
    second = apply(changes(root / "none", root / "more"), root / "target", undo=root / "undo")
    first.undo()
    second.undo()
    assert snapshot(root / "target") == ONE


def test_force_undoes_out_of_order_and_what_was_undone_is_in_nobodys_way(root):
    first, second = merged(root, "one", "two"), merged(root, "two", "one")
    first.undo(force=True)
    assert (root / "target/f").read_bytes() == b"1"
    second.undo(force=True)
    third, fourth = merged(root, "two", "one"), merged(root, "one", "two")
    fourth.undo()
    third.undo()


def test_what_another_process_has_undone_meanwhile_is_not_undone_again(root):
    log = merged(root, "one", "two")
    mine = UndoLog.load(log.folder)
    log.undo()
    (root / "target/f").write_bytes(b"2")  # somebody's, and by chance what the merge had written
    mine.undo()
    assert (root / "target/f").read_bytes() == b"2"


def test_a_log_whose_folder_or_target_is_gone_says_so(root):
    log = merged(root, "one", "two")
    (root / "target").rename(root / "moved")
    with pytest.raises(NotFoundError, match=r"target: the folder that it was merged into is not there any more"):
        log.undo()
    (root / "moved").rename(root / "target")
    log.undo()
    log.discard()
    with pytest.raises(NotFoundError, match="no undo log"):
        log.undo()


def test_the_log_is_told_when_it_is_on_the_disk_and_nothing_is_written(root):
    told = []

    def begun(log):
        told.append((log.id, UndoLog.load(log.folder).status, (root / "target/f").read_bytes()))

    log = apply(changes(root / "one", root / "two"), root / "target", undo=root / "undo", begun=begun)
    assert told == [(log.id, "applying", b"1")]


def test_who_fails_when_told_has_nothing_merged(root):
    def begun(_):
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(MergeError, match=r"nothing was merged.*Broken pipe"):
        apply(changes(root / "one", root / "two"), root / "target", undo=root / "undo", begun=begun)
    assert snapshot(root / "target") == ONE


def test_a_journal_that_cannot_be_read_stops_nobody_else(root, caplog):
    broken, log = merged(root, "one", "two"), merged(root, "two", "one")
    (broken.folder / "journal.json").write_text("{")
    assert recover(root / "target", undo=root / "undo") == []
    assert "cannot be read" in caplog.text
    log.undo()
    assert merged(root, "two", "one").number > log.number


def test_a_folder_that_is_no_log_is_not_cleared(root):
    (root / "undo/mine").mkdir(parents=True)
    (root / "undo/0123456789abcdef").mkdir()
    assert recover(root / "target", undo=root / "undo") == []
    assert [path.name for path in (root / "undo").iterdir()] == ["mine"]


def half_in_home(root: Path) -> None:
    """A merge into `target`, as its home keeps it, killed before its first replacement's folder is synced."""
    code = KILLED.replace('undo=root / "undo"', 'home=root / "target"').replace(
        '"old", root / "new"', '"one", root / "two"'
    )
    for number in range(1, 60):
        pid = os.fork()
        if pid == 0:
            import sys

            sys.argv = ["x", str(number), str(root), "apply"]
            try:
                exec(compile(code.format(tests=str(Path(__file__).parent)), "killed", "exec"), {"__name__": "killed"})
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        if (root / "target/f").read_bytes() == b"2":
            return
        recover(root / "target", home=root / "target")
    raise AssertionError("it never came so far")


def test_a_daemon_takes_back_what_was_killed_half_way_when_it_starts(root, monkeypatch):
    from rsi.config import Config, Home, WorkerConfig
    from rsi.daemon import Daemon

    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
    half_in_home(root)
    with Daemon(Home(root / "target"), Config(worker=WorkerConfig(enabled=False)), once=True) as daemon:
        assert (root / "target/f").read_bytes() == b"1"
        assert not [text for text in daemon.troubles if "killed half way" in text]


def test_what_a_daemon_cannot_take_back_is_a_trouble(root, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
    half_in_home(root)
    (root / "target/f").write_bytes(b"mine")
    [said] = recover_home(root / "target")
    assert "cannot be taken back" in said
    assert "f" in said
    assert (root / "target/f").read_bytes() == b"mine"


def test_every_folder_is_on_the_disk_after_its_names_changed(root, monkeypatch):
    """A rename that is not synced may be gone after a power cut, and the journal says that it was made."""
    calls = []
    real_rename, real_fsync = os.rename, os.fsync

    def rename(old, new, *, src_dir_fd=None, dst_dir_fd=None):
        real_rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if dst_dir_fd is not None and new == "f":
            calls.append(("rename", os.fstat(dst_dir_fd).st_ino))

    def fsync(fd):
        real_fsync(fd)
        calls.append(("fsync", os.fstat(fd).st_ino))

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "fsync", fsync)
    merged(root, "one", "two")
    folder = (root / "target").stat().st_ino
    at = calls.index(("rename", folder))
    assert calls[at + 1] == ("fsync", folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("kind", ["file", "dir", "link"])
def test_what_takes_a_temporary_names_place_is_not_given_away(root, monkeypatch, kind):
    """The owner of the folder swaps the new file for a root file of the same name, between its making and its chown."""
    os.chown(root / "target", 4711, 4711)
    (root / "precious").mkdir()
    (root / "precious/in").write_text("root's")
    plant(
        root / "new", {**ONE, "n": {"file": ("file", b"n", 0o644), "dir": ("dir", 0o755), "link": ("link", "f")}[kind]}
    )
    real = {"file": step_module.create, "dir": os.mkdir, "link": os.symlink}[kind]

    def swapped(*args, **kwargs):
        made = real(*args, **kwargs)
        places = [path for path in (root / "target").iterdir() if path.name.startswith(".rsi-")]
        if not places:  # another folder than the target's
            return made
        place = places[0]
        place.rename(root / "aside")
        if kind == "dir":
            (root / "precious").rename(place)
        else:
            os.link(root / "precious/in", place)
        return made

    name = {"file": "create", "dir": "mkdir", "link": "symlink"}[kind]
    monkeypatch.setattr(step_module if kind == "file" else os, name, swapped)
    try:
        apply(changes(root / "one", root / "new"), root / "target", undo=root / "undo", allow_links=True)
    except (MergeError, OSError):
        monkeypatch.undo()
    for path in root.rglob("in"):
        assert (path.stat().st_uid, path.parent.stat().st_uid) == (0, 0)
    assert [path.stat().st_uid for path in root.rglob("*") if path.is_file() and path.read_bytes() == b"root's"] in (
        [0],
        [0, 0],
        [],
    )


def test_the_journal_says_which_merge_came_first(root):
    logs = [merged(root, "one", "two"), merged(root, "two", "one"), merged(root, "one", "two")]
    numbers = [json.loads((log.folder / "journal.json").read_text())["number"] for log in logs]
    assert numbers == [1, 2, 3]


def test_a_kill_is_recovered_whatever_came_before(root):
    """Killed merges are recovered beside finished ones, which are left alone."""
    done = merged(root, "one", "two")
    plant(root / "old", TWO)
    plant(root / "new", ONE)
    number = 0
    while killed_at(number, root):
        recover(root / "target", undo=root / "undo")
        assert snapshot(root / "target") == TWO, number
        number += 3
    assert UndoLog.load(done.folder).status == "applied"
    assert number > 5
