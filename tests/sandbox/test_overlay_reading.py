"""Layers are read without harm: holes cost nothing, modes come back, whoever waits can stop it."""

import os
import signal
import threading
from pathlib import Path

import pytest
from overlay_kit import as_ordinary_user, backend, common_folder, workspace

from rsi.errors import SandboxError
from rsi.sandbox.overlay import digest
from rsi.sandbox.overlay import reader as reading
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.reader import Reader

TiB = 1 << 40


@pytest.fixture
def ws(tmp_path):
    return workspace(tmp_path / "ws", {"a": "one\n"})


@pytest.fixture
def box(tmp_path, ws):
    made = backend(tmp_path / "home").open(ws)
    yield made
    made.close()


def upper(box) -> Path:
    return box._line.layer(box._stack.upper)


def sparse(path: Path, *parts: tuple[int, bytes], size: int = TiB) -> None:
    with path.open("wb") as file:
        for at, data in parts:
            file.seek(at)
            file.write(data)
        file.truncate(size)


def go() -> None:
    """Nobody stops it."""


def hashed(path: Path) -> str:
    with path.open("rb") as file:
        return digest.sha256(file.fileno(), path.stat().st_size, go)


def test_a_durable_checkpoint_of_a_terabyte_of_hole_is_made_verified_and_compared(tmp_path, ws):
    """Read byte for byte it would take an hour; a test that hangs here has failed."""

    def work() -> None:
        box = backend(tmp_path / "home").open(ws)
        sparse(upper(box) / "big", (TiB // 2, b"data"))
        first = box.checkpoint("first", durable=True)
        sparse(upper(box) / "big", (TiB // 2, b"data"))
        assert box.changes(since=first.id) == []
        sparse(upper(box) / "big", (TiB // 2, b"DATA"))
        assert [change.path for change in box.changes(since=first.id)] == ["big"]
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    again = backend(tmp_path / "home")
    box = again.open(ws, reopen=again.kept()[0])
    assert (box.damaged, [point.label for point in box.checkpoints()]) == ({}, ["first"])
    box.close()


def test_a_hash_says_where_the_bytes_are_and_not_how_they_are_stored(tmp_path):
    sparse(tmp_path / "hole", (1 << 20, b"x"), size=1 << 21)
    (tmp_path / "full").write_bytes(b"\0" * (1 << 20) + b"x" + b"\0" * ((1 << 20) - 1))
    sparse(tmp_path / "moved", ((1 << 20) + digest.BLOCK, b"x"), size=1 << 21)
    sparse(tmp_path / "within", ((1 << 20) + 1, b"x"), size=1 << 21)
    assert hashed(tmp_path / "hole") == hashed(tmp_path / "full")
    assert len({hashed(tmp_path / name) for name in ("hole", "moved", "within")}) == 3


def test_a_file_with_many_names_is_read_once(box, monkeypatch):
    read = []
    real = digest.sha256
    monkeypatch.setattr(digest, "sha256", lambda *args: (read.append(args[0]), real(*args))[1])
    (upper(box) / "n0").write_text("n")
    for number in range(1, 50):
        os.link(upper(box) / "n0", upper(box) / f"n{number}")
    box.checkpoint("durable", durable=True)
    assert len(read) == 1


class Paused:
    """Stops every reading where it begins, until it may go on."""

    def __init__(self, monkeypatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        real = Reader.go_on

        def waiting(reader: Reader) -> None:
            self.reached.set()
            assert self.go_on.wait(30)
            real(reader)

        monkeypatch.setattr(Reader, "go_on", waiting)


def in_thread(call) -> tuple[threading.Thread, list]:
    said: list = []

    def work() -> None:
        try:
            said.append(call())
        except SandboxError as error:
            said.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, said


@pytest.mark.parametrize("what", ["checkpoint", "changes"])
def test_who_closes_a_box_does_not_wait_for_what_is_read_in_it(tmp_path, ws, monkeypatch, what):
    mine = backend(tmp_path / "home")
    box = mine.open(ws)
    (upper(box) / "n").write_text("n")
    paused = Paused(monkeypatch)
    thread, said = in_thread(box.changes if what == "changes" else lambda: box.checkpoint("x", durable=True))
    assert paused.reached.wait(30)
    box.close()  # comes back although the reading does not move
    assert thread.is_alive()
    with pytest.raises(SandboxError, match="closed"):
        box.checkpoints()
    paused.go_on.set()
    thread.join(30)
    assert "closed, or interrupted" in str(said[0])
    assert mine.drain(30)
    assert list((tmp_path / "home/boxes").iterdir()) == []


def test_an_interrupted_durable_checkpoint_was_not_made_and_the_box_goes_on(box, monkeypatch):
    (upper(box) / "n").write_text("n")
    with monkeypatch.context() as patched:
        paused = Paused(patched)
        thread, said = in_thread(lambda: box.checkpoint("x", durable=True))
        assert paused.reached.wait(30)
        box.interrupt()
        paused.go_on.set()
        thread.join(30)
    assert "closed, or interrupted" in str(said[0])
    assert box.checkpoints() == []
    box.checkpoint("y", durable=True)
    assert [change.path for change in box.changes()] == ["n"]


def test_who_closes_a_box_does_not_wait_for_a_disk_either(tmp_path, ws):
    begun, end = threading.Event(), threading.Event()

    class Slow(Disk):
        def syncfs(self, path):
            begun.set()
            assert end.wait(30)

    mine = backend(tmp_path / "home", Slow())
    box = mine.open(ws)
    thread, _ = in_thread(lambda: box.checkpoint("x", durable=True))
    assert begun.wait(30)
    box.close()
    assert thread.is_alive()
    end.set()
    assert mine.drain(30)
    thread.join(30)
    assert list((tmp_path / "home/boxes").iterdir()) == []


def test_two_lines_make_the_same_manifest_at_the_same_time(tmp_path, ws):
    """Each has written its own file before either puts it in its place."""
    both = threading.Barrier(2)

    class Racing(Disk):
        def rename(self, old, new):
            if new.parent.name == "manifests":
                both.wait(30)
            super().rename(old, new)

    box = backend(tmp_path / "home", Racing()).open(ws)
    (upper(box) / "n").write_text("n")
    fork = box.fork()
    threads = [in_thread(lambda each=each: each.checkpoint("x", durable=True)) for each in (box, fork)]
    for thread, _ in threads:
        thread.join(60)
    assert [said[0].label for _, said in threads] == ["x", "x"]
    for each in (box, fork):
        each.close()


def test_a_reader_that_was_killed_does_not_damage_a_durable_checkpoint():
    """It had opened what a command had shut, and could not shut it again."""
    with common_folder() as top:

        def killed() -> None:
            box = backend(top / "home").open(workspace(top / "ws", {"a": "one\n"}))
            shut = upper(box) / "shut"
            (shut / "deeper").mkdir(parents=True)
            (shut / "deeper/file").write_text("n")
            (shut / "deeper/file").chmod(0o040)
            (shut / "deeper").chmod(0)
            shut.chmod(0o050)
            box.checkpoint("durable", durable=True)
            with Reader(str(box._line.store / "layers")) as reader:
                layer = box._line.layer(box._stack.chain[-1])
                nodes = [reader.node(f"{layer}/{path}") for path in ("shut", "shut/deeper", "shut/deeper/file")]
                reader.open(nodes[-1]).close()
                os.kill(os.getpid(), signal.SIGKILL)

        def reopened() -> None:
            again = backend(top / "home")
            [line] = again.kept()
            store = line.parents[1]
            [found] = store.glob("layers/*/shut")
            assert found.stat().st_mode & 0o777 == 0o750  # as the dead left it
            box = again.open(top / "ws", reopen=line)
            assert box.damaged == {}
            box.restore(box.checkpoints()[0].id)
            modes = {change.path: change.after.mode for change in box.changes()}
            assert modes == {"shut": 0o050, "shut/deeper": 0, "shut/deeper/file": 0o040}
            assert found.stat().st_mode & 0o777 == 0o050  # as the command left it
            box.close()
            assert again.drain(30)
            assert list((top / "home/trash").iterdir()) == []

        assert as_ordinary_user(killed) == signal.SIGKILL
        assert as_ordinary_user(reopened) == 0


def test_what_two_readers_opened_is_shut_by_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(reading.os, "geteuid", lambda: 1)  # root need not open anything
    layer = tmp_path / "layers" / "one"
    (layer / "shut").mkdir(parents=True)
    (layer / "shut").chmod(0)

    def mode() -> int:
        return (layer / "shut").stat().st_mode & 0o777

    with Reader(str(tmp_path / "layers")) as first:
        assert first.node(f"{layer}/shut").mode == 0
        with Reader(str(tmp_path / "layers")) as second:
            assert second.node(f"{layer}/shut").mode == 0
        assert mode() == 0o700
    assert mode() == 0


def test_a_link_that_takes_a_files_place_while_it_is_read_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(reading.os, "geteuid", lambda: 1)
    layer = tmp_path / "layers" / "one"
    (layer / "shut").mkdir(parents=True)
    (layer / "shut").chmod(0)
    (tmp_path / "host").mkdir(mode=0o500)
    with Reader(str(tmp_path / "layers")) as reader:
        seen = os.lstat(layer / "shut")
        (layer / "shut").rename(layer / "aside")
        (layer / "shut").symlink_to(tmp_path / "host")
        reader._open_up(f"{layer}/shut", seen, 0)
        assert (tmp_path / "host").stat().st_mode & 0o777 == 0o500
