"""What survives the death of a box's owner: durable checkpoints, whole, and nothing that is not what was written."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from overlay_kit import applied, backend, settled, sh, tree, workspace

from rsi.errors import SandboxError
from rsi.sandbox.overlay import DamagedError, OverlayBackend
from rsi.sandbox.overlay.disk import Disk

FILES = {"a": "one\n", "d/x": "x\n"}
#: The first steps at which the owner is killed; every one with RSI_SANDBOX_LONG=1.
LONG = os.environ.get("RSI_SANDBOX_LONG") is not None


class Traced(Disk):
    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, []

    def _note(self, call: str, path: Path) -> None:
        self.calls.append((call, path.name))

    def syncfs(self, path):
        self._note("syncfs", path)
        super().syncfs(path)

    def write(self, path, data):
        self._note("write", path)
        super().write(path, data)

    def fsync(self, path):
        self._note("fsync", path)
        super().fsync(path)

    def rename(self, old, new):
        self._note("rename", new)
        super().rename(old, new)


class Lethal(Disk):
    """Kills the process at the n-th call, before or after making it. Nothing is synced: kill -9 does not need it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self.after = at, after

    def _step(self, call, *args, **kwargs):
        self.left -= 1
        if self.left == 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        call(*args, **kwargs)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def mkdir(self, path, mode=0o700, owner=None):
        self._step(super().mkdir, path, mode, owner)

    def write(self, path, data):
        self._step(super().write, path, data)

    def rename(self, old, new):
        self._step(super().rename, old, new)

    def fsync(self, path):
        self._step(lambda: None)

    def syncfs(self, path):
        self._step(lambda: None)


