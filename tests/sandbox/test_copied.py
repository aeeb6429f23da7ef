"""Boxes on a copy: what is copied, what is not, what differs, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsi.errors import LaunchError, NotFoundError, SandboxError
from rsi.sandbox.copied import CopiedBackend, CopiedBox, stores
from rsi.sandbox.copied.differ import State, changes
from rsi.sandbox.copied.duplicate import MAX_DEPTH, duplicate
from rsi.sandbox.copied.stores import Home
from rsi.sandbox.model import Command, ExecResult, Limits, MiB
from rsi.sandbox.plain import PlainRunner


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "src").mkdir(parents=True)
    (folder / "src/a.py").write_text("a = 1\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/a.py")
    return folder


@pytest.fixture
def backend(tmp_path: Path) -> CopiedBackend:
    return CopiedBackend(PlainRunner(), tmp_path / "home")


@pytest.fixture
def box(backend: CopiedBackend, workspace: Path) -> Iterator[CopiedBox]:
    made = backend.open(workspace)
    yield made
    made.close()


def sh(box: CopiedBox, script: str, **options) -> ExecResult:
    command = Command(argv=("/bin/sh", "-c", script), env={"PATH": "/usr/bin:/bin"}, **options)
    result = box.run(command)
    assert result.returncode == 0, result.stderr
    return result


def letters(box: CopiedBox, since: str | None = None, until: str | None = None) -> list[str]:
    return [f"{change.letter} {change.path}" for change in box.changes(since, until)]


def tree(root: Path) -> dict[str, object]:
    """Everything below, by what it is."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        what = str(path.readlink()) if path.is_symlink() else mode if path.is_dir() else (mode, path.read_bytes())
        found[str(path.relative_to(root))] = what
    return found


# -- copying


