"""A command in its namespaces: how it starts, what it is given, how it ends."""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch_kit import (
    IS_ROOT,
    KILLED,
    LIBC,
    MODES,
    PYTHON,
    Yard,
    alive,
    as_mode,
    become_user,
    crew,
    in_fork,
    must,
    new_zygote,
    run,
    start,
    yard,
)

from rsi.errors import LaunchError
from rsi.sandbox import launch
from rsi.sandbox.launch import MAX_ORDER, Zygote, layer_owner
from rsi.sandbox.launcher.table import NUMBERS

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/user").exists(), reason="needs Linux's namespaces")


RT_SIGACTION = NUMBERS["rt_sigaction"]
SECRET = b"sk-very-secret-indeed"


@pytest.fixture(scope="module", autouse=True)
def zygotes() -> Iterator[None]:
    with crew():
        yield


@pytest.fixture(params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Yard]:
    with yard(request.param) as made:
        yield made


def test_a_command_runs_in_the_view_and_the_workspace_does_not_change(place: Yard) -> None:
    result = place.sh("cat file; echo new > made; echo changed > file; pwd")
    assert (result.status, result.out, result.err) == (0, f"from the host\n{place.workspace}\n", "")
    assert place.view("made").read_text() == "new\n"
    assert (place.workspace / "file").read_text() == "from the host\n"
    assert not (place.workspace / "made").exists()


def test_what_a_command_writes_belongs_to_its_user(place: Yard) -> None:
    place.sh("echo x > made; mkdir folder")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in map(place.view, ("made", "folder"))} == {place.owner}


def test_inside_everybody_is_user_1000(place: Yard) -> None:
    assert place.sh("id -u; id -g; id -G; id -un; whoami; stat -c %u file .").out.split() == [
        *("1000", "1000", "1000", "sandbox", "sandbox", "1000", "1000")
    ]


def test_arguments_and_environment_are_exact(place: Yard) -> None:
    argv = ("x y", "", "newline\nin it", "\udcff\udcfe", "é", "--", "$HOME")
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "ODD": "a=b\n\udcff", "EMPTY": ""}
    script = "import os,sys;print([os.fsencode(a) for a in sys.argv[1:]]);print(sorted(os.environb.items()))"
    result = place.run(PYTHON, "-I", "-S", "-X", "utf8", "-c", script, *argv, env=env)
    assert result.out.splitlines() == [
        repr([os.fsencode(each) for each in argv]),
        repr(sorted((os.fsencode(key), os.fsencode(value)) for key, value in env.items())),
    ]


def test_input_output_and_errors_are_three_pipes_and_nothing_else_is_open(place: Yard) -> None:
    result = place.sh("cat; echo problem >&2; ls /proc/self/fd | tr '\\n' ' '", given=b"given\n")
    assert (result.out, result.err) == ("given\n0 1 2 3 ", "problem\n")  # 3 is the folder that ls reads


def test_a_missing_program_is_127_and_one_that_may_not_run_126(place: Yard) -> None:
    for argv, status in ((("no-such-program",), 127), (("/no/such",), 127), (("./file",), 126), (("/tmp",), 126)):
        result = place.run(*argv)
        assert (result.status, result.err[:5], argv[0] in result.err) == (status, "rsi: ", True)


def test_a_program_is_looked_for_along_the_commands_own_path(place: Yard) -> None:
    place.sh("mkdir bin; printf '#!/bin/sh\\necho mine' > bin/tool; chmod +x bin/tool")
    assert place.run("tool", env={"PATH": f"/nowhere:{place.workspace}/bin"}).out == "mine\n"
    assert place.run("tool", env={"PATH": "/usr/bin"}).status == 127


def test_signals_are_as_a_shell_expects_them(place: Yard) -> None:
    result = place.sh("grep -E 'Sig(Blk|Ign)' /proc/self/status; umask")
    assert result.out.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "0022"]
    assert place.sh("kill -SEGV $$").status == 128 + signal.SIGSEGV