def in_child(work) -> int:
    """Run it in a forked process that ends without cleaning up; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def write(box, path: str, text: str) -> None:
    place = box._line.layer(box._stack.upper) / path
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)


@pytest.fixture
def ws(tmp_path):
    return workspace(tmp_path / "ws", FILES)


def died(home: Path, ws: Path) -> None:
    """An owner that made three durable checkpoints and one that is not, and was killed."""

    def work() -> None:
        box = backend(home).open(ws)
        for number in range(3):
            sh(box, f"echo {number} > n; echo {number} > only{number}; rm -rf d; mkdir -p d/sub; ln -s n s{number}")
            box.checkpoint(f"number {number}", durable=True)
        sh(box, "echo volatile > n")
        box.checkpoint("volatile")
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == signal.SIGKILL


def test_every_step_is_on_the_disk_before_the_next_relies_on_it(tmp_path, ws):
    disk = Traced(tmp_path)
    box = backend(tmp_path / "home", disk).open(ws)
    sh(box, "echo two > a")
    disk.calls.clear()
    box.checkpoint("durable", durable=True)
    layer = box._stack.chain[0]
    assert disk.calls == [
        ("syncfs", box._line.store.name),
        ("write", f".{layer}.json.{box.store.name}.new"),
        ("fsync", f".{layer}.json.{box.store.name}.new"),
        ("rename", f"{layer}.json"),
        ("fsync", "manifests"),
        ("write", ".box.json.new"),
        ("fsync", ".box.json.new"),
        ("rename", "box.json"),
        ("fsync", box.store.name),
    ]
    assert layer in (box.store / "box.json").read_text()
    box.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_is_asked_in_that_order(tmp_path, ws):
    script = (
        "import sys, pathlib; from rsi.sandbox.overlay import OverlayBackend\n"
        "box = OverlayBackend(pathlib.Path(sys.argv[1])).open(pathlib.Path(sys.argv[2]))\n"
        "(box._line.layer(box._stack.upper) / 'n').write_text('n')\n"
        "box.checkpoint('durable', durable=True); box.close()\n"
    )
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=syncfs,fsync,rename,renameat,renameat2"]
    subprocess.run([*strace, sys.executable, "-c", script, tmp_path / "home", ws], check=True, timeout=60)
    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines() if str(tmp_path / "home") in line]
    start = next(number for number, call in enumerate(calls) if call.startswith("syncfs"))
    words = [(call.split("(")[0].rstrip("at2"), call) for call in calls[start : start + 7]]
    assert [word for word, _ in words] == ["syncfs", "fsync", "rename", "fsync", "fsync", "rename", "fsync"]
    for (_, call), what in zip(
        words, ["boxes", ".json.", "manifests", "manifests>", ".box.json", "/box.json", "lines"], strict=True
    ):
        assert what in call


def test_a_reopened_box_has_every_durable_checkpoint_and_nothing_above(tmp_path, ws):
    died(tmp_path / "home", ws)
    again = backend(tmp_path / "home")
    [store] = again.kept()
    box = again.open(ws, reopen=store)
    assert [(each.label, each.durable) for each in box.checkpoints()] == [(f"number {n}", True) for n in range(3)]
    assert sh(box, "cat n").stdout == "2\n"
    for number, point in enumerate(box.checkpoints()):
        box.restore(point.id)
        assert sh(box, "cat n; ls").stdout == f"{number}\na\nd\nn\n" + "".join(
            f"only{n}\n" for n in range(number + 1)
        ) + "".join(f"s{n}\n" for n in range(number + 1))
    more = box.checkpoint("more", durable=True)
    assert len({point.id for point in box.checkpoints()}) == 4
    assert more.id not in {"c1", "c2", "c3"}
    assert len(list((box._line.store / "layers").iterdir())) <= 5
    box.close()
    settled(tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home").rglob("*")) == ["boxes", "gate", "trash"]


def test_a_box_whose_owner_lives_is_not_taken_over(tmp_path, ws):
    box = backend(tmp_path / "home").open(ws)
    box.checkpoint("durable", durable=True)
    with pytest.raises(SandboxError, match="still running"):
        backend(tmp_path / "home").open(ws, reopen=box.store)
    assert sh(box, "cat a").stdout == "one\n"
    box.close()


def test_a_box_is_reopened_for_its_own_workspace_only(tmp_path, ws):
    died(tmp_path / "home", ws)
    again = backend(tmp_path / "home")
    [store] = again.kept()
    with pytest.raises(SandboxError, match="is a sandbox of"):
        again.open(workspace(tmp_path / "other", FILES), reopen=store)
    for nonsense in (tmp_path, store.parent, Path("/")):
        with pytest.raises(SandboxError):
            again.open(ws, reopen=nonsense)
    box = again.open(ws, reopen=store)
    assert len(box.checkpoints()) == 3
    box.close()


def damage_bytes(store, layer):
    (store / "layers" / layer / "n").write_text("9\n")


def damage_mode(store, layer):
    (store / "layers" / layer / "n").chmod(0o777)


def damage_missing(store, layer):
    (store / "layers" / layer / "n").unlink()


def damage_added(store, layer):
    (store / "layers" / layer / "added").touch()


def damage_opaque(store, layer):
    folder = store / "layers" / layer / "d"
    name = next(name for name in os.listxattr(folder) if name.endswith("opaque"))
    os.removexattr(folder, name)


def damage_manifest(store, layer):
    path = store / "manifests" / f"{layer}.json"
    path.write_text(path.read_text().replace('"n"', '"m"'))


def damage_gone(store, layer):
    shutil.rmtree(store / "layers" / layer)


@pytest.mark.parametrize(
    "damage",
    [damage_bytes, damage_mode, damage_missing, damage_added, damage_opaque, damage_manifest, damage_gone],
)
def test_a_damaged_layer_takes_its_checkpoints_with_it_and_says_why(tmp_path, ws, damage):
    died(tmp_path / "home", ws)
    again = backend(tmp_path / "home")
    [line] = again.kept()
    saved = json.loads((line / "box.json").read_text())["record"]["checkpoints"]
    layer = saved[1]["chain"][-1]
    damage(line.parents[1], saved[0]["chain"][0] if damage is damage_opaque else layer)
    box = again.open(ws, reopen=line)
    bad = saved if damage is damage_opaque else saved[1:]
    assert set(box.damaged) == {each["id"] for each in bad}
    assert [point.label for point in box.checkpoints()] == [each["label"] for each in saved if each not in bad]
    for each in bad:
        with pytest.raises(DamagedError, match="cannot be restored"):
            box.restore(each["id"])
    assert sh(box, "cat n 2>/dev/null || echo none").stdout == ("none\n" if damage is damage_opaque else "0\n")
    box.close()


def test_a_damaged_record_is_an_error_and_not_an_empty_box(tmp_path, ws):
    died(tmp_path / "home", ws)
    again = backend(tmp_path / "home")
    [line] = again.kept()
    record = line / "box.json"
    text = record.read_text()
    for broken in ("", text[:-20], text.replace("number 1", "number 7"), text.replace('"version":2', '"version":3')):
        record.write_text(broken)
        with pytest.raises(SandboxError, match=r"damaged|version"):
            again.open(ws, reopen=line)
    record.write_text(text)
    box = again.open(ws, reopen=line)
    assert len(box.checkpoints()) == 3
    box.close()


def test_forks_of_a_dead_owner_come_back_each_for_itself(tmp_path, ws):
    home = tmp_path / "home"

    def work() -> None:
        box = backend(home).open(ws)
        sh(box, "echo shared > n")
        first = box.checkpoint("shared", durable=True)
        fork = box.fork(first.id)
        sh(fork, "echo forked > n")
        fork.checkpoint("forked", durable=True)
        os.kill(os.getpid(), signal.SIGKILL)

    in_child(work)
    one, two = backend(home), backend(home)
    boxes = [made.open(ws, reopen=line) for made, line in zip((one, two), one.kept(), strict=True)]
    fork, box = sorted(boxes, key=lambda each: -len(each.checkpoints()))
    assert [len(fork.checkpoints()), len(box.checkpoints())] == [2, 1]
    box.close()
    assert sh(fork, "cat n").stdout == "forked\n"
    fork.restore(fork.checkpoints()[0].id)
    assert sh(fork, "cat n").stdout == "shared\n"
    fork.close()
    settled(home)
    assert list((home / "boxes").iterdir()) == []


def story(home: Path, ws: Path, disk: Disk, told: Path) -> None:
    """What an owner does; `told` gets a line for each durable checkpoint once it was promised."""
    with told.open("a") as book:
        box = OverlayBackend(home, disk=disk).open(ws)
        base = tree(ws)

        def promise(who, label):
            expected = {path: repr(what) for path, what in applied(base, who.changes()).items()}
            point = who.checkpoint(label, durable=True)
            book.write(json.dumps([str(who.store), point.id, expected]) + "\n")
            book.flush()
            return point

        write(box, "n", "1")
        write(box, "d/x", "new")
        first = promise(box, "first")
        write(box, "n", "2")
        box.checkpoint("volatile")
        fork = box.fork()
        write(fork, "m", "forked")
        promise(fork, "forked")
        write(box, "n", "3")
        promise(box, "third")
        box.restore(first.id)
        write(box, "k", "4")
        promise(box, "fourth")
        box._making.home.trash.background.drain()
        book.write(json.dumps([str(fork.store), None, {}]) + "\n")  # from here on it is given up
        book.flush()
        fork.close()
        OverlayBackend(home, disk=disk).sweep()


@pytest.mark.parametrize("after", [False, True])
def test_an_owner_killed_at_any_step_leaves_every_promise_kept(tmp_path, ws, after):
    base, at = tree(ws), 0
    while True:
        at += 1 if LONG else 2
        home, told = tmp_path / f"home{at}", tmp_path / f"told{at}"
        status = in_child(lambda: story(home, ws, Lethal(at, after=after), told))  # noqa: B023
        promises = [json.loads(line) for line in told.read_text().splitlines()]
        given_up = {line for line, point, _ in promises if point is None}
        made = backend(home)
        kept = {str(line) for line in made.kept()}
        assert {line for line, _, _ in promises} - given_up <= kept, at
        for store in kept:
            box = made.open(ws, reopen=Path(store))
            assert box.damaged == {}, at
            for line, point, expected in promises:
                if line == store and point is not None:
                    box.restore(point)
                    assert {path: repr(what) for path, what in applied(base, box.changes()).items()} == expected, at
            box.close()
        settled(home)
        assert list((home / "boxes").iterdir()) == [], at
        assert list((home / "trash").iterdir()) == [], at
        if status == 0:  # it got to its end: there was no such step
            break
        assert status == signal.SIGKILL
    assert at > 50
