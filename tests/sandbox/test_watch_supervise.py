"""`supervise`: a command is fed, read, limited and waited for; what ended it is said."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import msgspec
import pytest

from rsi import clock
from rsi.errors import LaunchError
from rsi.sandbox.launch import Ended
from rsi.sandbox.model import Command, ExecResult, Limits, MiB
from rsi.sandbox.watch import NPROC_SLACK, Cgroup, Usage, cgroup, rlimits, supervise, tree
from rsi.sandbox.watch.gauges import LATEST_S, Processes, View
from rsi.sandbox.watch.streams import Kept, Streams

SPARE = Limits(wall_s=60)
cgroups = pytest.mark.skipif(cgroup.unavailable() is not None, reason=str(cgroup.unavailable()))


class Child:
    """A plain child as a Victim; `kill` ends it alone, as the kernel does with the init of a namespace."""

    def __init__(self, argv: tuple[str, ...], fds: tuple[int, int, int]) -> None:
        stdin, stdout, stderr = fds
        self.child = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, env={"PATH": "/usr/bin:/bin"})
        self.kills = 0

    @property
    def pid(self) -> int:
        return self.child.pid

    def kill(self) -> None:
        self.kills += 1
        os.kill(self.child.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        _, status, used = os.wait4(self.child.pid, 0)
        code = self.child.returncode = os.waitstatus_to_exitcode(status)
        return Ended(
            status=code if code >= 0 else 128 - code, cpu_s=used.ru_utime + used.ru_stime, max_rss=used.ru_maxrss << 10
        )


def run(script: str, data: bytes = b"", limits: Limits = SPARE, **options) -> ExecResult:
    return python_or_shell(("/bin/sh", "-c", script), data, limits, **options)


def python(script: str, limits: Limits = SPARE, **options) -> ExecResult:
    return python_or_shell((sys.executable, "-I", "-S", "-c", script), b"", limits, **options)


def python_or_shell(argv: tuple[str, ...], data: bytes, limits: Limits, **options) -> ExecResult:
    command = Command(argv=argv, env={}, input=data, limits=limits)
    return supervise(lambda *fds: Child(argv, fds), command, **options)


def test_status_and_both_streams_come_back() -> None:
    result = run("echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr, result.killed_by) == (7, "out\n", "err\n", None)
    assert (result.stdout_total, result.stderr_total) == (4, 4)


def test_a_signal_is_128_and_its_number() -> None:
    assert run("kill -SEGV $$").returncode == 128 + signal.SIGSEGV


def test_input_larger_than_the_pipe_is_echoed_whole() -> None:
    data = os.urandom(1 << 21)
    assert run("cat", data, Limits(keep=1 << 22)).stdout_bytes == data


@pytest.mark.parametrize("script", ["exec <&-; echo done", "echo done", "head -c 10 >/dev/null; echo done"])
def test_input_that_nobody_reads_does_not_block(script: str) -> None:
    result = run(script, b"x" * (1 << 22))
    assert (result.stdout, result.returncode) == ("done\n", 0)


def test_no_input_is_the_end_of_file() -> None:
    assert run("cat; echo end").stdout == "end\n"


def test_partial_output_survives_a_timeout() -> None:
    result = run("echo before; sleep 60; echo after", limits=Limits(wall_s=0.2))
    assert (result.stdout, result.killed_by, result.returncode) == ("before\n", "timeout", 137)


def test_a_background_process_that_holds_stdout_does_not_hold_us(tmp_path: Path) -> None:
    """The end is the end of the root, and what it wrote until then is there."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    result = run(f"(read x <{fifo}; sleep 0.01) & echo started")
    assert (result.stdout, result.killed_by) == ("started\n", None)
    with fifo.open("w") as gate:  # blocks until the background process reads: it was alive all the time
        gate.write("\n")