def test_signals_of_the_c_library_that_our_parent_ignores_are_not_ignored_inside(place: Yard) -> None:
    """32 and 33 with glibc: only the bare system call can ignore them, or take that back."""
    order = place.order("/bin/grep", "SigIgn", "/proc/self/status")

    def ignored() -> tuple[str, str]:
        for number in (32, 33):
            must(LIBC.syscall(RT_SIGACTION, number, struct.pack("=4Q", 1, 0, 0, 0), None, 8))
        return Path("/proc/self/status").read_text().split("SigIgn:\t")[1][:16], run(order).out

    outside, inside = in_fork(ignored, prepare=become_user if place.mode == "user" and IS_ROOT else lambda: None)
    assert int(outside, 16) >> 31 == 3
    assert inside == f"SigIgn:\t{'0' * 16}\n"


def test_a_status_of_125_is_the_commands_own(place: Yard) -> None:
    assert place.sh("exit 125").status == 125


def test_nothing_outlives_a_command(place: Yard) -> None:
    """A process that has left its session and ignores everything keeps stdout open: the end comes all the same."""
    script = "(trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; echo here; sleep 1000') & sleep 0.2"
    result = place.sh(script)
    assert (result.status, result.out) == (0, "here\n")


def test_grandchildren_count(place: Yard) -> None:
    """CPU and memory of a process whose parent has gone, and whose parent never waited."""
    work = "x=bytearray(90<<20)\nimport time\nwhile time.process_time()<0.3: pass"
    script = (
        "import os,time\n"
        "if os.fork()==0:\n"
        "  if os.fork()==0:\n"
        f"    exec({work!r})\n"
        "    open('done','w')\n"
        "  os._exit(0)\n"
        "while not os.path.exists('done'): time.sleep(0.01)"
    )
    ended = place.python(script).ended
    assert ended.status == 0
    assert 0.3 <= ended.cpu_s < 30
    assert ended.max_rss > 90 << 20


def test_killing_ends_everything_and_counts_what_it_used(place: Yard) -> None:
    script = "import os,time\nif not os.fork(): os.setsid()\nwhile time.process_time()<0.2: pass\nprint('spun',flush=True)\nwhile 1: pass"
    order = place.order(PYTHON, "-I", "-S", "-c", script)

    def killed() -> tuple[int, float, bool]:
        zygote = new_zygote()
        out, theirs = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        child = zygote.launch(order, null, theirs, null)
        os.close(theirs)
        spun = b""
        while spun.count(b"spun") < 2:
            spun += os.read(out, 100)
        child.kill()
        child.kill()
        ended = child.wait()
        child.kill()
        gone = os.read(out, 100) == b""
        zygote.close()
        return ended.status, ended.cpu_s, gone

    status, cpu_s, gone = as_mode(place.mode, killed)
    assert (status, gone) == (KILLED, True)
    assert cpu_s >= 0.4


def test_the_death_of_the_init_is_the_death_of_all(place: Yard) -> None:
    order = place.order("/bin/sh", "-c", "setsid sleep 1000 & echo up; sleep 1000")

    def killed() -> tuple[int, str, bool]:
        zygote = new_zygote()
        child, streams = start(zygote, order)
        assert alive(child.pid)
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        status = child.wait().status
        out, _ = streams.kept()  # its end: nobody holds the other side any more
        zygote.close()
        return status, out, alive(child.pid)

    status, out, left = as_mode(place.mode, killed)
    assert (status, left) == (KILLED, False)
    assert out in {"up\n", ""}


def test_limits_reach_the_command(place: Yard) -> None:
    limits = {"RLIMIT_NOFILE": 77, "RLIMIT_FSIZE": 1 << 20, "RLIMIT_CORE": 0}
    assert place.sh("ulimit -n; ulimit -f; ulimit -c", rlimits=limits).out.split() == ["77", "2048", "0"]
    assert place.sh("head -c 2M /dev/zero > big", rlimits=limits).status != 0
    assert place.view("big").stat().st_size == 1 << 20


