"""Control groups: found where they may be made, counted by the kernel, never left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsi.sandbox.model import Limits, MiB
from rsi.sandbox.watch import Cgroup, cgroup
from rsi.sandbox.watch.hierarchy import Place, places

needed = pytest.mark.skipif(cgroup.unavailable() is not None, reason=str(cgroup.unavailable()))


def mounts(*lines: tuple[str, Path, str, str]) -> str:
    return "".join(
        f"30 20 0:1 {root} {point} rw,relatime - {kind} none {options}\n" for root, point, kind, options in lines
    )


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"cgroup.procs": "", **files}.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_v1_is_below_our_own_groups(tmp_path: Path) -> None:
    memory, pids = group(tmp_path / "memory/me"), group(tmp_path / "pids/me/too")
    text = mounts(("/", tmp_path / "memory", "cgroup", "rw,memory"), ("/", tmp_path / "pids", "cgroup", "rw,pids"))
    found = places("9:pids:/me/too\n4:memory:/me\n0::/\n", text)
    assert found == (Place(memory, 1, ("memory",)), Place(pids, 1, ("pids",)))


def test_one_of_two_is_not_enough(tmp_path: Path) -> None:
    group(tmp_path / "memory")
    assert places("4:memory:/\n", mounts(("/", tmp_path / "memory", "cgroup", "rw,memory"))) == ()


def test_v2_is_the_nearest_ancestor_that_hands_out_both(tmp_path: Path) -> None:
    group(tmp_path / "user", cgroup_subtree_control="cpu memory pids\n")
    delegated = group(tmp_path / "user/app", cgroup_subtree_control="memory pids\n")
    group(tmp_path / "user/app/me", cgroup_subtree_control="")
    found = places("0::/user/app/me\n", mounts(("/", tmp_path, "cgroup2", "rw")))
    assert found == (Place(delegated, 2, ("memory", "pids")),)


def test_v2_without_controllers_is_nothing(tmp_path: Path) -> None:
    group(tmp_path / "me", cgroup_subtree_control="cpu\n")
    group(tmp_path, cgroup_subtree_control="cpu memory\n")
    assert places("0::/me\n", mounts(("/", tmp_path, "cgroup2", "rw"))) == ()


def test_a_mount_that_shows_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    """As in a container without a namespace of its own for groups."""
    memory, pids = group(tmp_path / "memory/x"), group(tmp_path / "pids/x")
    text = mounts(
        ("/docker/1", tmp_path / "memory", "cgroup", "memory"), ("/docker/1", tmp_path / "pids", "cgroup", "pids")
    )
    assert [place.folder for place in places("4:memory:/docker/1/x\n9:pids:/docker/1/x\n", text)] == [memory, pids]
    assert places("4:memory:/elsewhere\n9:pids:/elsewhere\n", text) == ()


def test_a_group_outside_of_our_namespace_is_not_used(tmp_path: Path) -> None:
    group(tmp_path, cgroup_subtree_control="memory pids")
    assert places("0::/../../x\n", mounts(("/", tmp_path, "cgroup2", "rw"))) == ()


@needed
def test_memory_is_limited_and_the_killer_is_known() -> None:
    with group_of(Limits(memory=64 * MiB)) as limited:
        code = spend(limited, "x = bytearray(200 << 20)")
        assert code == -9
        assert limited.exceeded() == "memory"
        assert 32 * MiB < limited.peak <= 64 * MiB


@needed
def test_processes_are_limited_and_the_killer_is_known() -> None:
    with group_of(Limits(processes=3)) as limited:
        script = (
            "import os, signal\ntry:\n  for _ in range(20):\n    if not os.fork(): signal.pause()\nexcept OSError: pass"
        )
        spend(limited, script)
        assert limited.exceeded() == "processes"
        limited.kill()


@needed
def test_nothing_exceeded_is_nothing() -> None:
    with group_of(Limits()) as limited:
        assert spend(limited, "pass") == 0
        assert limited.exceeded() is None


@needed
def test_leaving_ends_and_removes() -> None:
    with group_of(Limits()) as limited:
        folders = [Path(each) for each in limited.folders]
        sleeper = subprocess.Popen(("sleep", "600"))
        limited.add(sleeper.pid)
        assert all(folder.is_dir() for folder in folders)
    assert sleeper.wait() == -9
    assert not any(folder.exists() for folder in folders)


@needed
def test_groups_of_dead_owners_are_swept_and_those_of_the_living_kept() -> None:
    place = cgroup.available()[0]
    dead = subprocess.Popen(("true",))
    dead.wait()
    here = Path("/proc/self/ns/pid").stat().st_ino
    stale = place.folder / f"rsi-{here}-{dead.pid}-123-0"
    reborn = place.folder / f"rsi-{here}-{os.getpid()}-1-0"  # our pid, but of a process that started at another time
    other = place.folder / "rsi-of-somebody-else"
    foreign = place.folder / f"rsi-{here + 1}-{dead.pid}-123-0"  # in its own namespace that pid may be alive
    with group_of(Limits()) as mine:
        for folder in (stale, reborn, other, foreign):
            folder.mkdir()
        try:
            assert set(cgroup.sweep(place.folder)) >= {stale.name, reborn.name}
            assert not stale.exists()
            assert not reborn.exists()
            assert other.exists()
            assert foreign.exists()
            assert Path(mine.folders[0]).exists()
        finally:
            other.rmdir()
            foreign.rmdir()


def test_none_where_none_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "available", tuple)
    assert Cgroup.make(Limits()) is None
    assert "delegate" in str(cgroup.unavailable())


def test_a_place_that_refuses_is_none_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two places has gone since we looked."""
    there, gone = tmp_path / "memory", tmp_path / "pids"
    there.mkdir()
    monkeypatch.setattr(cgroup, "available", lambda: (Place(there, 1, ()), Place(gone, 1, ("pids",))))
    assert Cgroup.make(Limits()) is None
    assert list(there.iterdir()) == []