def test_head_and_tail_are_kept_and_the_gap_is_named() -> None:
    result = run("seq 1 100000", limits=Limits(keep=998))
    text = "".join(f"{n}\n" for n in range(1, 100_001))
    assert result.stdout_total == len(text)
    assert result.stdout == f"{text[:499]}\n[... {len(text) - 998} bytes left out ...]\n{text[-499:]}"


@pytest.mark.parametrize("keep", [1, 2, 3, 7, 10, 11])
@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_kept_is_exact_for_every_cut(keep: int, size: int) -> None:
    data = bytes(range(32, 127))
    kept = Kept(keep)
    for at in range(0, len(data), size):
        kept.add(data[at : at + size])
        seen = data[: at + size]
        head, tail = (keep + 1) // 2, keep // 2
        whole = seen if len(seen) <= keep else None
        gap = b"\n[... %d bytes left out ...]\n" % (len(seen) - keep)
        assert kept.content() == (whole if whole is not None else seen[:head] + gap + seen[len(seen) - tail :])
    assert kept.total == len(data)


def test_bytes_that_are_not_text_are_replaced_and_kept() -> None:
    result = run(r"printf '\377ok'")
    assert (result.stdout, result.stdout_bytes) == ("\ufffdok", b"\xffok")


def test_endless_output_is_ended() -> None:
    result = run("yes", limits=Limits(output=MiB, keep=100))
    assert result.killed_by == "output"
    assert result.stdout_total > MiB
    assert len(result.stdout_bytes) < 200


def test_too_much_output_that_ended_by_itself_is_said_too() -> None:
    assert run("head -c 3000 /dev/zero", limits=Limits(output=2000)).killed_by == "output"


def test_memory_is_ended_and_counted_over_children() -> None:
    """Two children with 60 MiB each are over 100 MiB together; neither is alone."""
    script = "import os\nos.fork()\nx = bytearray(60 << 20)\nimport signal\nsignal.pause()"
    result = python_under_a_reaper(script, Limits(memory=100 * MiB))
    assert result.killed_by == "memory"


def test_pages_shared_with_a_parent_are_counted_once() -> None:
    """Four forks of a process with 60 MiB have 300 MiB of RSS, and 60 MiB of memory."""
    script = (
        "import os\nx = bytearray(60 << 20)\nr, w = os.pipe()\n"
        "kids = [k for k in [os.fork() for _ in range(2)] if k]\n"
        "import select; select.select([], [], [], 0.4)\n"
        "for k in kids: os.waitpid(k, 0)\n"
    )
    assert python(script, Limits(memory=120 * MiB)).killed_by is None


def test_memory_in_an_unnamed_file_is_counted() -> None:
    """memfd_create: written, never mapped, so in nobody's RSS."""
    script = (
        "import os, signal\nf = os.memfd_create('x')\nfor _ in range(90): os.write(f, bytes(1 << 20))\nsignal.pause()"
    )
    assert python(script, Limits(memory=64 * MiB, wall_s=20)).killed_by == "memory"


def test_a_deleted_file_on_the_disk_is_no_memory(tmp_path: Path) -> None:
    """It has no name, as a memfd has none, and another device."""
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(MiB))
        file.flush()
        before = tree.memfds([os.getpid()])
        (tmp_path / "file").unlink()
        assert tree.memfds([os.getpid()]) == before
    fd = os.memfd_create("rsi-test")
    os.write(fd, bytes(MiB))
    assert tree.memfds([os.getpid()]) == before + MiB
    os.close(fd)


_HEADLESS = """
import ctypes, os, signal, sys, threading
def spend():
    leader.join()
    {spend}
    signal.pause() if False else threading.Event().wait()
class Leader:
    def join(self):
        while open(f"/proc/{{os.getpid()}}/stat").read().rsplit(")", 1)[1].split()[0] != "Z": pass
leader = Leader()
threading.Thread(target=spend).start()
ctypes.CDLL(None).syscall({exit}, 0)
"""