def test_the_folder_to_start_in_must_be_there(place: Yard) -> None:
    place.sh("mkdir -p a/b")
    assert place.sh("pwd", cwd=f"{place.workspace}/a/b").out == f"{place.workspace}/a/b\n"
    with pytest.raises(LaunchError, match=r"exec: enter the working folder.*No such file"):
        place.sh("touch ran", cwd=f"{place.workspace}/nowhere")
    assert not place.view("ran").exists()


def test_two_commands_run_side_by_side_from_one_zygote(place: Yard) -> None:
    """Each waits for the other's file in its own layer, so that neither could end alone."""
    with yard(place.mode) as other:
        orders = [each.order("/bin/sh", "-c", "read line; echo $line") for each in (place, other)]

        def both() -> list[str]:
            zygote = new_zygote()
            ends = [os.pipe() for _ in orders]
            outs = [os.pipe() for _ in orders]
            children = [
                zygote.launch(order, end[0], out[1], out[1]) for order, end, out in zip(orders, ends, outs, strict=True)
            ]
            for _, write in outs:
                os.close(write)
            for number in (1, 0):
                os.write(ends[number][1], f"{number}\n".encode())
                assert children[number].wait().status == 0
            zygote.close()
            return [os.read(out[0], 10).decode() for out in outs]

        assert as_mode(place.mode, both) == ["0\n", "1\n"]


def test_a_zygote_that_died_is_started_again(place: Yard) -> None:
    orders = [place.order("/bin/true") for _ in range(3)]

    def again() -> tuple[list[int], bool]:
        zygote = new_zygote()
        statuses = [run(orders[0], zygote=zygote).status]
        first = zygote.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        statuses += [run(order, zygote=zygote).status for order in orders[1:]]
        changed = zygote.pid != first
        zygote.close()
        return statuses, changed and zygote.pid is None

    assert as_mode(place.mode, again) == ([0, 0, 0], True)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_that_run_out_are_an_error_that_leaves_nothing(place: Yard) -> None:
    """At every point of a start, until there are enough."""
    orders = [place.order("/bin/true") for _ in range(10)]

    def scarce() -> tuple[list[str], list[int]]:
        zygote = new_zygote()
        null = os.open("/dev/null", os.O_RDWR)
        zygote.launch(orders[0], null, null, null).wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        before, said, left = descriptors(), [], []
        for spare, order in enumerate(orders[1:]):
            kept = [os.dup(null) for _ in range(64 - before + 1 - spare)]  # the listing itself was one
            try:
                said.append(str(zygote.launch(order, null, null, null).wait().status))
            except LaunchError as error:
                said.append(str(error).split(":")[1])
            for fd in kept:
                os.close(fd)
            left.append(descriptors() - before)
        zygote.close()
        return said, left

    said, left = in_fork(scarce, prepare=become_user if place.mode == "user" and IS_ROOT else lambda: None)
    assert (said[0], said[-1]) == (" start", "0")
    assert {*said} == {" start", "0"}
    assert {*left} == {0}


def test_an_interrupt_at_any_moment_of_a_start_leaves_neither_descriptors_nor_a_process(place: Yard) -> None:
    orders = [place.order("/bin/sleep", "600") for _ in range(8)]

    def interrupted() -> tuple[list[int], bool]:
        zygote = new_zygote()
        null = os.open("/dev/null", os.O_RDWR)
        zygote.launch(orders[0], null, null, null).kill()
        before, left = descriptors(), []
        for moment, order in enumerate(orders[1:]):
            calls = iter(range(moment))
            launch._readable = lambda what, patience_s, calls=calls: (  # type: ignore[assignment]
                readable(what, patience_s) if next(calls, None) is not None else interrupt()
            )
            try:
                zygote.launch(order, null, null, null).kill()
            except KeyboardInterrupt:
                left.append(descriptors() - before)
        zygote.close()
        return left, len(left) < len(orders) - 1

    readable = launch._readable
    left, came_through = in_fork(interrupted, prepare=become_user if place.mode == "user" and IS_ROOT else lambda: None)
    assert len(left) > 2
    assert {*left} == {0}
    assert came_through


