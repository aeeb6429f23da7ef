"""Attacks on other processes: their environment, memory, descriptors, lives and shared memory."""

# An attack is written in the calls that it makes:
# ruff: noqa: PTH115, PTH123

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal

from kit import LIBC, attack, kernel, others, pids, read, tried

_X86 = os.uname().machine == "x86_64"


def _aims(order):
    """The daemon, its victims, and everything else that can be seen."""
    return list(
        dict.fromkeys([order["daemon"], order["victim"], 1, os.getppid(), *(others() if order["run"] == "box" else [])])
    )


@attack()
def own_environment(order):
    """What the daemon was started with, handed down."""
    return (
        read("/proc/self/environ")
        if order["secret_name"] in read("/proc/self/environ")
        else dict(os.environ).get(order["secret_name"])
    )


@attack()
def environment_of_others(order):
    """/proc/1/environ was the daemon's, when process 1 was its fork."""
    return [
        text
        for pid in _aims(order)
        if (text := read(f"/proc/{pid}/environ")) and pid != os.getpid() and order["secret_name"] in text
    ]


@attack()
def memory_of_others(order):
    """/proc/PID/mem, where the secret is in the daemon, and wherever else it may be."""
    found = []
    for pid in _aims(order):
        fd = tried(os.open, f"/proc/{pid}/mem", os.O_RDONLY)
        if fd is None:
            continue
        if pid in (1, os.getppid()) and order["run"] == "box":
            found.append(f"opened the memory of {pid}")
        text = tried(os.pread, fd, order["secret_length"], order["secret_address"])
        found.append(text.decode("latin-1") if text else "")
        os.close(fd)
    return [each for each in found if each]


@attack()
def memory_by_process_vm_readv(order):
    """The same by a system call of its own, from the daemon and from process 1."""
    size = order["secret_length"]
    buffer = ctypes.create_string_buffer(size)

    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_ulong), ("size", ctypes.c_ulong))

    ours = Vector(ctypes.addressof(buffer), size)
    for pid in _aims(order):
        theirs = Vector(order["secret_address"], size)
        number = 310 if _X86 else 270
        if LIBC.syscall(number, pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) > 0:
            return buffer.raw.decode("latin-1")
    try:
        kernel(number, os.getpid(), ctypes.byref(ours), 1, ctypes.byref(ours), 1, 0)
    except OSError:
        return None
    return "may read its own"


@attack()
def descriptors_of_others(order):
    """/proc/1/fd lists what the launcher holds."""
    found = []
    for pid in _aims(order):
        if pid != os.getpid():
            for way in ("fd", "fdinfo", "map_files"):
                found += tried(os.listdir, f"/proc/{pid}/{way}") or []
            found += [read(f"/proc/{pid}/maps", 100)] if read(f"/proc/{pid}/maps", 100) else []
    return found


@attack()
def inherited_descriptors(order):
    """What was open in the daemon, and standard streams that are more than pipes."""
    allowed = tried(os.listdir, "/proc/self/fd") or []
    found = []
    for name in allowed:
        link = tried(os.readlink, f"/proc/self/fd/{name}") or ""
        if link and not (int(name) < 3 and link.startswith("pipe:")) and not link.startswith("/proc/"):
            found.append(f"{name} -> {link}")
            if int(name) > 2:
                found.append((tried(os.pread, int(name), 4096, 0) or b"").decode("latin-1"))
    return found


@attack()
def take_a_descriptor(order):
    """pidfd_getfd: any descriptor of a process that one may trace."""
    for pid in _aims(order):
        pidfd = tried(os.pidfd_open, pid)
        for fd in range(16) if pidfd is not None else ():
            taken = tried(kernel, 438, pidfd, fd, 0)
            if taken is not None:
                return f"{pid}: {fd} -> {os.readlink(f'/proc/self/fd/{taken}')}"
    return None


@attack()
def see_processes(order):
    """Processes of the host, by number and by name."""
    return [pid for pid in pids() if order["victim_name"] in read(f"/proc/{pid}/cmdline")]


@attack()
def kill_processes(order):
    """By number, by group, and everybody there is (that one only inside)."""
    tried(os.kill, order["victim"], signal.SIGKILL)
    if order["run"] == "box":
        for pid in (order["daemon"], order["victim"], 1):
            for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
                tried(os.kill, pid, number)
        tried(os.kill, -1, signal.SIGKILL)
        tried(os.killpg, 0, signal.SIGCONT)


@attack()
def trace_processes(order):
    """Attach to the daemon's children, to process 1; be traced."""
    found = []
    for pid in (order["victim"], *([1, os.getppid()] if order["run"] == "box" else [])):
        if LIBC.ptrace(0x4206, pid, 0, 0) == 0:  # PTRACE_SEIZE stops nobody
            LIBC.ptrace(17, pid, 0, 0)
            found.append(pid)
    return found + (["be traced"] if LIBC.ptrace(0, 0, 0, 0) == 0 else [])


@attack()
def slow_processes_down(order):
    """Limits, priority and place of somebody else's process, and of all of the same user."""
    who = order["victim"]
    tried(resource.prlimit, who, resource.RLIMIT_NOFILE, (7, 7))
    tried(os.setpriority, os.PRIO_PROCESS, who, 5)
    if order["run"] == "box":
        tried(os.setpriority, os.PRIO_USER, os.getuid(), 6)
        tried(os.setpriority, os.PRIO_PGRP, 0, 6)


@attack()
def shared_memory_of_the_host(order):
    """System V segments, /dev/shm and message queues that the host has."""
    found = []
    number = LIBC.shmget(order["shm_key"], 0, 0)
    if number >= 0:
        LIBC.shmat.restype = ctypes.c_void_p
        at = LIBC.shmat(number, None, 0o10000)
        found.append(ctypes.string_at(at, order["secret_length"]).decode("latin-1"))
    found.append(read(f"/dev/shm/{order['shm_name']}"))
    return [each for each in found if each]


@attack()
def leave_shared_memory(order):
    """What is made in /dev/shm, /tmp or System V must not be the host's."""
    for folder in ("/dev/shm", "/tmp"):
        with open(f"{folder}/{order['mark']}", "w") as file:
            file.write("pwned")
    return (
        f"{LIBC.shmget(order['own_key'], 4096, 0o1666)}"
        if order["run"] == "control"
        else LIBC.shmget(order["own_key"], 4096, 0o1666) < 0
    )


@attack()
def leave_a_message_queue(order):
    """POSIX message queues belong to the ipc namespace."""
    library = ctypes.CDLL("librt.so.1", use_errno=True)
    queue = library.mq_open(f"/{order['queue']}".encode(), os.O_RDWR, 0o666, None)
    if queue < 0 and ctypes.get_errno() in (errno.ENOENT, errno.EACCES):
        return None
    return "the host's queue is open"


@attack("dumpable", unless="root: its init changes its user, and is not dumpable by that")
def look_into_process_1(order):
    """Its memory, maps, descriptors, working folder, root and program."""
    ways = ("mem", "maps", "environ", "auxv", "stack", "syscall", "pagemap")
    found = [way for way in ways if tried(os.open, f"/proc/1/{way}", os.O_RDONLY) is not None]
    found += [way for way in ("cwd", "root", "exe") if tried(os.readlink, f"/proc/1/{way}") is not None]
    found += [
        way for way in ("fd", "map_files", "ns") if tried(os.listdir, f"/proc/1/{way}") is not None and way != "ns"
    ]
    return found
