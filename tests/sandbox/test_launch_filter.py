"""The system call filter, by the meaning of its instructions, on both machines; and what the kernel says to it."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from launch_kit import MODES, Yard, crew, execute, yard

from rsi.sandbox.launcher import bpf
from rsi.sandbox.launcher.filter import ABSENT, REFUSED, program
from rsi.sandbox.launcher.table import LAST, MACHINE, MACHINES

EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
NO_FAMILY, NO_PROTOCOL = 0x50000 | errno.EAFNOSUPPORT, 0x50000 | errno.EPROTONOSUPPORT
HIGH = st.sampled_from([0, 1 << 32, 0xFFFFFFFF << 32, 1 << 63])


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(machine: str, name: str | int, *arguments: int) -> int:
    architecture, numbers = MACHINES[machine]
    number = name if isinstance(name, int) else numbers[name]
    return execute(program(machine), number, arguments, architecture)


def test_what_is_refused_is_refused_whatever_the_arguments(machine: str) -> None:
    numbers = MACHINES[machine][1]
    for name in REFUSED:
        if name in numbers:
            assert {ask(machine, name), ask(machine, name, *[2**64 - 1] * 6)} == {EPERM}, name
    assert {ask(machine, name) for name in ABSENT} == {ENOSYS}


def test_every_refused_call_is_one_of_the_machine_or_older_than_it(machine: str) -> None:
    """aarch64 never had what is in none of its numbers; a misspelled name would be in neither table."""
    old = {
        "create_module",
        "query_module",
        "get_kernel_syms",
        "iopl",
        "ioperm",
        "uselib",
        "ustat",
        "sysfs",
        "_sysctl",
        "modify_ldt",
    }
    missing = {name for name in (*REFUSED, *ABSENT) if name not in MACHINES[machine][1]}
    assert missing == (set() if machine == "x86_64" else old)


def test_another_architecture_ends_the_process(machine: str) -> None:
    other = 0x40000003  # i386: int 0x80
    assert execute(program(machine), 0, (), other) == bpf.KILL_PROCESS


@given(number=st.one_of(st.integers(LAST + 1, 2**32 - 1), st.integers(0, LAST).map(lambda n: n | 0x40000000)))
def test_calls_of_the_x32_abi_and_of_newer_kernels_are_not_there(number: int) -> None:
    assert {ask(machine, number) for machine in MACHINES} == {ENOSYS}


@given(flags=st.integers(0, 2**32 - 1), high=HIGH)
def test_a_process_can_be_made_and_a_namespace_not(flags: int, high: int) -> None:
    namespaces = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
    for machine in MACHINES:
        assert ask(machine, "clone", flags | high) == (EPERM if flags & namespaces else bpf.ALLOW)
        assert ask(machine, "clone", 0x01200011 | high) == bpf.ALLOW  # fork(3)
        assert ask(machine, "clone", 0x003D0F00 | high) == bpf.ALLOW  # pthread_create(3)


@given(high=HIGH, other=st.integers(0, 2**32 - 1))
def test_terminals_cannot_be_typed_into_with_any_high_bits(high: int, other: int) -> None:
    for machine in MACHINES:
        for number in (0x5412, 0x541C, 0x541D, 0x5423):
            assert ask(machine, "ioctl", 0, number | high) == EPERM
        if other not in (0x5412, 0x541C, 0x541D, 0x5423):
            assert ask(machine, "ioctl", 0x5412, other | high, 0x5412) == bpf.ALLOW


@given(high=HIGH, other=st.integers(0, 2**32 - 1))
def test_what_is_shown_cannot_be_held_or_watched_with_any_high_bits(high: int, other: int) -> None:
    """F_SETLEASE, F_NOTIFY, F_SETDELEG; locks and everything else of fcntl are as they were."""
    for machine in MACHINES:
        for number in (1024, 1026, 1040):
            assert ask(machine, "fcntl", 0, number | high) == EPERM
        for number in (0, 1, 2, 3, 4, 6, 1025, 1030, 1031, 1033, other):
            if number not in (1024, 1026, 1040):
                assert ask(machine, "fcntl", 1024, number | high, 1024) == bpf.ALLOW


@given(family=st.integers(0, 60), kind=st.integers(1, 5), protocol=st.integers(0, 300), high=HIGH)
def test_sockets_are_of_few_families_and_protocols(family: int, kind: int, protocol: int, high: int) -> None:
    for machine in MACHINES:
        answer = ask(machine, "socket", family | high, kind, protocol | high)
        if family == 1:
            assert answer == bpf.ALLOW
        elif family in (2, 10):
            assert answer == (bpf.ALLOW if protocol in (0, 1, 6, 17, 58, 262) else NO_PROTOCOL)
        elif family == 16:
            assert answer == (bpf.ALLOW if protocol == 0 else NO_PROTOCOL)
        else:
            assert answer == NO_FAMILY
        assert ask(machine, "socketpair", family | high, kind) == (bpf.ALLOW if family == 1 else NO_FAMILY)


@given(value=st.integers(0, 2**32 - 1), high=HIGH)
def test_a_personality_can_be_asked_for_and_not_changed(value: int, high: int) -> None:
    for machine in MACHINES:
        allowed = value in (0, 0xFFFFFFFF)
        assert ask(machine, "personality", value | high) == (bpf.ALLOW if allowed else EPERM)


@given(pid=st.integers(0, 2**32 - 1), new=st.sampled_from([0, 8, 1 << 32, 0x7FFF_0000_0000]), high=HIGH)
def test_limits_are_set_for_oneself_and_only_read_of_others(pid: int, new: int, high: int) -> None:
    for machine in MACHINES:
        allowed = pid == 0 or new == 0
        assert ask(machine, "prlimit64", pid | high, 7, new) == (bpf.ALLOW if allowed else EPERM)


def test_what_programs_live_on_is_allowed(machine: str) -> None:
    numbers = MACHINES[machine][1]
    judged = {numbers[name] for name in (*REFUSED, *ABSENT, "socket", "socketpair", "personality") if name in numbers}
    others = [number for number in range(LAST + 1) if number not in judged]
    assert {ask(machine, number) for number in others} == {bpf.ALLOW}
    assert len(others) > LAST - 80


def test_it_fits_into_the_kernels_limit(machine: str) -> None:
    code = program(machine)
    assert len(code) % 8 == 0
    assert len(code) // 8 < 1000  # 4096 instructions are allowed
    assert struct.unpack_from("=HBBI", code, len(code) - 8)[0] == 0x06


HEADER = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    path = next((path for path in map(Path, HEADER[machine]) if path.exists()), None)
    if path is None:
        pytest.skip("no kernel headers here")
    known = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)\b", path.read_text())}
    ours = MACHINES[machine][1]
    assert {name: known[name] for name in ours if name in known} == {name: ours[name] for name in ours if name in known}
    assert len([name for name in ours if name in known]) > 60


@pytest.fixture(scope="module", autouse=True)
def zygotes() -> Iterator[None]:
    with crew():
        yield


@pytest.fixture(params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Yard]:
    with yard(request.param) as made:
        yield made


@pytest.mark.skipif(MACHINE != "x86_64", reason="calls by number")
def test_the_kernel_answers_so(place: Yard) -> None:
    """Every refused call made in a sandbox: EPERM, or ENOSYS where that is meant; with and without the filter."""
    numbers = MACHINES[MACHINE][1]
    wanted = [numbers[name] for name in (*REFUSED, *ABSENT)]
    script = (
        "import ctypes\nl=ctypes.CDLL(None,use_errno=True)\n"
        f"for n in {wanted}:\n  l.syscall.restype=ctypes.c_long\n  r=l.syscall(n,-1,0,0,0,0,0);print(r,ctypes.get_errno())"
    )
    answers = place.python(script).out.splitlines()
    assert answers == [f"-1 {errno.EPERM}"] * len(REFUSED) + [f"-1 {errno.ENOSYS}"] * len(ABSENT)


#: What a command may do to process 1, which is of its own user; each is tried, whatever it answers.
ON_PROCESS_1 = """
import os, resource
def every():
    for number in range(1, 65):
        yield lambda: os.kill(1, number)
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_STACK, resource.RLIMIT_CPU):
        yield lambda: resource.prlimit(1, limit, (0, 0))
    yield lambda: os.setpriority(os.PRIO_PROCESS, 1, 19)
    yield lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