def interrupt() -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["close", "kill", "drop"])
def test_nothing_outlives_its_zygote_or_the_one_who_asked_for_it(place: Yard, how: str) -> None:
    order = place.order("/bin/sleep", "1000")

    def ended() -> bool:
        zygote = new_zygote()
        child, streams = start(zygote, order)
        pidfd = os.dup(child.pidfd)
        if how == "close":
            zygote.close()
        elif how == "kill":
            os.kill(zygote.pid or 0, signal.SIGKILL)
        else:
            child._channel.close()  # as the garbage collector does
            os.close(child.pidfd)
        streams.kept()
        gone = bool(select.select([pidfd], [], [], 20)[0])
        if how != "drop":
            assert child.wait().status == KILLED
        zygote.close()
        return gone

    assert as_mode(place.mode, ended)


def test_a_zygote_has_no_environment_and_no_descriptors_of_ours(place: Yard) -> None:
    order = place.order("/bin/true")

    def look() -> tuple[bytes, list[str], str]:
        os.environ["RSI_TEST_SECRET"] = "sk-secret"
        kept = os.open("/etc/hostname", os.O_RDONLY)
        os.set_inheritable(kept, True)
        zygote = new_zygote()
        run(order, zygote=zygote)
        base = Path(f"/proc/{zygote.pid}")
        fds = sorted(str(path.readlink()).split(":")[0] for path in (base / "fd").iterdir())
        answer = (base / "environ").read_bytes(), fds, str((base / "cwd").readlink())
        zygote.close()
        return answer

    environ, fds, cwd = as_mode(place.mode, look)
    assert (environ, cwd) == (b"", "/")
    root = ["user", "socket"] if place.mode == "root" else []  # a mapping, and who stands by
    assert fds == sorted([*["/dev/null"] * 3, "socket", *root])


def test_no_text_of_an_order_stays_in_the_zygote(place: Yard) -> None:
    """The next command's init is a fork of it."""
    order = place.order("/bin/true", env={"TOKEN": SECRET.decode()})

    def found() -> bool:
        zygote = new_zygote()
        run(order, zygote=zygote)
        pid = zygote.pid
        with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb") as memory:
            for line in maps:
                where, rights, *_ = line.split()
                low, high = (int(part, 16) for part in where.split("-"))
                if rights.startswith("rw") and "[v" not in line:
                    memory.seek(low)
                    if SECRET in memory.read(high - low):
                        return True
        zygote.close()
        return False

    assert as_mode(place.mode, found) is False


