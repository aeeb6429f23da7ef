"""How a box is given up: once, by its owner, whatever interrupts it; and a disk without room is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from overlay_kit import as_ordinary_user, backend, common_folder, sh, workspace

from rsi.errors import SandboxError
from rsi.sandbox import Isolation, Sandbox
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.trash import Trash
from rsi.sandbox.plain import plain


@pytest.fixture
def ws(tmp_path):
    return workspace(tmp_path / "ws", {"a": "one\n"})


def stores(home: Path) -> list[Path]:
    return list((home / "boxes").iterdir())


@pytest.fixture(params=["overlay", "subprocess"])
def made(request, tmp_path):
    return backend(tmp_path / "home") if request.param == "overlay" else plain(tmp_path / "copies")


def test_a_forked_child_that_leaves_takes_nothing_with_it(ws, made):
    with Sandbox.create(ws, backend=made, require=Isolation()) as box:
        box.exec("echo n > n")
        pid = os.fork()
        if pid == 0:
            said = 1
            try:
                box.exec("true")
            except SandboxError as error:
                box.destroy()
                said = 0 if "another process's" in str(error) else 2
            finally:
                os._exit(said)
        assert os.waitpid(pid, 0)[1] == 0
        assert box.read_file("n") == "n\n"
        assert box.exec("cat a").stdout == "one\n"


@pytest.mark.parametrize("where", ["leave", "release"])
def test_a_close_that_was_interrupted_is_carried_out(tmp_path, ws, monkeypatch, where):
    mine = backend(tmp_path / "home")
    box = mine.open(ws)
    home = box._making.home
    real = getattr(home, where)

    def interrupted(line):
        monkeypatch.undo()
        if where == "leave":
            real(line)
        raise KeyboardInterrupt

    monkeypatch.setattr(home, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        box.close()
    box.close()
    assert mine.drain(30)
    assert stores(tmp_path / "home") == []
    assert home.leaving.failures == 0


class Full(Disk):
    """A disk without room from some moment on."""

    full = False

    def mkdir(self, path, mode=0o700, owner=None):
        if self.full:
            raise OSError(28, "No space left on device", str(path))
        super().mkdir(path, mode, owner)

    def write(self, path, data):
        if self.full:
            raise OSError(28, "No space left on device", str(path))
        super().write(path, data)


def test_a_full_disk_is_named_with_the_way_out_and_the_box_survives_it(tmp_path, ws):
    disk = Full()
    mine = backend(tmp_path / "home", disk)
    box = mine.open(ws)
    first = box.checkpoint("first")
    sh(box, "echo n > n")
    disk.full = True
    calls = [
        lambda: sh(box, "true"),
        lambda: box.checkpoint("second"),
        lambda: box.checkpoint("second", durable=True),
        lambda: box.restore(first.id),
        lambda: box.fork(first.id),
        lambda: mine.open(ws),
    ]
    for call in calls:
        with pytest.raises(SandboxError, match=r"No space left.*RSI_SANDBOX_STORE"):
            call()
    disk.full = False
    assert sh(box, "cat n").stdout == "n\n"
    box.restore(first.id)
    assert box.changes() == []
    box.close()
    mine.sweep()
    assert mine.drain(30)
    assert stores(tmp_path / "home") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something")
@pytest.mark.parametrize("backend_name", ["overlay", "subprocess"])
def test_a_store_that_is_really_full_is_named(tmp_path, ws, backend_name):
    store = tmp_path / "store"
    store.mkdir()
    script = f"""
import subprocess
from rsi.errors import SandboxError
from rsi.sandbox import Isolation, Sandbox
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=4", "none", {str(store)!r}], check=True)
try:
    Sandbox.create({str(ws)!r}, backend={backend_name!r}, require=Isolation())
except SandboxError as error:
    print(error)
"""
    line = ["unshare", "-m", sys.executable, "-c", script]
    env = {**os.environ, "RSI_SANDBOX_STORE": str(store)}
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60, env=env)
    assert "No space left on device" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_an_ordinary_users_closed_folders_are_deleted_too():
    """Moving a folder writes its `..`: whoever may not write to it cannot move it. Root always may."""
    with common_folder() as top:

        def work() -> None:
            (top / "trash").mkdir()
            (top / "doomed/closed/inner/innermost").mkdir(parents=True)
            (top / "doomed/closed/inner/file").touch()
            for name in ("inner/innermost", "inner", ""):
                (top / "doomed/closed" / name).chmod(0)
            trash = Trash(top / "trash", Disk())
            trash.take(top / "doomed")
            assert trash.background.drain(30)
            assert trash.background.failures == 0
            assert list((top / "trash").iterdir()) == []

        as_ordinary_user(work)
