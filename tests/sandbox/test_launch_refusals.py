"""Where something cannot be set up the command never runs; and each protection is what stops what it is said to stop."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_kit import (
    IS_ROOT,
    MODES,
    PATH,
    USER,
    Yard,
    another_launcher,
    as_mode,
    become_user,
    crew,
    in_fork,
    kernel_filter,
    namespace_without_namespaces,
    run,
    without_proc,
    yard,
)

from rsi.errors import LaunchError
from rsi.sandbox import launch
from rsi.sandbox.launch import layer_owner
from rsi.sandbox.launcher import bpf
from rsi.sandbox.launcher.order import PROTECTIONS
from rsi.sandbox.launcher.table import MACHINE, MACHINES

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/user").exists(), reason="needs Linux's namespaces")


@pytest.fixture(scope="module", autouse=True)
def zygotes() -> Iterator[None]:
    with crew():
        yield


@pytest.fixture(params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Yard]:
    with yard(request.param) as made:
        yield made


def _user_of(place: Yard) -> Callable[[], None]:
    return become_user if place.mode == "user" and IS_ROOT else lambda: None


def _never_ran(place: Yard, ruin: Callable[[], Any], says: str, **fields: Any) -> None:
    """The command runs in a fork, and does not run in a fork that was ruined first."""
    marker = place.view("ran")
    order = place.order("/usr/bin/touch", "ran", **fields)
    with pytest.raises(LaunchError, match=says) as refused:
        in_fork(lambda: run(order), prepare=ruin)
    assert "the command did not run" in str(refused.value)
    assert not marker.exists()
    assert not list((place.store / "root").iterdir())
    assert place.run("/usr/bin/touch", "ran").status == 0
    assert marker.exists()


def test_no_user_namespaces(place: Yard) -> None:
    def ruin() -> None:
        _user_of(place)()
        namespace_without_namespaces()

    _never_ran(place, ruin, r"(namespaces|idmap): .*(No space left|Operation not permitted)")


@pytest.mark.skipif(not IS_ROOT, reason="only root can take /proc away")
def test_no_proc(place: Yard) -> None:
    def ruin() -> None:
        without_proc()
        if place.mode == "user" and IS_ROOT:
            os.setgroups([])
            os.setresuid(USER, USER, USER)

    _never_ran(place, ruin, r"namespaces: .*Is /proc mounted\?")


@pytest.mark.parametrize("change", ["PROGRAM = PROGRAM[:-8]", "PROGRAM = PROGRAM[:16] + b'\\xff' * 8", "PROGRAM = b''"])
def test_a_malformed_filter(place: Yard, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = another_launcher(change, "filter.py")
    whole = launch._LAUNCHER

    def ruin() -> None:
        _user_of(place)()
        launch._LAUNCHER = other  # type: ignore[misc] - in the fork only

    try:
        _never_ran(place, ruin, r"filter: load the system call filter.*: Invalid argument")
    finally:
        shutil.rmtree(other.parent)
    assert whole == launch._LAUNCHER


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"lowers": ("layers/missing",)}, r"overlay: .*No such file"),
        ({"work": "work/missing"}, r"overlay: .*No such file"),
        ({"upper": "layers/missing"}, r"(overlay|idmap): .*No such file"),
        ({"upper": "layers/1", "lowers": ("layers/1",)}, r"overlay: "),
        ({"cgroups": ("/sys/fs/cgroup/no-such-group",)}, r"cgroup: .*No such file"),
        ({"workspace": "/no/such/workspace", "cwd": "/"}, r"No such file"),
    ],
)
def test_something_is_not_there(place: Yard, fields: dict[str, Any], says: str) -> None:
    _never_ran(place, _user_of(place), says, **fields)


@pytest.mark.parametrize(
    ("name", "argument", "answer", "says"),
    [
        ("seccomp", None, 38, r"filter: load .*Function not implemented"),
        ("seccomp", None, 22, r"filter: load .*Invalid argument"),
        ("seccomp", None, 0, r"filter: load .*Function not implemented"),  # it says yes and does nothing
        ("prctl", 38, 22, r"filter: set no_new_privs.*: Invalid argument"),
        ("prctl", 24, 1, r"filter: give up all capabilities.*: Operation not permitted"),
        ("capset", None, 0, r"(filter: give up all capabilities|idmap: become the sandbox's user)"),
        ("mount_setattr", None, 38, r"(root|idmap): .*Function not implemented"),
        ("pivot_root", None, 1, r"pivot: .*Operation not permitted"),
        ("fsopen", None, 38, r"root: .*as a layer.*Function not implemented"),
    ],
)
def test_a_call_of_the_kernel_fails(place: Yard, name: str, argument: int | None, answer: int, says: str) -> None:
    """Under a filter of somebody else's, as in a container."""
    numbers = {**MACHINES[MACHINE][1], "prctl": {"x86_64": 157, "aarch64": 167}[MACHINE]}
    refuse = bpf.error(answer)
    if argument is not None:
        refuse = [bpf.argument(0), *bpf.equal(argument, refuse), *bpf.ret(bpf.ALLOW)]
    block = [bpf.load(bpf.NUMBER), *bpf.equal(numbers[name], refuse), *bpf.ret(bpf.ALLOW)]

    def ruin() -> None:
        _user_of(place)()
        kernel_filter(bpf.assemble(block))

    _never_ran(place, ruin, says)


