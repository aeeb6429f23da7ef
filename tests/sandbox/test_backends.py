"""The back ends on a copy, attacked with real processes: each limit holds, is named, and nothing is left running."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rsi.errors import LaunchError, SandboxError
from rsi.sandbox.bubblewrap import bubblewrap
from rsi.sandbox.bwrap_line import Features
from rsi.sandbox.bwrap_line import arguments as bwrap_arguments
from rsi.sandbox.copied import CopiedBackend, CopiedBox, View
from rsi.sandbox.docker import _State, arguments, docker, judged
from rsi.sandbox.model import Command, ExecResult, Limits, MiB
from rsi.sandbox.plain import plain
from rsi.sandbox.seatbelt import profile, seatbelt
from rsi.sandbox.watch import cgroup

PYTHON = "/usr/bin/python3"
NO_BWRAP = bubblewrap().unavailable()
needs_bwrap = pytest.mark.skipif(NO_BWRAP is not None, reason=str(NO_BWRAP))
needs_python = pytest.mark.skipif(not Path(PYTHON).exists(), reason="no python in /usr")

BACKENDS: dict[str, Callable[[Path | None], CopiedBackend]] = {"bubblewrap": bubblewrap, "subprocess": plain}


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that another uid may pass through, which pytest's own is not."""
    made = Path("/tmp") / f"rsi-test-{uuid.uuid4().hex}"
    made.mkdir(mode=0o755)
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def opened(name: str, reachable: Path) -> CopiedBox:
    workspace = reachable / "workspace"
    workspace.mkdir(exist_ok=True)
    (workspace / "a").write_text("1\n")
    return BACKENDS[name](reachable / "home").open(workspace)


@pytest.fixture(params=[pytest.param("bubblewrap", marks=needs_bwrap), "subprocess"])
def box(request: pytest.FixtureRequest, reachable: Path) -> Iterator[CopiedBox]:
    made = opened(request.param, reachable)
    yield made
    made.close()
    assert made._store.trash.background.drain(30)


@pytest.fixture
def wrapped(reachable: Path) -> Iterator[CopiedBox]:
    made = opened("bubblewrap", reachable)
    yield made
    made.close()
    assert made._store.trash.background.drain(30)


@pytest.fixture(params=["counted by the kernel", "watched"])
def counting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With a control group where one can be made, and without."""
    if request.param == "watched":
        monkeypatch.setattr(cgroup, "available", tuple)
    elif cgroup.unavailable() is not None:
        pytest.skip(str(cgroup.unavailable()))
    return request.param


def run(box: CopiedBox, *argv: str, **limits) -> ExecResult:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/sandbox"}
    return box.run(Command(argv=argv, env=env, limits=Limits(**{"wall_s": 60, **limits})))


def attack(box: CopiedBox, script: str, *, interpreter: str = "sh", **limits) -> ExecResult:
    """Run it with a marker in its arguments, and see that nobody carries that marker afterwards."""
    marker = f"rsi-attack-{uuid.uuid4().hex}"
    argv = ("/bin/sh", "-c", script, marker) if interpreter == "sh" else (PYTHON, "-I", "-S", "-c", script, marker)
    result = run(box, *argv, **limits)
    assert carrying(marker) == []
    return result


def carrying(marker: str) -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            line = (each / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line:
            found.append(f"{each.name} {line!r}")
    return found


# -- limits


def test_a_quiet_command_is_left_alone(box: CopiedBox) -> None:
    result = attack(box, "cat a; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.returncode, result.killed_by) == ("1\n", "err\n", 3, None)
    assert result.max_rss > 0


@needs_python
def test_a_fork_bomb(box: CopiedBox, counting: str) -> None:
    """Bounded, so that it is an attack on the limit and not on the machine: 256 at most."""
    script = "import os, signal\nfor _ in range(8):\n  try: os.fork()\n  except OSError: pass\nsignal.pause()"
    assert attack(box, script, interpreter="python", processes=40).killed_by == "processes"


def test_endless_output(box: CopiedBox) -> None:
    assert attack(box, "exec yes", output=MiB).killed_by == "output"


@needs_python
def test_ten_gigabytes(box: CopiedBox, counting: str) -> None:
    script = "x = [bytearray(1 << 20) for _ in range(10 << 10)]"
    result = attack(box, script, interpreter="python", memory=100 * MiB)
    assert (result.killed_by, result.returncode) == ("memory", 137)
    assert result.max_rss < 10 * 100 * MiB


@needs_python
def test_ten_gigabytes_in_many_children(box: CopiedBox, counting: str) -> None:
    script = "import os, signal\nfor _ in range(3): os.fork()\nx = bytearray(30 << 20)\nsignal.pause()"
    assert attack(box, script, interpreter="python", memory=120 * MiB).killed_by == "memory"


def test_a_disk_filler(box: CopiedBox) -> None:
    script = "while :; do head -c 1000000 /dev/zero >> big || exit; done"
    assert attack(box, script, disk=20 * MiB).killed_by == "disk"


def test_a_disk_filler_behind_a_closed_folder(box: CopiedBox) -> None:
    script = "mkdir d; cd d; : > big; chmod 300 .; while :; do head -c 1000000 /dev/zero >> big || exit; done"
    assert attack(box, script, disk=20 * MiB).killed_by == "disk"


@needs_python
def test_very_many_empty_files(box: CopiedBox) -> None:
    script = "for n in range(1_000_000): open(f'f{n}', 'w').close()"
    assert attack(box, script, interpreter="python", inodes=500).killed_by == "inodes"
    assert len(box.changes()) < 500_000


def test_one_file_that_is_too_large(box: CopiedBox) -> None:
    """The kernel's own limit: the writer gets SIGXFSZ or EFBIG, and goes on living if it wants to."""
    result = attack(box, "head -c 5000000 /dev/zero > big; stat -c %s big", file=MiB)
    assert (result.stdout.strip(), result.killed_by) == (str(MiB), None)


