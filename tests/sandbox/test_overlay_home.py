"""Where boxes live: leftovers of the dead are found and cleared, the living are left alone, nobody waits for deletion."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from overlay_kit import backend, settled, sh, workspace

from rsi import clock
from rsi.errors import SandboxError
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.home import Home
from rsi.sandbox.overlay.place import place
from rsi.sandbox.overlay.room import SWEEP_S
from rsi.sandbox.overlay.trash import Trash

DAY_S = 86_400.0
#: Opens a box, does what it is told and waits to be killed.
OWNER = """
import sys, pathlib
from rsi.sandbox.overlay import OverlayBackend
box = OverlayBackend(pathlib.Path(sys.argv[1])).open(pathlib.Path(sys.argv[2]))
(box._line.layer(box._stack.upper) / "n").write_text("n")
box.checkpoint("one", durable="durable" in sys.argv)
fork = box.fork()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ws(tmp_path):
    return workspace(tmp_path / "ws", {"a": "one\n"})


class Owner:
    """A process that has a box and a fork of it."""

    def __init__(self, home, ws, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, home, ws, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def stores(home) -> list[Path]:
    return list((home / "boxes").iterdir())


def test_leftovers_of_the_dead_are_cleared_by_the_next_start_and_the_living_left_alone(tmp_path, ws):
    home = tmp_path / "home"
    dead, living = Owner(home, ws), Owner(home, ws)
    dead.kill()
    mine = backend(home)
    box = mine.open(ws)
    mine.drain()
    assert len(stores(home)) == 2
    assert mine.sweep() == []
    assert sh(box, "cat a").stdout == "one\n"
    living.kill()
    assert len(mine.sweep()) == 2
    mine.drain()
    assert stores(home) == [box._line.store]
    box.close()
    settled(home)
    assert list((home / "trash").iterdir()) == []


def test_durable_checkpoints_of_the_dead_wait_until_somebody_asks_for_old_ones_to_go(tmp_path, ws):
    home = tmp_path / "home"
    owner = Owner(home, ws, "durable")
    owner.kill()
    mine = backend(home)
    old = clock.now() - 400 * DAY_S
    for record in home.glob("boxes/*/lines/*/box.json"):
        os.utime(record, (old, old))
    mine.open(ws).close()
    assert mine.sweep() == mine.sweep(401 * DAY_S) == []
    assert len(mine.kept()) == 2  # the box, and the fork that knows its checkpoint
    assert len(mine.sweep(399 * DAY_S)) == 2
    mine.drain()
    assert stores(home) == []


@pytest.mark.parametrize("broken", ["", "{", None], ids=["empty", "torn", "newer"])
def test_what_cannot_be_read_is_kept_for_whoever_can(tmp_path, ws, broken):
    """Another version's durable checkpoints were swept by the next box that was opened."""
    home = tmp_path / "home"
    Owner(home, ws, "durable").kill()
    mine = backend(home)
    line = mine.kept()[0]
    record = line / "box.json"
    text = record.read_text()
    record.write_text(text.replace('"version":2', '"version":3') if broken is None else broken)
    with pytest.raises(SandboxError, match=r"damaged|version"):
        mine.open(ws, reopen=line)
    assert mine.sweep() == []
    other = backend(home)
    other.open(ws).close()
    other.drain()
    record.write_text(text)
    box = mine.open(ws, reopen=line)
    assert [point.label for point in box.checkpoints()] == ["one"]
    box.restore(box.checkpoints()[0].id)
    box.close()


def test_a_line_whose_maker_died_before_it_had_a_record_is_cleared(tmp_path, ws):
    home = tmp_path / "home"
    owner = Owner(home, ws)
    owner.kill()
    for record in home.glob("boxes/*/lines/*/box.json"):
        record.unlink()
    mine = backend(home)
    assert len(mine.sweep()) == 2
    mine.drain()
    assert stores(home) == []


def test_a_back_end_that_lives_long_looks_again_for_the_dead(tmp_path, ws):
    home = tmp_path / "home"
    mine = backend(home)
    mine.open(ws).close()
    Owner(home, ws).kill()
    mine.open(ws).close()
    assert len(stores(home)) == 1  # it has just looked

    class Later:
        now = staticmethod(clock._REAL.now)
        monotonic = staticmethod(lambda: clock._REAL.monotonic() + SWEEP_S)
        sleep = staticmethod(clock._REAL.sleep)
        asleep = staticmethod(clock._REAL.asleep)

    clock.install(Later())
    try:
        mine.open(ws).close()
    finally:
        clock.install(None)
    mine.drain()
    assert stores(home) == []
    assert list((home / "trash").iterdir()) == []


def test_the_store_is_for_its_owner_alone(tmp_path, ws):
    box = backend(tmp_path / "home").open(ws)
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert box._line.store.stat().st_mode & 0o066 == 0
    box.close()


def test_a_home_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SandboxError, match="RSI_SANDBOX_STORE"):
        Home(tmp_path / "link", Disk())


def test_stores_go_where_no_command_can_see_them(tmp_path, ws, monkeypatch):
    monkeypatch.delenv("RSI_SANDBOX_STORE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert place((ws,)) == tmp_path / "state/rsi/sandbox"
    monkeypatch.setenv("XDG_STATE_HOME", str(ws / "state"))
    assert place((ws,)).name == f"rsi-sandbox-{os.getuid()}"
    monkeypatch.setenv("RSI_SANDBOX_STORE", str(ws / "chosen"))
    with pytest.raises(SandboxError, match="would be visible"):
        place((ws,))
    for home in (ws / "inside", tmp_path):
        with pytest.raises(SandboxError, match="would be visible"):
            backend(home).open(ws)
    with pytest.raises(SandboxError, match="would be visible"):
        backend(tmp_path / "shown/home").open(ws, readable=(tmp_path / "shown",))


def test_no_such_workspace_is_said(tmp_path):
    with pytest.raises(SandboxError, match="no such folder"):
        backend(tmp_path / "home").open(tmp_path / "missing")


def test_deletion_follows_no_link_and_takes_closed_and_endless_folders(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "trash").mkdir()
    doomed = tmp_path / "doomed"
    (doomed / "closed/inner").mkdir(parents=True)
    (doomed / "closed/inner/file").touch()
    (doomed / "link").symlink_to(tmp_path / "precious")
    fd = os.open(doomed, os.O_RDONLY)
    for _ in range(30):  # of 200 characters each: no path can name the last
        os.mkdir("deep" * 50, dir_fd=fd)
        inner = os.open("deep" * 50, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    (doomed / "closed/inner").chmod(0)
    (doomed / "closed").chmod(0)
    trash = Trash(tmp_path / "trash", Disk())
    trash.take(doomed)
    assert not doomed.exists()
    trash.take(doomed)
    trash.background.drain()
    assert trash.background.failures == 0
    assert list((tmp_path / "trash").iterdir()) == []
    assert (tmp_path / "precious/file").exists()


def test_close_does_not_wait_for_deletion(tmp_path, ws):
    mine = backend(tmp_path / "home")
    box = mine.open(ws)
    sh(box, "mkdir n; for i in 1 2 3 4 5; do echo $i > n/$i; done")
    gate = threading.Event()  # deletion cannot begin before somebody has looked
    box._making.home.trash.background.submit(gate.wait)
    box.close()
    assert stores(tmp_path / "home") == []
    assert list((tmp_path / "home/trash").iterdir()) != []
    gate.set()
    mine.drain()
    assert list((tmp_path / "home/trash").iterdir()) == []