@pytest.mark.skipif(not IS_ROOT, reason="root's mode")
def test_as_root_a_file_system_without_id_maps_is_refused() -> None:
    """An overlay, as a container's root is one."""
    with yard("root") as place:
        for name in ("l", "u", "w"):
            (place.folder / name).mkdir()
        options = f"lowerdir={place.folder}/l,upperdir={place.folder}/u,workdir={place.folder}/w"
        from launch_kit import LIBC, must

        def ruin() -> None:
            must(LIBC.unshare(0x20000))
            must(LIBC.mount(None, b"/", None, 0x4000 | (1 << 18), None))
            must(LIBC.mount(b"o", os.fsencode(place.workspace), b"overlay", 0, options.encode()))

        _never_ran(place, ruin, r"idmap: .*Invalid argument.*run rsi as an ordinary user")


# What a command finds, and which protection that depends on.

_LOOK = r"""
import ctypes, json, os, re, socket, sys
def readable(path):
    try: return bool(open(path, 'rb').read(1)) or True
    except OSError: return False
status = dict(line.split(':\t', 1) for line in open('/proc/self/status').read().splitlines())
libc = ctypes.CDLL(None)
def connects(port):
    try: socket.create_connection(('127.0.0.1', port), 2); return True
    except OSError: return False
mounted = {line.split()[4]: line.split(' - ')[1].split()[0] for line in open('/proc/self/mountinfo')}
flags = {f: os.statvfs(f).f_flag & 1 for f in ('/usr', '/opt')}
print(json.dumps({
  'seccomp': status['Seccomp'].strip(), 'capabilities': int(status['CapEff'], 16) != 0, 'bounding': int(status['CapBnd'], 16) != 0,
  'privileges': status['NoNewPrivs'].strip(), 'user': os.getuid(),
  **{'ns ' + n: os.readlink('/proc/self/ns/' + n) == sys.argv[1].split()[i] for i, n in enumerate(('net', 'ipc', 'pid', 'uts', 'mnt', 'user', 'cgroup'))},
  'host folders': mounted.get('/usr') != 'overlay', 'first': os.getpid() < 5, 'read-only': all(flags.values()), 'host file': readable(sys.argv[2]), 'root': os.path.isdir('/sys/kernel'),
  'init mem': readable('/proc/1/environ'), 'environment': 'RSI_TEST_LEAK' in os.environ,
  'core_pattern': readable('/proc/sys/kernel/core_pattern') and os.access('/proc/sys/kernel/core_pattern', os.W_OK), 'connects': connects(int(sys.argv[3])),
}))
"""
#: Protection → what is found when it alone is missing, and not otherwise.
_FOUND: dict[str, set[str]] = {
    "seccomp": {"seccomp"},
    "caps": {"capabilities", "bounding"},
    "network": {"ns net", "connects"},
    "ipc": {"ns ipc"},
    "pid": {"ns pid", "first"},
    "root": {"root", "read-only", "host file", "host folders"},
    "read-only": {"read-only", "host folders"},
    "shown": {"host folders"},
    "dumpable": {"init mem"},
    "clean-env": {"environment"},
    "idmap": set(),  # seen from outside: below
}


