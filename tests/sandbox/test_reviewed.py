"""What a hostile review got through, each as it was done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsi.errors import SandboxError
from rsi.sandbox import Isolation, Sandbox, check
from rsi.sandbox.overlay import squash as squashing
from rsi.sandbox.overlay import trash
from rsi.sandbox.overlay.reader import Reader


def planted(folder: Path, name: str, body: str) -> None:
    """A virtual environment in the workspace whose programs are not what they seem."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (folder / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (programs / name).write_text(f"#!/bin/sh\n{body}\n")
    (programs / name).chmod(0o755)


@pytest.mark.parametrize("name", ["cat", "mkdir"])
def test_a_program_of_the_workspace_does_not_write_the_fix(tmp_path, name):
    ws = tmp_path / "ws"
    ws.mkdir()
    (ws / "config.py").write_text("old\n")
    planted(ws, name, f'echo planted > conftest.py; exec /usr/bin/{name} "$@"')
    with Sandbox.create(ws, backend="overlay", require=Isolation()) as sandbox:
        found = check(sandbox, {"config.py": "new\n", "deep/er.py": "x\n"}, "true")
        assert sorted(change.path for change in found.changes) == ["config.py", "deep", "deep/er.py"]
        assert sandbox.read_file("config.py") == "new\n"


def test_a_program_of_the_workspace_does_not_read_for_us(tmp_path):
    ws = tmp_path / "ws"
    ws.mkdir()
    (ws / "a").write_text("true\n")
    planted(ws, "head", "echo forged")
    with Sandbox.create(ws, backend="overlay", require=Isolation()) as sandbox:
        assert sandbox.read_file("a") == "true\n"


def test_what_is_not_the_fix_is_not_checked(tmp_path):
    """However it came there: the view must hold the given bytes and nothing else."""
    ws = tmp_path / "ws"
    ws.mkdir()

    class Meddler(Sandbox):
        def write_file(self, path, data):
            super().write_file(path, data)
            self.exec("echo more > other.py")

    with (
        Meddler.create(ws, backend="overlay", require=Isolation()) as sandbox,
        pytest.raises(SandboxError, match=r"other\.py: the sandbox holds something else"),
    ):
        check(sandbox, {"config.py": "new\n"}, "true")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something")
def test_a_workspace_with_something_mounted_in_it_is_refused(tmp_path):
    script = f"""
import subprocess
from pathlib import Path
from rsi.errors import SandboxError
from rsi.sandbox.overlay.backend import OverlayBackend
ws = Path({str(tmp_path)!r}, "w s")
(ws / "da ta").mkdir(parents=True)
subprocess.run(["mount", "-t", "tmpfs", "none", str(ws / "da ta")], check=True)
try:
    OverlayBackend(Path({str(tmp_path)!r}, "home")).open(ws)
except SandboxError as error:
    print(error)
"""
    line = ["unshare", "-m", sys.executable, "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert "w s/da ta is another file system" in done.stdout


def test_a_link_that_takes_a_folders_place_while_it_is_deleted_is_not_followed(tmp_path, monkeypatch):
    """The moment between the look and the change of mode, as a command that is still alive would use it."""
    host = tmp_path / "host"
    host.mkdir(mode=0o755)
    thrown = tmp_path / "trash" / "thrown"
    (thrown / "folder").mkdir(parents=True)
    look = trash._open_up

    def swap(name, folder):
        (thrown / "folder").rename(tmp_path / "aside")
        (thrown / "folder").symlink_to(host)
        look(name, folder)

    monkeypatch.setattr(trash, "_open_up", swap)
    todo = [str(thrown)]
    while todo:
        todo += trash._flatten(todo.pop(), str(tmp_path / "trash"))
    assert host.stat().st_mode & 0o777 == 0o755
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_squash_past_the_limit_of_links_costs_one_copy_and_no_holes(tmp_path, monkeypatch):
    layer = tmp_path / "layers" / "one"
    layer.mkdir(parents=True)
    with (layer / "a0").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 20)
        file.write(b"data")
    for n in range(1, 50):
        os.link(layer / "a0", layer / f"a{n}")
    real = os.link

    def link(source, target, **more):
        if str(source).startswith(str(layer)):
            raise OSError(31, "Too many links")
        real(source, target, **more)

    monkeypatch.setattr(squashing.os, "link", link)
    target = tmp_path / "layers" / "target"
    with Reader(str(layer.parent)) as reader:
        squashing.squash(reader, (layer,), target)
    made = [path.stat() for path in target.iterdir()]
    assert len({stat.st_ino for stat in made}) == 1
    assert made[0].st_size == 1 << 30
    assert made[0].st_blocks * 512 < 1 << 20
    with (target / "a7").open("rb") as file:
        file.seek(1 << 20)
        assert file.read(5) == b"data\0"