def test_a_copy_is_the_same_and_another(workspace: Path, tmp_path: Path) -> None:
    duplicate(workspace, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(workspace)
    assert (tmp_path / "copy/src/a.py").stat().st_ino != (workspace / "src/a.py").stat().st_ino
    assert (tmp_path / "copy/src/a.py").stat().st_mtime_ns == (workspace / "src/a.py").stat().st_mtime_ns


def test_hard_links_do_not_reach_the_original(workspace: Path, box: CopiedBox) -> None:
    os.link(workspace / "src/a.py", workspace / "hard")
    sh(box, "echo 'a = 2' > src/a.py")
    assert (workspace / "hard").read_text() == "a = 1\n"


def test_links_are_not_followed(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("s3cret")
    (workspace / "out").symlink_to(tmp_path / "outside")
    duplicate(workspace, tmp_path / "copy")
    assert (tmp_path / "copy/out").is_symlink()
    assert (
        sum(
            b"s3cret" in path.read_bytes()
            for path in (tmp_path / "copy").rglob("*")
            if not path.is_symlink() and path.is_file()
        )
        == 0
    )


def test_what_cannot_be_copied_is_reported(workspace: Path, tmp_path: Path) -> None:
    os.mkfifo(workspace / "fifo")
    (workspace / "src/.rsi").mkdir()
    (workspace / "src/.rsi/secret").write_text("s3cret")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(workspace)  # the whole path may be longer than a socket's name can be
        listener.bind("socket")
        os.chdir("/")
        made = duplicate(workspace, tmp_path / "copy")
    assert {(each.path, each.why) for each in made.skipped} == {
        ("fifo", "device, fifo or socket"),
        ("socket", "device, fifo or socket"),
        ("src/.rsi", "state of rsi"),
    }
    assert not (tmp_path / "copy/src/.rsi").exists()


def test_set_uid_is_left_out(workspace: Path, tmp_path: Path) -> None:
    (workspace / "run.sh").chmod(0o6755)
    duplicate(workspace, tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy/run.sh").stat().st_mode) == 0o755


def test_a_terabyte_of_hole_stays_a_hole(workspace: Path, tmp_path: Path) -> None:
    with (workspace / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"island")
    duplicate(workspace, tmp_path / "copy")
    copy = tmp_path / "copy/sparse"
    assert copy.stat().st_size == 1 << 40
    assert copy.stat().st_blocks * 512 < MiB
    with copy.open("rb") as file:
        file.seek(1 << 39)
        assert file.read(6) == b"island"


def test_names_that_are_not_text(workspace: Path, box: CopiedBox) -> None:
    sh(box, r"touch \"$(printf 'a\377\nb')\"".replace('\\"', '"'))
    assert [os.fsencode(change.path) for change in box.changes()] == [b"a\xff\nb"]


def test_too_deep_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.joinpath(*["d"] * (MAX_DEPTH + 2)).mkdir(parents=True)
    with pytest.raises(SandboxError, match="nested deeper"):
        duplicate(deep, tmp_path / "copy")


def test_a_link_put_in_place_of_a_folder_is_not_walked_into(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing and opening, somebody replaces `src` by a link to a folder outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s3cret")
    real = os.open

    def swapped(path, flags, mode=0o777, *, dir_fd=None):
        if path == "src" and dir_fd is not None and not (workspace / "src").is_symlink():
            shutil.rmtree(workspace / "src")
            (workspace / "src").symlink_to(outside)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(SandboxError):
        duplicate(workspace, tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("secret"))


# -- what differs


def test_every_kind_of_change_is_found(workspace: Path, box: CopiedBox) -> None:
    before = tree(workspace)
    sh(box, "echo 'a = 2' > src/a.py; rm link; ln -s x new; chmod 700 run.sh; mkdir d; : > d/e; mkfifo f")
    assert letters(box) == ["A d", "A d/e", "A f", "D link", "A new", "M run.sh", "M src/a.py"]
    found = {change.path: change for change in box.changes()}
    assert (found["run.sh"].before.mode, found["run.sh"].after.mode) == (0o755, 0o700)
    assert found["new"].after.link == "x"
    assert found["link"].before.kind == "symlink"
    assert found["f"].after.kind == "other"
    assert found["src/a.py"].after.source.read_text() == "a = 2\n"
    assert found["src/a.py"].before.source == workspace / "src/a.py"
    assert tree(workspace) == before


def test_a_write_that_hides_behind_size_and_time_is_found(box: CopiedBox) -> None:
    sh(box, "touch -r src/a.py t; echo 'a = 9' > src/a.py; touch -r t src/a.py; rm t")
    assert letters(box) == ["M src/a.py"]


def test_the_same_bytes_again_are_no_change(box: CopiedBox) -> None:
    sh(box, "cp src/a.py t; rm src/a.py; mv t src/a.py")
    assert letters(box) == []


def test_a_file_that_became_a_folder(box: CopiedBox) -> None:
    sh(box, "rm run.sh; mkdir run.sh; : > run.sh/x")
    assert letters(box) == ["M run.sh", "A run.sh/x"]


def test_what_people_do_meanwhile_is_no_change_of_ours(workspace: Path, box: CopiedBox) -> None:
    """An edit, a new file and a deletion in the workspace after the copy was made; also after a restore."""
    point = box.checkpoint("start")
    (workspace / "src/a.py").write_text("edited\n")
    (workspace / "theirs").write_text("new")
    (workspace / "run.sh").unlink()
    assert letters(box) == []
    box.restore(point.id)
    assert letters(box) == []
    sh(box, "echo mine > src/b.py")
    assert letters(box) == ["A src/b.py"]


# -- checkpoints


def test_restore_forgets_and_keeps_what_it_must(box: CopiedBox) -> None:
    sh(box, "echo one > n")
    one = box.checkpoint("one")
    sh(box, "echo two > n; rm -r src")
    two = box.checkpoint("two")
    sh(box, "rm -rf ./*")
    box.restore(one.id)
    assert sh(box, "cat n src/a.py").stdout == "one\na = 1\n"
    assert letters(box, one.id) == []
    assert letters(box, one.id, two.id) == ["M n", "D src", "D src/a.py"]
    box.restore(two.id)
    assert sh(box, "cat n; ls").stdout == "two\nlink\nn\nrun.sh\n"
    assert [point.label for point in box.checkpoints()] == ["one", "two"]


def test_a_checkpoint_is_not_written_to_any_more(box: CopiedBox) -> None:
    """In-place writes, which a farm of hard links would let through."""
    point = box.checkpoint("p")
    sh(box, "printf X | dd of=src/a.py conv=notrunc bs=1 2>/dev/null")
    box.restore(point.id)
    assert sh(box, "cat src/a.py").stdout == "a = 1\n"


def test_an_unknown_checkpoint_is_named(box: CopiedBox) -> None:
    for call in (box.restore, box.fork, box.changes):
        with pytest.raises(NotFoundError, match="nonsense"):
            call("nonsense")


def test_a_fork_goes_its_own_way(box: CopiedBox) -> None:
    sh(box, "echo base > n")
    point = box.checkpoint("p")
    sh(box, "echo left > n")
    fork = box.fork(point.id)
    try:
        sh(fork, "echo right > m")
        assert sh(box, "cat n; ls").stdout == "left\nlink\nn\nrun.sh\nsrc\n"
        assert sh(fork, "cat n").stdout == "base\n"
        assert letters(fork) == ["A m", "A n"]
        now = box.fork()
        assert letters(now) == ["A n"]
        now.close()
    finally:
        fork.close()


names = st.sampled_from(["a", "b", "d/a", "d/b", "d/d/a"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names, st.binary(max_size=3)),
        st.tuples(st.just("remove"), names, st.just(b"")),
        st.tuples(st.just("link"), names, st.sampled_from([b"x", b"y"])),
        st.tuples(st.just("mode"), names, st.sampled_from([b"\1", b"\2"])),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=steps, after=steps)
def test_changes_lead_from_one_state_to_the_other(
    before: list, after: list, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Law: applying the changes to a copy of the old state gives the new one."""
    root = tmp_path_factory.mktemp("law")
    (root / "old").mkdir()
    play(root / "old", before)
    made = duplicate(root / "old", root / "new")
    play(root / "new", after)
    shutil.copytree(root / "old", root / "model", symlinks=True)
    found = changes(State(root / "old", {}, made.names), State(root / "new", made.twins))
    for change in reversed(found):
        target = root / "model" / change.path
        if change.before is not None and (change.after is None or change.before.kind != change.after.kind):
            target.rmdir() if change.before.kind == "directory" else target.unlink()
    for change in found:
        if change.after is not None:
            put(root / "model" / change.path, change.after)
    assert tree(root / "model") == tree(root / "new")
    shutil.rmtree(root)


def put(target: Path, entry) -> None:
    if entry.kind == "directory":
        target.mkdir(exist_ok=True)
    elif entry.kind == "symlink":
        target.unlink(missing_ok=True)
        target.symlink_to(entry.link)
        return
    else:
        target.write_bytes(entry.source.read_bytes())
    target.chmod(entry.mode)


def play(root: Path, actions: list) -> None:
    for action, name, data in actions:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if action == "mode":
            if path.is_file() and not path.is_symlink():
                path.chmod(0o640 if data == b"\1" else 0o600)
            continue
        if path.is_symlink() or path.exists():
            path.unlink()
        if action == "write":
            path.write_bytes(data)
        elif action == "link":
            path.symlink_to(data.decode())


# -- durable


def test_a_durable_checkpoint_outlives_its_daemon(workspace: Path, box: CopiedBox, tmp_path: Path) -> None:
    sh(box, "echo kept > n; ln -s n l")
    box.checkpoint("lost")
    kept = box.checkpoint("kept", durable=True)
    store = box.store
    box._store.release()  # as the end of the process does
    again = CopiedBackend(PlainRunner(), tmp_path / "home").open(workspace, reopen=store)
    assert again.checkpoints() == [kept]
    assert letters(again) == []
    again.restore(kept.id)
    assert sh(again, "cat l").stdout == "kept\n"
    again.close()


@pytest.mark.parametrize("damage", ["bytes", "missing", "added", "mode", "manifest"])
def test_a_damaged_durable_checkpoint_is_refused(box: CopiedBox, damage: str) -> None:
    point = box.checkpoint("p", durable=True)
    folder = box.store / "points" / point.id
    file = folder / "tree/src/a.py"
    if damage == "bytes":
        file.write_text("a = 2\n")
    elif damage == "missing":
        file.unlink()
    elif damage == "added":
        (file.parent / "evil.py").touch()
    elif damage == "mode":
        file.chmod(0o777)
    else:
        (folder / "manifest.json").write_text("{}")
    with pytest.raises(SandboxError, match=point.id):
        box.restore(point.id)
    assert sh(box, "cat src/a.py").stdout == "a = 1\n"


def test_it_is_on_the_disk_before_it_has_a_name(box: CopiedBox) -> None:
    """The order of the calls: bytes, then the manifest, then its name, then the folder's."""
    calls: list[str] = []

    class Traced(type(box._disk)):
        def __getattribute__(self, name: str):
            if name in ("syncfs", "write", "fsync", "rename"):
                calls.append(name)
            return super().__getattribute__(name)

    box._disk = Traced()
    box.checkpoint("p", durable=True)
    assert calls == ["syncfs", "write", "fsync", "rename", "fsync", "fsync"]


def test_a_checkpoint_that_cannot_be_durable_is_none(box: CopiedBox) -> None:
    class Failing(type(box._disk)):
        def syncfs(self, path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

    box._disk = Failing()
    with pytest.raises(SandboxError, match="cannot be made durable"):
        box.checkpoint("p", durable=True)
    assert box.checkpoints() == []
    assert list((box.store / "points").iterdir()) == []


# -- stores


def test_a_closed_box_says_so_and_is_gone(box: CopiedBox, workspace: Path) -> None:
    box.close()
    box.close()
    assert box._store.trash.background.drain(30)
    assert not box.store.exists()
    for call in (box.checkpoints, box.changes, lambda: box.checkpoint("x"), lambda: sh(box, "true")):
        with pytest.raises(SandboxError, match="closed"):
            call()
    assert (workspace / "src/a.py").exists()


def test_closing_ends_what_runs_and_does_not_wait(box: CopiedBox, tmp_path: Path) -> None:
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    results: list[ExecResult] = []
    command = Command(
        argv=("/bin/sh", "-c", f"echo > {fifo}; sleep 600"), env={"PATH": "/usr/bin:/bin"}, limits=Limits(wall_s=None)
    )
    thread = threading.Thread(target=lambda: results.append(box.run(command)))
    thread.start()
    fifo.read_text()
    box.close()
    thread.join(30)
    assert results[0].killed_by == "closed"


def test_a_store_in_use_is_not_reopened(box: CopiedBox, backend: CopiedBackend, workspace: Path) -> None:
    with pytest.raises(SandboxError, match="another process uses this store"):
        backend.open(workspace, reopen=box.store)


def test_a_store_of_another_workspace_is_not_reopened(box: CopiedBox, backend: CopiedBackend, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(SandboxError, match="the store of a box for"):
        backend.open(tmp_path / "other", reopen=box.store)


def test_leftovers_of_the_dead_are_swept_but_not_durable_ones(workspace: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    backend = CopiedBackend(PlainRunner(), home)
    living, dead, kept = (backend.open(workspace) for _ in range(3))
    kept.checkpoint("p", durable=True)
    for each in (dead, kept):
        each._store.release()
    other = Home(home)
    other.sweep()
    assert other.trash.background.drain(30)
    assert {path.name for path in home.glob("box-*")} == {living.store.name, kept.store.name}
    living.close()


def test_a_home_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    with pytest.raises(SandboxError, match="somebody else"):
        Home(tmp_path / "home")


def test_a_home_inside_the_workspace_is_refused(workspace: Path) -> None:
    with pytest.raises(SandboxError, match="RSI_SANDBOX_STORE"):
        CopiedBackend(PlainRunner(), workspace / "home").open(workspace)


def test_no_such_workspace(backend: CopiedBackend, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no such folder"):
        backend.open(tmp_path / "nowhere")


def test_a_working_folder_outside_is_refused(box: CopiedBox) -> None:
    for cwd in ("/etc", "..", "src/../../x"):
        with pytest.raises(LaunchError, match="outside"):
            sh(box, "true", cwd=cwd)
    assert sh(box, "pwd", cwd=str(box.workspace / "src")).stdout.endswith("/src\n")


def test_the_manifest_is_json_that_names_every_byte(box: CopiedBox) -> None:
    point = box.checkpoint("p", durable=True)
    read = json.loads((box.store / "points" / point.id / "manifest.json").read_text())
    assert {bytes.fromhex(path).decode() for path in read["names"]} == {"src", "src/a.py", "run.sh", "link"}
    assert len(read["sha256"]) == 2


def test_a_store_in_the_making_is_not_one_of_the_dead(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process sweeps between the folder and its lock."""
    mine, other = Home(tmp_path / "home"), Home(tmp_path / "home")
    sweeping: list[threading.Thread] = []
    real = stores._locked

    def slowly(folder: Path) -> int | None:
        monkeypatch.undo()
        sweeping.append(threading.Thread(target=other.sweep))
        sweeping[0].start()
        sweeping[0].join(0.3)  # it waits; where it does not, the folder is gone now
        return real(folder)

    monkeypatch.setattr(stores, "_locked", slowly)
    store = mine.new(workspace)
    sweeping[0].join(30)
    assert store.folder.is_dir()
    store.discard()


def test_a_checkpoint_of_another_version_says_so_and_is_kept(box: CopiedBox) -> None:
    point = box.checkpoint("durable", durable=True)
    path = box.store / "points" / point.id / "manifest.json"
    path.write_text(path.read_text().replace('"version":2', '"version":3'))
    with pytest.raises(SandboxError, match=r"written by another version of rsi \(3\)"):
        box.restore(point.id)
    assert path.exists()