@pytest.mark.parametrize(
    "spend", ["x = bytearray(b'x') * (90 << 20)", "f = os.memfd_create('x'); [os.write(f, bytes(1 << 20)) for _ in range(90)]"]
)  # fmt: skip
def test_memory_of_a_process_whose_first_thread_has_ended_is_counted(spend: str) -> None:
    """/proc says nothing of it under the process itself, only under its other threads."""
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # exit(2): of one thread
    script = _HEADLESS.format(spend=spend, exit=number)
    assert python(script, Limits(memory=64 * MiB, wall_s=20)).killed_by == "memory"


def test_page_tables_are_counted() -> None:
    """Read a byte of every 2 MiB: the pages are one and the same, what says so takes 4 KiB each."""
    script = (
        "import ctypes, signal\nl = ctypes.CDLL(None, use_errno=True); l.mmap.restype = ctypes.c_void_p\n"
        "a = l.mmap(None, ctypes.c_size_t(1 << 36), 1, 0x4022, -1, ctypes.c_long(0))\n"
        "l.madvise(ctypes.c_void_p(a), ctypes.c_size_t(1 << 36), 15)\n"
        "for n in range(0, 1 << 36, 1 << 21): ctypes.c_byte.from_address(a + n).value\nsignal.pause()"
    )
    assert python(script, Limits(memory=96 * MiB, wall_s=20)).killed_by == "memory"


def test_too_many_processes_are_ended() -> None:
    script = "import os, signal\nfor _ in range(5): os.fork()\nsignal.pause()"
    assert python_under_a_reaper(script, Limits(processes=12, wall_s=20)).killed_by == "processes"


def python_under_a_reaper(script: str, limits: Limits) -> ExecResult:
    """With everything below it ended too, which `Child` does not do."""
    marker = f"rsi-{uuid.uuid4().hex}"
    argv = (sys.executable, "-I", "-S", "-c", script, marker)
    try:
        return python_or_shell(argv, b"", limits)
    finally:
        for pid in running(marker):
            os.kill(pid, signal.SIGKILL)


def running(marker: str) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (each / "cmdline").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue
    return found


def test_a_descriptor_that_has_the_number_of_a_closed_one_is_another() -> None:
    """With no input its pipe is closed at once, and the pidfd of the command may get the number."""
    with Streams(b"", 100) as streams:
        streams.started()
        pidfd = os.pidfd_open(os.getpid())
        taken = os.dup2(pidfd, streams._in)
        try:
            streams.ready(taken)
        finally:
            os.close(taken)
            os.close(pidfd)


def test_cpu_time_of_all_children_together_is_ended() -> None:
    bounded = "ulimit -t 20; (while :; do :; done) & while :; do :; done"  # this Victim leaves the first one behind
    result = run(bounded, limits=Limits(cpu_s=0.2, wall_s=60))
    assert result.killed_by == "cpu"


_UNWAITED = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        while time.process_time() < 0.2: pass
        os._exit(0)
    try: os.wait()
    except ChildProcessError: pass
"""


def test_cpu_time_of_children_whose_end_is_ignored_is_counted() -> None:
    """The kernel adds it to nobody's: what was last seen of each is kept."""
    assert python(_UNWAITED, Limits(cpu_s=0.5, wall_s=60)).killed_by == "cpu"
    assert python(_UNWAITED).cpu_s > 0.5


@cgroups
def test_a_control_group_counts_the_time_of_what_was_too_short_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "times", lambda _: {})
    script = "input()\n" + _UNWAITED
    with group_of() as group:

        def start(*fds: int) -> Child:
            child = Child((sys.executable, "-I", "-S", "-c", script), fds)
            group.add(child.pid)
            return child

        command = Command(argv=("x",), env={}, input=b"\n", limits=Limits(cpu_s=0.5, wall_s=60))
        result = supervise(start, command, cgroup=group)
        if not group.cpu_s:
            pytest.skip("this kernel does not count it")
        assert (result.killed_by, result.cpu_s >= 0.5) == ("cpu", True)