def test_an_order_may_be_long_and_not_endless(place: Yard) -> None:
    words = ["x" * 100_000] * 10
    result = place.sh("echo $# ${#1}; printenv LONG | wc -c", env={"PATH": "/usr/bin:/bin", "LONG": "y" * 100_000})
    assert result.out.split() == ["0", "0", "100001"]
    assert place.run("/bin/sh", "-c", "echo $# ${#1}", "sh", *words).out == "10 100000\n"
    assert place.run("/bin/echo", "x" * 200_000).status == 126  # the kernel's own limit for one argument
    with pytest.raises(LaunchError, match=f"order: it takes .* {MAX_ORDER} are the limit"):
        place.run("/bin/echo", "x" * MAX_ORDER)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"argv": ()}, "argv is empty"),
        ({"argv": ("a\0b",)}, "NUL"),
        ({"env": {"A=B": "c"}}, "name in env"),
        ({"without": ("seccomp", "everything")}, "without everything: there is no such protection"),
        ({"rlimits": {"RLIMIT_FUN": 1}}, "RLIMIT_FUN: there is no such limit"),
        ({"cwd": "relative"}, "must be absolute"),
        ({"lowers": ("../../etc",)}, "must be relative to the store"),
        ({"upper": "/tmp"}, "must be relative to the store"),
        ({"protect": ("a/b",)}, "must be one name"),
        ({"readable": ("/",)}, "folder of the system"),
        ({"readable": ("/proc/1",)}, "folder of the system"),
        ({"workspace": "/etc"}, "folder of the system"),
        ({"readable": ("/no/such/toolchain",)}, "is it there"),
        ({"store": "/nowhere"}, "No such file"),
    ],
)
def test_an_order_that_cannot_work_is_refused_before_anything_runs(fields: dict, says: str) -> None:
    with yard(MODES[-1]) as place:
        argv = fields.pop("argv", ("/bin/touch", "ran"))
        with pytest.raises(LaunchError, match=says):
            place.run(*argv, **fields)
        assert not place.view("ran").exists()


def test_a_store_elsewhere_is_refused() -> None:
    with yard(MODES[0]) as place, pytest.raises(LaunchError, match="is not below /nowhere"):
        Zygote(Path("/nowhere")).launch(place.order("/bin/true"), 0, 1, 2)


def test_an_interpreter_that_cannot_run_is_named() -> None:
    with yard(MODES[0]) as place:
        for python in ("/no/such/python", "/bin/false"):
            with pytest.raises(LaunchError, match=r"start: .*Is the interpreter one that this user may run"):
                Zygote(Path("/"), python=python).launch(place.order("/bin/true"), 0, 1, 2)


def test_waiting_and_killing_from_two_threads(place: Yard) -> None:
    order = place.order("/bin/sleep", "1000")

    def both() -> int:
        zygote = new_zygote()
        child, _ = start(zygote, order)
        threading.Timer(0.05, child.kill).start()
        status = child.wait().status
        zygote.close()
        return status

    assert as_mode(place.mode, both) == KILLED


@pytest.mark.skipif(not IS_ROOT, reason="only root has another user's commands")
def test_as_root_the_command_is_a_host_user_who_owns_nothing() -> None:
    with yard("root") as place:
        order = place.order("/bin/sleep", "1000")
        zygote = new_zygote()
        child, _ = start(zygote, order)
        deadline = time.monotonic() + 20
        inside = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        while not inside.read_text() and time.monotonic() < deadline:
            pass
        payload = int(inside.read_text().split()[0])
        for pid in (child.pid, payload):
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            assert set(status["Uid"].split()) == {str((layer_owner() or ())[0])}
            assert set(status["Gid"].split()) == {str((layer_owner() or ())[1])}
            assert status["Groups"].split() == []
        child.kill()
        child.wait()
        zygote.close()


@pytest.mark.skipif(not IS_ROOT, reason="only root has another user's commands")
def test_as_root_a_layer_that_belongs_to_root_is_refused() -> None:
    with yard("root") as place:
        os.chown(place.store / place.upper, 0, 0)
        with pytest.raises(LaunchError, match="belongs to root"):
            place.sh("touch ran")
        assert not place.view("ran").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root has another user's files")
def test_as_root_the_owner_of_the_workspace_is_who_the_command_is() -> None:
    """Also files that nobody else may read; somebody else's stay closed."""
    with yard("root") as place:
        for name, owner in (("file", 4242), ("closed", 4242), ("foreign", 4243)):
            path = place.workspace / name
            path.write_text(name)
            path.chmod(0o600)
            os.chown(path, owner, owner)
        os.chown(place.workspace, 4242, 4242)
        result = place.sh("cat file closed; echo more >> closed; cat foreign; stat -c %u closed foreign")
        assert result.out.split() == ["fileclosed1000", "65534"]
        assert place.view("closed").read_text() == "closedmore\n"