def test_a_child_that_ignores_term_and_leaves_the_session(box: CopiedBox, counting: str) -> None:
    script = """trap '' TERM HUP INT; setsid sh -c 'trap "" TERM; while :; do sleep 1; done' "$0" & setsid sleep 999 & wait"""
    result = attack(box, script, wall_s=0.5)
    assert (result.killed_by, result.returncode) == ("timeout", 137)


def test_a_daemon_left_behind_is_ended(box: CopiedBox, counting: str) -> None:
    """Twice removed, in a session of its own, with its streams closed: the command itself ended well."""
    script = """(setsid sh -c 'while :; do sleep 1; done' "$0" </dev/null >/dev/null 2>&1 &) ; echo done"""
    result = attack(box, script)
    assert (result.stdout, result.returncode, result.killed_by) == ("done\n", 0, None)


def test_cpu(box: CopiedBox) -> None:
    assert attack(box, "while :; do :; done", cpu_s=0.3).killed_by == "cpu"


def test_no_group_is_left_behind(box: CopiedBox) -> None:
    run(box, "true")
    attack(box, "sleep 60", wall_s=0.1)
    assert [each for place in cgroup.available() for each in place.folder.glob(f"rsi-{os.getpid()}-*")] == []


def test_a_program_that_cannot_be_run_is_an_ordinary_end_as_in_a_shell(box: CopiedBox) -> None:
    for argv, said in (
        (("/nonsense",), (127, "rsi: /nonsense: No such file or directory\n")),
        (("nonsense",), (127, "rsi: nonsense: No such file or directory\n")),
        (("/usr/bin/env/nonsense",), (127, "rsi: /usr/bin/env/nonsense: Not a directory\n")),
        (("/usr/bin",), (126, "rsi: /usr/bin: Permission denied\n")),
    ):
        found = run(box, *argv)
        assert (found.returncode, found.stderr, found.stderr_bytes, found.killed_by) == (*said, said[1].encode(), None)
        assert (found.stdout, found.stderr_total) == ("", len(said[1]))


def test_no_core_is_dumped_into_a_program_of_the_host(box: CopiedBox) -> None:
    """With a piped core_pattern only a limit of exactly 1 prevents it."""
    limits = run(box, "cat", "/proc/self/limits").stdout
    assert next(line for line in limits.splitlines() if "core" in line).split()[4:6] == ["1", "1"]