def _found(place: Yard, without: tuple[str, ...]) -> dict[str, Any]:
    import socket

    names = ("net", "ipc", "pid", "uts", "mnt", "user", "cgroup")
    ours = " ".join(str(Path(f"/proc/self/ns/{name}").readlink()) for name in names)
    outside = place.folder / "outside"
    outside.write_text("x")
    os.environ["RSI_TEST_LEAK"] = "x"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        argv = ("/usr/bin/python3", "-I", "-S", "-c", _LOOK, ours, str(outside), str(port))
        order = place.order(*argv, without=without)
        try:
            result = as_mode(place.mode, lambda: run(order))
        finally:
            del os.environ["RSI_TEST_LEAK"]
    assert result.status == 0, result
    answer: dict[str, Any] = json.loads(result.out)
    return answer


@pytest.mark.parametrize("protection", sorted(PROTECTIONS))
def test_without_one_protection_exactly_what_it_protects_is_open(place: Yard, protection: str) -> None:
    if protection == "idmap" and place.mode == "root":
        pytest.skip("needs layers of another owner: below")
    whole, open_ = _found(place, ()), _found(place, (protection,))
    assert {name for name, value in open_.items() if value != whole[name]} == _FOUND[protection]


def test_with_all_protections_nothing_is_open(place: Yard) -> None:
    found = _found(place, ())
    assert (found.pop("seccomp"), found.pop("privileges"), found.pop("user")) == ("2", "1", 1000)
    assert (found.pop("first"), found.pop("read-only")) == (True, True)
    assert set(found.values()) == {False}


@pytest.mark.skipif(not IS_ROOT, reason="root's mode")
def test_without_id_maps_root_is_root_without_capabilities() -> None:
    """The leak that id maps close: user 0 of the host may open what belongs to user 0."""
    with yard("root") as place:
        script = "cat /proc/self/uid_map; cat closed; (: >> /proc/1/oom_score_adj) && echo opened"
        closed = place.folder / "closed"
        closed.write_text("root's own")
        closed.chmod(0o600)
        script = f"cat /proc/self/uid_map {closed}"
        whole = place.sh(script, readable=(str(closed),))
        for name in (place.upper,):
            os.chown(place.store / name, 0, 0)
        order = place.order("/bin/sh", "-c", script, readable=(str(closed),), without=("idmap",))
        os.chown(place.store / order.work, 0, 0)
        open_ = run(order)
        assert whole.out.split() == ["1000", str((layer_owner() or ())[0]), "1"]
        assert open_.out.split()[1] == "0"
        assert "root's own" in open_.out


def test_the_list_of_protections_is_the_one_that_is_documented() -> None:
    text = Path(launch.__file__).read_text()
    documented = text[text.index("protections to leave out (") : text.index("`Sandbox` never sets it")]
    assert set(re.findall(r"`([a-z-]+)`", documented)) == PROTECTIONS == set(_FOUND)


def test_nothing_of_the_daemon_is_in_a_sandbox(place: Yard) -> None:
    """A secret in the environment and the heap of the process that asks; neither is in any memory inside."""
    os.environ["RSI_TEST_LEAK"] = "sk-environment"
    try:
        script = "cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c sk-envir[o]nment"
        order = place.order("/bin/sh", "-c", script, env={"PATH": PATH})
        assert as_mode(place.mode, lambda: run(order)).out == "0\n"
    finally:
        del os.environ["RSI_TEST_LEAK"]