def test_a_process_of_another_namespace_is_nobody_we_may_end(tmp_path: Path) -> None:
    """It is listed as 0, which to kill(2) is our whole process group."""
    group(tmp_path, cgroup_procs="0\n-1\n")
    kept = subprocess.run(
        (sys.executable, "-c", f"from rsi.sandbox.watch import cgroup; from pathlib import Path; cgroup._kill(Path({str(tmp_path)!r})); print('alive')"),
        capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    assert (kept.returncode, kept.stdout) == (0, "alive\n")


def test_in_v2_all_of_a_group_go_when_memory_runs_out(tmp_path: Path) -> None:
    """Not one process of it, of which the others know nothing."""
    group(tmp_path, memory_max="max", memory_oom_group="0", memory_swap_max="max", pids_max="max")
    (tmp_path / "memory.oom_group").rename(tmp_path / "memory.oom.group")
    (tmp_path / "memory.swap_max").rename(tmp_path / "memory.swap.max")
    cgroup._limit(tmp_path, Place(tmp_path, 2, ("memory", "pids")), Limits(memory=MiB, processes=5))
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {
        "cgroup.procs": "",
        "memory.max": str(MiB),
        "memory.oom.group": "1",
        "memory.swap.max": "0",
        "pids.max": "7",
    }


@needed
def test_the_time_of_those_nobody_waited_for_is_counted() -> None:
    with group_of(Limits()) as limited:
        spend(limited, UNWAITED)
        assert limited.cpu_s == 0.0 or limited.cpu_s >= 0.3  # 0: this kernel does not say


@pytest.mark.parametrize("version", [1, 2])
def test_the_time_is_read_as_each_version_says_it(tmp_path: Path, version: int) -> None:
    folder = group(tmp_path / "x")
    if version == 1:
        (folder / "cpuacct.usage").write_text("1500000000\n")
    else:
        (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    made = Cgroup({Place(tmp_path, version, ()): folder})
    assert made.cpu_s == 1.5
    made._parts = {}
    made.close()


def test_v1_counts_time_in_a_hierarchy_of_its_own_where_there_is_one(tmp_path: Path) -> None:
    text = ""
    for name in ("memory", "pids", "cpuacct"):
        group(tmp_path / name)
        text += mounts(("/", tmp_path / name, "cgroup", f"rw,{name}"))
    found = places("9:pids:/\n4:memory:/\n2:cpu,cpuacct:/\n", text)
    assert [place.controllers for place in found] == [("memory",), ("pids",), ("cpuacct",)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_stops_the_making_of_a_group_leaves_nothing(tmp_path: Path, monkeypatch, error) -> None:
    """At the limits, and when the last of its files is opened."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(cgroup, "available", lambda: (Place(folder, 1, ()),))
    monkeypatch.setattr(cgroup, "_remove", shutil.rmtree)
    before = descriptors()

    def stopped(*_: object) -> None:
        raise error

    def half(made: Cgroup) -> Iterator[None]:
        made._open[folder] = os.open(folder, os.O_RDONLY)
        yield stopped()

    for where, step in ((cgroup, ("_limit", stopped)), (Cgroup, ("_watched", half))):
        with monkeypatch.context() as patch:
            patch.setattr(where, *step)
            if error is OSError:
                assert Cgroup.make(Limits()) is None
            else:
                with pytest.raises(error):
                    Cgroup.make(Limits())
        assert list(folder.iterdir()) == []
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


#: Ten children of 50 ms each, whose parent wants to know nothing of their ends; the kernel's clock may be coarse.
UNWAITED = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(10):
    if os.fork() == 0:
        while time.process_time() < 0.05: pass
        os._exit(0)
try: os.wait()
except ChildProcessError: pass
"""


def group_of(limits: Limits) -> Cgroup:
    made = Cgroup.make(limits)
    assert made is not None
    return made


def spend(limited: Cgroup, script: str) -> int:
    """Run a script that waits for its first line of input, by which time it is in the group."""
    child = subprocess.Popen(
        (sys.executable, "-I", "-S", "-c", f"input()\n{script}"), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    limited.add(child.pid)
    child.communicate(b"\n")
    return child.returncode