for attack in every():
    try:
        attack()
    except (OSError, ValueError):
        pass
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(resource.prlimit(1, resource.RLIMIT_NOFILE)))
if os.fork() == 0:
    os.setsid()
    sum(range(3_000_000))
    os._exit(0)
os.wait()
raise SystemExit(77)
"""


def test_a_command_ends_with_its_own_status_whatever_it_does_to_process_1(place: Yard) -> None:
    """Signals to 64, no descriptors, no memory, no stack, no time: it goes on, and counts what was used."""
    result = place.python(ON_PROCESS_1)
    assert (result.status, result.out) == (77, "64 2\n"), result


@pytest.mark.skipif(MACHINE != "x86_64", reason="calls by number")
def test_calls_for_another_kind_of_program_end_it_or_fail(place: Yard) -> None:
    x32 = "import ctypes\nl=ctypes.CDLL(None,use_errno=True)\nprint(l.syscall(0x40000000+39),ctypes.get_errno())"
    assert place.python(x32).out == f"-1 {errno.ENOSYS}\n"
    # mov eax, 20 (getpid of i386); int 0x80; ret
    i386 = (
        "import ctypes,mmap\nm=mmap.mmap(-1,4096,prot=7)\nm.write(bytes.fromhex('b814000000cd80c3'))\n"
        "f=ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)));print('GOT',f())"
    )
    result = place.python(i386)
    assert (result.status, result.out) == (128 + 31, "")
