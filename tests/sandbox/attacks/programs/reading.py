"""Attacks on what must not be read: files outside, the home, keys, the store, rsi's own state."""

# An attack is written in the calls that it makes:
# ruff: noqa: PTH108, PTH110, PTH111, PTH116, PTH208, PTH211

from __future__ import annotations

import ctypes
import os

from kit import attack, kernel, pids, read, tried


@attack()
def read_a_file_outside(order):
    """A file that anybody on the host may read, by its name."""
    return read(order["secret_file"])


@attack()
def read_through_a_link_in_the_workspace(order):
    """A symlink that was in the workspace already and leads out."""
    return read(f"{order['workspace']}/link-out/secret")


@attack()
def read_through_a_link_of_our_own(order):
    """A symlink made by the command."""
    os.symlink(order["outside"], f"{order['workspace']}/own-link")
    return read(f"{order['workspace']}/own-link/secret")


@attack()
def read_by_climbing(order):
    """`..` as often as it takes, from a descriptor that was open before a change of folder."""
    fd = os.open(".", os.O_RDONLY)
    os.chdir("/")
    path = "../" * 64 + order["secret_file"].lstrip("/")
    with open(path, opener=lambda name, flags: os.open(name, flags, dir_fd=fd)) as file:
        return file.read()


@attack()
def read_through_proc(order):
    """The roots, folders and descriptors of every process."""
    found = ""
    for pid in pids():
        for way in ("root", "cwd", "fd/3", "fd/4", "fd/5", f"task/{pid}/root"):
            found += read(f"/proc/{pid}/{way}{order['secret_file']}")
    return found


@attack(unless="user: needs CAP_DAC_READ_SEARCH")
def read_by_handle(order):
    """`open_by_handle_at` with a handle that was made outside: past every path."""
    handle = bytes.fromhex(order["handle"])
    header = len(handle).to_bytes(4, "little") + order["handle_type"].to_bytes(4, "little")
    at = os.open(order["workspace"], os.O_RDONLY)
    fd = kernel(304 if os.uname().machine == "x86_64" else 265, at, ctypes.create_string_buffer(header + handle), 0)
    return os.read(fd, 4096).decode()


@attack()
def list_the_home(order):
    """The real home folder, by its own name."""
    return [name for name in os.listdir(order["home"]) if name.startswith(".")]


@attack()
def read_the_keys(order):
    """`~/.ssh`, shell files and git credentials, by the real name and by whatever HOME says."""
    names = (".ssh/id_ed25519", ".bashrc", ".git-credentials", ".netrc")
    homes = (order["home"], os.path.expanduser("~"), f"/proc/self/root{order['home']}", f"/proc/1/root{order['home']}")
    return "".join(read(f"{home}/{name}") for home in homes for name in names)


@attack(unless="user: needs user 0")
def read_shadow(order):
    """The host's password hashes, for reading and for writing."""
    found = []
    for path in ("/etc/shadow", "/etc/gshadow"):
        for flags in (os.O_RDONLY, os.O_RDWR):
            fd = tried(os.open, path, flags)
            if fd is not None:
                found.append((path, flags))
    return found


@attack()
def see_the_store(order):
    """Where rsi keeps the layers of this and other boxes."""
    return tried(os.listdir, order["store"]) or tried(os.listdir, order["store_home"])


@attack()
def read_the_store(order):
    """A secret in the store of rsi's daemon."""
    return read(f"{order['state']}/rsi.db")


@attack()
def read_the_workspaces_own_rsi(order):
    """`.rsi` of the workspace holds the daemon's secret, its tokens and everybody's outcomes."""
    return read(f"{order['workspace']}/.rsi/secret") + read(".rsi/daemon.json") + read("/proc/self/cwd/.rsi/secret")


@attack()
def see_users_of_the_host(order):
    """Names of the people on this machine."""
    return [
        line for line in read("/etc/passwd").splitlines() if ":/home/" in line and not line.startswith("sandbox:")
    ] or (os.path.exists("/etc/machine-id") and read("/etc/machine-id"))


@attack(unless="user: the kernel shows it to user 0 only")
def read_the_kernels_memory(order):
    """/proc/kcore, /proc/kallsyms, /dev/mem, /dev/kmsg, the kernel's log."""
    paths = (
        "/proc/kcore",
        "/proc/kallsyms",
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/proc/timer_list",
        "/proc/keys",
        "/proc/cmdline",
    )
    found = [path for path in paths if read(path, 64)]
    fds = [
        path for path in ("/dev/kmsg", "/proc/kmsg") if tried(os.open, path, os.O_RDONLY | os.O_NONBLOCK) is not None
    ]
    if (
        os.path.exists("/dev/null")
        and os.path.exists("/proc/kmsg")
        and os.stat("/proc/kmsg").st_rdev == os.stat("/dev/null").st_rdev
    ):
        fds = [path for path in fds if path != "/proc/kmsg"]
    return found + fds


@attack(unless="user: needs CAP_MKNOD and user 0's devices")
def open_a_disk(order):
    """A device of the host by its name, and by a node of our own making."""
    found = [path for path in order["disks"] if tried(os.open, path, os.O_RDONLY) is not None]
    for folder in ("/tmp", ".", "/dev/shm", "/dev"):
        path = f"{folder}/node-{os.getpid()}"
        if tried(os.mknod, path, 0o020666, os.makedev(1, 3)) is None and os.path.lexists(path):
            if tried(os.open, path, os.O_RDWR) is not None:
                found.append(path)
            os.unlink(path)
    return found


@attack(unless="the mount table outside does not name them either")
def learn_where_the_host_keeps_things(order):
    """The mount table must not name the store or the home."""
    table = read("/proc/self/mountinfo", 1 << 20) + read("/proc/self/mounts", 1 << 20)
    return [line for line in table.splitlines() if order["store_home"] in line or order["home"] in line]