@cgroups
def test_a_limit_ends_all_of_the_group_and_not_only_the_victim() -> None:
    """A process that has left its session and its parent, of a victim that can only end itself."""
    marker = f"rsi-{uuid.uuid4().hex}"
    script = f"setsid sh -c 'while :; do sleep 1; done' {marker} & sleep 600"
    with group_of() as group:

        def start(*fds: int) -> Child:
            child = Child(("/bin/sh", "-c", f"read line; {script}"), fds)
            group.add(child.pid)
            return child

        command = Command(argv=("x",), env={}, input=b"\n", limits=Limits(wall_s=0.5))
        assert supervise(start, command, cgroup=group).killed_by == "timeout"
        deadline = clock.monotonic() + 20
        while running(marker) and clock.monotonic() < deadline:  # what was killed is still ending
            threading.Event().wait(0.01)
        assert running(marker) == []


def group_of() -> Cgroup:
    made = Cgroup.make(Limits())
    assert made is not None
    return made


@pytest.mark.parametrize(("burnt_s", "killer"), [(0.2, "cpu"), (0.0, None)])
def test_a_death_by_rlimit_cpu_is_cpu(burnt_s: float, killer: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel was faster than the watch, which here sees no CPU time at all; an early SIGXCPU is somebody else's."""
    monkeypatch.setattr(tree, "times", lambda _: {})
    script = f"import os, time\nwhile time.process_time() < {burnt_s}: pass\nos.kill(os.getpid(), 24)"
    result = python(script, Limits(cpu_s=0.2, wall_s=60))
    assert (result.killed_by, result.returncode) == (killer, 128 + 24)


def test_cpu_time_is_named_whatever_the_first_process_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ended a child; its parent ends as if nothing had been."""
    monkeypatch.setattr(tree, "times", lambda _: {})
    spin = "while time.process_time() < 0.3: pass\n os.kill(os.getpid(), 9)"
    script = f"import os, time\nif os.fork():\n os.wait()\nelse:\n {spin}"
    result = python(script, Limits(cpu_s=0.2, wall_s=60))
    assert (result.killed_by, result.returncode) == ("cpu", 0)


def test_descriptors_that_were_sent_and_not_taken_are_seen() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not tree.on_their_way([os.getpid()])
        socket.send_fds(ours, [b"x"], [0])
        assert tree.on_their_way([os.getpid()])
        os.close(socket.recv_fds(theirs, 1, 1)[1][0])
        assert not tree.on_their_way([os.getpid()])


def test_memory_that_others_took_is_nobodys_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine lost much of it, and nothing of the command is on its way."""
    lost = iter([0])
    monkeypatch.setattr(tree, "shared_on_host", lambda: next(lost, 1 << 40))
    assert run("sleep 0.3; exit 3").returncode == 3


def test_what_memory_ended_says_how_much_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was killed before it could be counted did not use nothing."""
    monkeypatch.setattr(Child, "wait", lambda self, wait=Child.wait: msgspec.structs.replace(wait(self), max_rss=0))
    result = python("x = bytearray(b'x') * (200 << 20); import time; time.sleep(60)", Limits(memory=100 << 20))
    assert result.killed_by == "memory"
    assert result.max_rss > 100 << 20


@pytest.mark.parametrize(("usage", "killer"), [(Usage(2 << 30, 1), "disk"), (Usage(1, 200_000), "inodes")])
def test_what_was_written_is_ended(usage: Usage, killer: str) -> None:
    assert run("sleep 60", usage=lambda: usage).killed_by == killer


def test_what_was_written_at_the_very_end_is_said(tmp_path: Path) -> None:
    """A command that fills the view faster than anybody looks does not get away with it."""
    file = tmp_path / "f"
    result = run(f"head -c 5000 /dev/zero > {file}", limits=Limits(disk=1000), usage=lambda: Usage(size(file), 1))
    assert result.killed_by == "disk"


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def test_a_closed_box_ends_its_command() -> None:
    assert run("sleep 60", closed=lambda: True).killed_by == "closed"


def test_a_command_that_never_started_is_an_error_and_leaks_nothing() -> None:
    before = descriptors()

    def start(*_: int) -> Child:
        raise LaunchError("exec: no")

    with pytest.raises(LaunchError, match="exec: no"):
        supervise(start, Command(argv=("x",), env={}))
    assert descriptors() == before


@pytest.mark.parametrize("spare", range(6))
def test_pipes_for_which_there_are_not_enough_descriptors_leak_none(spare: int) -> None:
    script = (
        "import os, resource\nfrom rsi.sandbox.watch.streams import Streams\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\nkept = []\n"
        "try:\n while True: kept.append(os.dup(2))\nexcept OSError: pass\n"
        f"for _ in range({spare}): os.close(kept.pop())\n"
        "try: Streams(b'', 1); print('made')\nexcept OSError: pass\n"
        f"print([os.dup(2) for _ in range({spare})] and 'free')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{'free' if spare else '[]'}\n"), ended.stderr


def test_descriptors_are_given_back() -> None:
    run("true")
    before = descriptors()
    run("yes", b"input", Limits(output=1000))
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_error_while_watching_ends_the_command() -> None:
    started: list[Child] = []
    command = Command(argv=("sleep", "60"), env={})

    def start(*fds: int) -> Child:
        started.append(Child(command.argv, (fds[0], fds[1], fds[2])))
        return started[0]

    def broken() -> Usage:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        supervise(start, command, usage=broken)
    assert started[0].child.returncode == -signal.SIGKILL


def test_times_are_those_of_the_clock_of_rsi() -> None:
    """An installed clock that stands still: no wall time passes, and no deadline."""

    class Still:
        now = monotonic = staticmethod(lambda: 5.0)
        sleep = staticmethod(lambda _: None)
        asleep = staticmethod(lambda _: None)

    clock.install(Still())
    try:
        assert run("sleep 0.05", limits=Limits(wall_s=0.01)).wall_ms == 0
    finally:
        clock.install(None)


def test_the_nearer_a_limit_the_sooner_the_next_look() -> None:
    """4 GiB/s is as fast as memory grows: 4 MiB of room is a millisecond of calm."""
    limits = Limits(disk=1 << 30, inodes=None)
    far, near = (View(lambda used=used: Usage(used, 0), limits).look().calm_s for used in (0, (1 << 30) - 4 * MiB))
    assert far == LATEST_S
    assert near < 0.002


def test_a_walk_over_a_fork_bomb_stops() -> None:
    """It looks at one process more than the limit and not at all of them."""
    assert len(tree.pids(1, 3)) <= 3


def test_own_memory_and_threads_are_seen() -> None:
    found = tree.pids(os.getpid())
    assert os.getpid() in found
    assert tree.resident([os.getpid()]) > MiB
    anonymous, _ = tree.proportional([os.getpid()])
    assert 0 < anonymous <= tree.resident([os.getpid()])
    assert tree.tasks([os.getpid()]) == len(list(Path("/proc/self/task").iterdir()))
    assert [each.own > 0 for each in tree.times([os.getpid()]).values()] == [True]


def test_a_tree_that_has_gone_uses_nothing() -> None:
    gone = subprocess.Popen(("true",))
    gone.wait()
    assert tree.pids(gone.pid) == []
    assert Processes(gone.pid, Limits()).look().killer is None


def test_the_kernels_own_limits_leave_room_for_the_watch() -> None:
    values = rlimits(Limits(processes=10, file=99, open_files=7, cpu_s=1.2))
    assert values == {
        "RLIMIT_CORE": 1,
        "RLIMIT_FSIZE": 99,
        "RLIMIT_NOFILE": 7,
        "RLIMIT_NPROC": 10 + NPROC_SLACK,
        "RLIMIT_CPU": 3,
    }
    assert "RLIMIT_CPU" not in rlimits(Limits())
