"""Ordinary work, run by the daemon's process in a box. Each answers what came of it."""

# ruff: noqa: PTH208 - names are enough

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from attacks.yard import PYTHON, Yard

from rsi.sandbox import Isolation, Limits, Sandbox

#: Where a box finds programs.
TOOLS = "/usr/local/bin:/usr/bin:/bin"
_LIMITS = Limits(wall_s=60)
_TESTS = """
import multiprocessing, os, subprocess
from concurrent.futures import ProcessPoolExecutor

def square(number): return number * number

def test_a_pool():
    with multiprocessing.Pool(4) as pool: assert pool.map(square, range(50)) == [n * n for n in range(50)]

def test_an_executor_that_spawns():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool: assert pool.submit(square, 7).result() == 49

def test_children_and_files(tmp_path):
    (tmp_path / "file").write_text("text")
    assert subprocess.run(["cat", tmp_path / "file"], capture_output=True, check=True).stdout == b"text"
    assert os.getuid() == 1000
"""


def _box(place: Path, **given) -> Sandbox:
    return Sandbox.create(place, backend="overlay", require=Isolation(), **given)


def _place(folder: Path) -> Path:
    place = folder / "workspace"
    place.mkdir()
    return place


def tests_with_processes(yard: Yard, folder: Path, *, packages: str) -> dict:
    place = _place(folder)
    (place / "test_it.py").write_text(_TESTS)
    # what is installed beside pytest may name plugins whose source is elsewhere, and is not shown
    env = {"PYTHONPATH": packages, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with _box(place, readable=[packages]) as box:
        ended = box.exec([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"], env=env, limits=_LIMITS)
        kinds = {change.path.split("/")[0] for change in box.diff()}
    return {"out": ended.stdout + ended.stderr, "host": sorted(os.listdir(place)), "changed": sorted(kinds)}


def compile_and_run(yard: Yard, folder: Path) -> dict:
    place = _place(folder)
    (place / "main.c").write_text(
        '#include <stdio.h>\n#include <pthread.h>\nint main(void) { printf("42\\n"); return 0; }\n'
    )
    with _box(place) as box:
        ended = box.exec("gcc -O1 -pthread -o main main.c && ./main", limits=_LIMITS)
    return {"returncode": ended.returncode, "out": ended.stdout, "err": ended.stderr}


def run_node(yard: Yard, folder: Path) -> dict:
    place = _place(folder)
    code = (
        "const {Worker}=require('worker_threads');const fs=require('fs');fs.writeFileSync('out','x');"
        "new Worker('require(\"worker_threads\").parentPort.postMessage(42)',{eval:true}).on('message',m=>console.log(m,fs.existsSync('out')))"
    )
    with _box(place) as box:
        ended = box.exec(["node", "-e", code], limits=_LIMITS)
    return {"returncode": ended.returncode, "out": ended.stdout, "err": ended.stderr}


def _git(place: Path, *words: str) -> str:
    base = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run([*base, *words], cwd=place, capture_output=True, text=True, check=True).stdout


def _repository(place: Path) -> Path:
    _git(place, "init", "-q")
    (place / "kept").write_text("as it was\n")
    _git(place, "add", "kept")
    _git(place, "commit", "-qm", "first")
    return place


def use_git(yard: Yard, folder: Path) -> dict:
    """Reading works, `.git` is not written; a repository of one's own in another place is."""
    place = _repository(_place(folder))
    name = "-c user.name=n -c user.email=e@example.org"
    with _box(place) as box:
        assert box.exec("echo changed >> kept; echo new > new").ok
        commit = box.exec(f"git add kept && git {name} commit -qm second")
        another = box.exec(
            f"cp -r .git /tmp/copy; export GIT_DIR=/tmp/copy GIT_WORK_TREE=$PWD;"
            f" git add -A && git {name} commit -qm 'made elsewhere' && git log -1 --format=%s"
        )
        found = {
            "status": box.exec("git status --short").stdout, "diff": box.exec("git diff").stdout, "log": box.exec("git log --format=%s").stdout,
            "commit": commit.returncode, "why": commit.stderr, "stash": box.exec(f"git {name} stash").returncode,
            "another": another.stdout, "err": another.stderr,
        }  # fmt: skip
    return {**found, "host": _git(place, "log", "--format=%s")}


def use_a_worktree(yard: Yard, folder: Path) -> dict:
    """Its `.git` is a file that names a folder outside: git works when that one is shown."""
    main = _repository(_place(folder))
    tree = folder / "tree"
    _git(main, "worktree", "add", "-q", str(tree))
    with _box(tree) as box:
        alone = box.exec("git log --format=%s")
    home = folder / "bare"
    shutil.move(main / ".git", home)
    (tree / ".git").write_text(f"gitdir: {home}/worktrees/tree\n")
    with _box(tree, readable=[home]) as box:
        shown = box.exec("git -c safe.directory='*' log --format=%s")
    return {"alone": alone.returncode, "with the repository shown": shown.stdout or shown.stderr}


def use_a_venv(yard: Yard, folder: Path) -> dict:
    """`~/.pyenv/versions/3.x` as pyenv lays it out, a venv of it in the workspace; nothing else of the home is there."""
    place = _place(folder)
    version = yard.home / ".pyenv" / "versions" / "3.99.1"
    (version / "bin").mkdir(parents=True)
    shutil.copy(os.path.realpath(PYTHON), version / "bin" / "python3.11")
    (version / "bin" / "python3").symlink_to("python3.11")
    (version / "lib").symlink_to("/usr/lib")
    venv = place / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {version}/bin\ninclude-system-site-packages = false\nversion = 3.11\n")
    (venv / "bin" / "python").symlink_to(version / "bin" / "python3")
    try:
        with _box(place) as box:
            ended = box.exec(["python", "-c", "import sys, json; print(sys.version_info[0], sys.prefix)"])
            seen = box.exec(["find", str(yard.home), "-maxdepth", "1", "-mindepth", "1"]).stdout.split()
    finally:
        shutil.rmtree(yard.home / ".pyenv")
    return {
        "out": ended.stdout,
        "err": ended.stderr,
        "venv": str(venv),
        "home": seen,
        "seen": str(yard.home / ".pyenv"),
    }


_OWN = """
import fcntl, multiprocessing, os, pty, socket, sqlite3
from multiprocessing import shared_memory
ours, theirs = pty.openpty(); os.write(ours, b"x\\n"); assert os.read(theirs, 9) == b"x\\n"; print("pty")
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname()); print("loopback")
one = socket.socket(socket.AF_UNIX); one.bind("own.sock"); one.listen(); two = socket.socket(socket.AF_UNIX); two.connect("own.sock"); print("unix")
block = shared_memory.SharedMemory(create=True, size=4096); block.buf[0] = 1; block.close(); block.unlink(); print("shm")
fcntl.flock(open("lock", "w"), fcntl.LOCK_EX); print("lock")
multiprocessing.Semaphore(1).acquire(); print("semaphore")
os.mkfifo("fifo"); fd = os.open("fifo", os.O_RDWR); os.write(fd, b"x"); print("fifo")
base = sqlite3.connect("base.db"); base.execute("pragma journal_mode=wal"); base.execute("create table t(a)"); base.commit(); print("sqlite")
"""


def own_things(yard: Yard, folder: Path) -> dict:
    with _box(_place(folder)) as box:
        ended = box.exec([PYTHON, "-I", "-c", _OWN])
    return {"out": ended.stdout, "err": ended.stderr}