def test_the_environment_is_only_what_was_given(box: CopiedBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSI_TEST_SECRET", "s3cret")
    seen = run(box, "env").stdout
    assert "s3cret" not in seen
    assert {line.partition("=")[0] for line in seen.splitlines()} <= {"PATH", "HOME", "PWD"}


def test_no_descriptor_of_ours_is_open(box: CopiedBox, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        seen = run(box, "/bin/sh", "-c", "ls /proc/$$/fd").stdout.split()
    assert seen == ["0", "1", "2"]


# -- subprocess: what it is not


def test_plain_processes_isolate_nothing(reachable: Path) -> None:
    """The honest control: what the others keep away is there."""
    box = opened("subprocess", reachable)
    (reachable / "outside").write_text("o")
    assert run(box, "cat", str(reachable / "outside")).stdout == "o"
    run(box, "/bin/sh", "-c", f"echo x > {reachable}/written")
    assert (reachable / "written").exists()
    box.close()


@pytest.mark.parametrize("sign", ["STOP", "KILL"])
def test_a_command_that_stops_or_kills_its_keeper_is_ended(reachable: Path, sign: str) -> None:
    """The keeper is of the same user, so the command may signal it."""
    box = opened("subprocess", reachable)
    try:
        result = attack(box, f"kill -{sign} $PPID; exec sleep 600", wall_s=0.5)
    finally:
        box.close()
    assert result.returncode == 137


# -- bubblewrap: what is out of reach


@needs_bwrap
def test_the_copy_is_at_the_workspaces_own_place(wrapped: CopiedBox) -> None:
    assert run(wrapped, "/bin/sh", "-c", "pwd; echo 2 > a").stdout.strip() == str(wrapped.workspace)
    assert (wrapped.workspace / "a").read_text() == "1\n"
    assert [(change.letter, change.path) for change in wrapped.changes()] == [("M", "a")]


@needs_bwrap
def test_files_outside_are_not_there(wrapped: CopiedBox, reachable: Path) -> None:
    (reachable / "outside").write_text("s3cret")
    for path in (
        reachable / "outside",
        wrapped.store,
        "/etc/shadow",
        "/root",
        "/var",
        "/run",
        "/sys",
        Path.home() / ".ssh",
    ):
        assert run(wrapped, "/bin/sh", "-c", f"test ! -e {path}").returncode == 0, path


@needs_bwrap
@pytest.mark.parametrize("path", ["/x", "/usr/x", "/etc/x", "/bin/x", "/proc/sys/kernel/core_pattern", "/etc/passwd"])
def test_the_system_cannot_be_written(wrapped: CopiedBox, path: str) -> None:
    assert run(wrapped, "/bin/sh", "-c", f"echo x >> {path}").returncode != 0


@needs_bwrap
def test_git_is_shown_and_not_written(reachable: Path) -> None:
    (reachable / "workspace/.git").mkdir(parents=True)
    (reachable / "workspace/.git/HEAD").write_text("ref\n")
    box = opened("bubblewrap", reachable)
    assert run(box, "cat", ".git/HEAD").stdout == "ref\n"
    assert run(box, "/bin/sh", "-c", "echo x > .git/HEAD || mkdir .git/hooks || mv .git g").returncode != 0
    box.close()


@needs_bwrap
@needs_python
def test_the_network_of_the_host_is_not_there(wrapped: CopiedBox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        socket.create_connection(("127.0.0.1", port), 5).close()  # the control: it is there outside
        assert run(wrapped, PYTHON, "-c", script).returncode != 0


@needs_bwrap
@needs_python
def test_unix_sockets_of_the_host_cannot_be_reached(wrapped: CopiedBox, reachable: Path) -> None:
    for address in (str(reachable / "s"), f"\0rsi-{uuid.uuid4().hex}"):
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(address)
            server.listen()
            client.connect(address)  # the control
            script = f"import socket; socket.socket(socket.AF_UNIX).connect({address!r})"
            assert run(wrapped, PYTHON, "-c", script).returncode != 0


@needs_bwrap
def test_processes_of_the_host_cannot_be_seen(wrapped: CopiedBox) -> None:
    pids = run(wrapped, "/bin/sh", "-c", "echo /proc/[0-9]*").stdout.split()
    assert len(pids) <= 3
    assert (
        "RSI"
        not in run(wrapped, "/bin/sh", "-c", "cat /proc/1/environ 2>/dev/null; cat /proc/*/environ 2>/dev/null").stdout
    )


@needs_bwrap
def test_there_are_no_privileges(wrapped: CopiedBox) -> None:
    status = run(wrapped, "cat", "/proc/self/status").stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    assert run(wrapped, "unshare", "-Ur", "true").returncode != 0
    assert run(wrapped, "mount", "-t", "tmpfs", "x", "/tmp").returncode != 0


@needs_bwrap
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_root_becomes_nobody_in_particular(wrapped: CopiedBox) -> None:
    """A kuid 0 without capabilities still owns the host's files and /proc/sys; so that is not what runs."""
    seen = run(wrapped, "/bin/sh", "-c", "id -u; echo x > new").stdout.split()
    assert int(seen[0]) > 1 << 30
    assert next(path.stat().st_uid for path in wrapped.store.glob("tree-*/new")) == int(seen[0])


@needs_bwrap
def test_memory_in_tmp_counts(wrapped: CopiedBox, counting: str) -> None:
    script = "head -c 90000000 /dev/zero > /tmp/x; head -c 90000000 /dev/zero > /dev/shm/x; sleep 60"
    assert attack(wrapped, script, memory=64 * MiB).killed_by == "memory"


@needs_bwrap
def test_tmp_is_as_large_as_it_may_be(wrapped: CopiedBox) -> None:
    result = run(wrapped, "/bin/sh", "-c", "head -c 3000000 /dev/zero > /tmp/x; stat -c %s /tmp/x", tmp=MiB)
    assert result.stdout.strip() == str(MiB)


@needs_bwrap
def test_killing_bwrap_itself_leaves_nothing(wrapped: CopiedBox, reachable: Path) -> None:
    """From outside, as an OOM killer would. It is no result that a verdict may rest on."""
    marker = f"rsi-attack-{uuid.uuid4().hex}"
    killer = subprocess.Popen((sys.executable, "-c", KILLER, marker))
    with pytest.raises(LaunchError):
        run(wrapped, "/bin/sh", "-c", "sleep 600", marker)
    assert killer.wait() == 0
    assert carrying(marker) == []


KILLER = """
import os, pathlib, signal, sys, time
while True:
    for each in pathlib.Path('/proc').glob('[0-9]*'):
        try: words = (each / 'cmdline').read_bytes().split(b'\\0')
        except OSError: continue
        if words[0] == b'/bin/sh' and words[2:3] == [b'sleep 600'] and sys.argv[1].encode() in words:
            inner = (each / 'stat').read_text().rpartition(')')[2].split()[1]
            outer = pathlib.Path(f'/proc/{inner}/stat').read_text().rpartition(')')[2].split()[1]
            os.kill(int(outer), signal.SIGKILL)
            sys.exit(0)
    time.sleep(0.01)
"""


@needs_bwrap
def test_a_folder_for_the_toolchain_is_read_only(reachable: Path) -> None:
    tools = reachable / "tools"
    tools.mkdir()
    (tools / "t").write_text("tool")
    (reachable / "workspace").mkdir()
    box = bubblewrap(reachable / "home").open(reachable / "workspace", readable=(tools,))
    assert run(box, "cat", str(tools / "t")).stdout == "tool"
    assert run(box, "/bin/sh", "-c", f"echo x > {tools}/x").returncode != 0
    box.close()


@needs_bwrap
@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user passes through what is their own")
def test_a_toolchain_that_bwrap_may_not_pass_to_says_the_way_out(reachable: Path) -> None:
    shut = reachable / "shut"
    (shut / "tools").mkdir(parents=True)
    shut.chmod(0o700)
    (reachable / "workspace").mkdir()
    box = bubblewrap(reachable / "home").open(reachable / "workspace", readable=(shut / "tools",))
    with pytest.raises(LaunchError, match=r"Permission denied; the command did not run.*use the overlay back end"):
        run(box, "/bin/sh", "-c", "echo ran > ran")
    assert box.changes() == []
    box.close()


@needs_bwrap
def test_what_bwrap_cannot_set_up_never_runs(reachable: Path) -> None:
    """A toolchain that is not there: bwrap's own words, and the command did not run."""
    (reachable / "workspace").mkdir()
    box = bubblewrap(reachable / "home").open(reachable / "workspace", readable=(reachable / "gone",))
    with pytest.raises(LaunchError, match="gone"):
        run(box, "/bin/sh", "-c", "echo ran > ran")
    assert box.changes() == []
    box.close()


def test_no_bwrap_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RSI_BWRAP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no bwrap on PATH" in str(bubblewrap().unavailable())
    with pytest.raises(SandboxError, match="no bwrap on PATH"):
        bubblewrap(tmp_path / "home").open(tmp_path)


def test_a_bwrap_that_cannot_make_namespaces_is_said(monkeypatch: pytest.MonkeyPatch, reachable: Path) -> None:
    fake = reachable / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("RSI_BWRAP", str(fake))
    assert "setting up uid map" in str(bubblewrap().unavailable())


VIEW = View(workspace=Path("/w,s"), tree=Path("/store/tree"), readable=(Path("/tools"),), store=Path("/store"))
COMMAND = Command(
    argv=("prog", "--arg"), env={"A": "1", "B": "x y"}, cwd="sub", limits=Limits(memory=99 * MiB, processes=7)
)


def test_the_line_for_bwrap() -> None:
    features = Features(disable_userns=True, size=True, seccomp=9)
    line = bwrap_arguments("bwrap", VIEW, COMMAND, features, data={"/etc/passwd": 5}, status=6, block=7)
    for words in (
        ("--unshare-all", "--unshare-user"),
        ("--cap-drop", "ALL"),
        ("--seccomp", "9"),
        ("--ro-bind", "/tools", "/tools"),
        ("--bind", "/store/tree", "/w,s"),
        ("--chdir", "/w,s/sub"),
        ("--setenv", "B", "x y"),
        ("--", "prog", "--arg"),
    ):
        assert contains(line, words), words
    assert {"--die-with-parent", "--new-session", "--clearenv", "--disable-userns"} <= set(line)
    assert not contains(line, ("/", "/"))
    assert sum(word == "--bind" for word in line) == 1


def contains(line: list[str], words: tuple[str, ...]) -> bool:
    return any(tuple(line[at : at + len(words)]) == words for at in range(len(line)))


# -- docker


def test_the_line_for_docker() -> None:
    line = arguments(VIEW, COMMAND, name="n", image="img", user="5:6")
    for words in (
        ("--network", "none"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--pids-limit", "7"),
        ("--memory", str(99 * MiB)),
        ("--memory-swap", str(99 * MiB)),
        ("--user", "5:6"),
        ("--pull", "never"),
        ("--workdir", "/w,s/sub"),
        ("--env", "B=x y"),
        ("--entrypoint", "prog", "img", "--arg"),
        ("--mount", 'type=bind,source=/store/tree,"target=/w,s"'),
        ("--mount", "type=bind,source=/tools,target=/tools,readonly"),
    ):
        assert contains(line, words), words
    assert "--read-only" in line
    assert "--privileged" not in line
    assert not any("docker.sock" in word for word in line)
    assert [word for word in line if word.startswith("type=bind") and "readonly" not in word] == [
        'type=bind,source=/store/tree,"target=/w,s"'
    ]
    assert sum(word == "--tmpfs" for word in line) == 3


def test_docker_says_why_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert docker().unavailable() == "no docker on PATH"
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    assert docker().unavailable() == "docker is here, but no engine answers: Cannot connect to the Docker daemon"
    client.write_text('#!/bin/sh\n[ "$1" = version ] && exit 0\necho "No such image" >&2; exit 1\n')
    assert "pull it, or set RSI_DOCKER_IMAGE" in str(docker().unavailable())


def test_docker_ends_are_judged() -> None:
    ended = ExecResult(returncode=137, stdout="", stderr="", stdout_total=0)
    assert judged(ended, _State(oom_killed=True)).killed_by == "memory"
    assert judged(ended, _State()).killed_by is None
    with pytest.raises(LaunchError, match="no such file"):
        judged(ended, _State(error="exec: no such file"))
    missing = ExecResult(returncode=127, stdout="", stderr="docker: exec: no such file", stdout_total=0)
    assert judged(missing, _State(error="exec: no such file")) == missing


# -- seatbelt


def test_the_profile_denies_by_default() -> None:
    text = profile(Path('/a "b\\c'), (Path("/tools"),))
    lines = text.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    assert "(deny network*)" in lines
    assert not any(line.startswith("(allow network") for line in lines)
    writable = [line for line in lines if line.startswith("(allow file-write*")]
    assert writable == ['(allow file-write* (subpath "/dev/null") (subpath "/dev/zero") (subpath "/a \\"b\\\\c"))']
    assert '(subpath "/tools")' in next(line for line in lines if line.startswith("(allow file-read* "))
    assert text.count("(") == text.count(")")


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is available")
def test_seatbelt_is_a_part_of_macos() -> None:
    assert "macOS" in str(seatbelt().unavailable())
