"""Attacks on what must not be written: outside, the workspace itself, its repository, the system, the kernel."""

# An attack is written in the calls that it makes:
# ruff: noqa: PTH101, PTH103, PTH104, PTH108, PTH110, PTH111, PTH114, PTH116, PTH120, PTH123, PTH211

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shutil

from kit import LIBC, attack, kernel, read, tried, written

_PWNED = b"pwned\n"
#: Files that tools read from a work tree: none may appear in the host's.
GHOSTS = (
    *(".bashrc", ".profile", ".zshrc", ".gitconfig", ".gitmodules", ".mcp.json", ".ripgreprc", ".npmrc"),
    *(
        ".vscode/tasks.json",
        ".idea/workspace.xml",
        ".claude/settings.json",
        ".envrc",
        "conftest.py",
        "sitecustomize.py",
    ),
)


@attack()
def write_outside(order):
    """A folder and a file that anybody may write."""
    written(f"{order['target']}/file")
    written(f"{order['target']}/created", "wb")


@attack()
def write_through_links(order):
    """Symlinks that lead out: one that was there, one of our own."""
    with contextlib.suppress(OSError):
        os.symlink(order["target"], "own-way-out")
    for link in (f"{order['workspace']}/target-link", f"{order['workspace']}/own-way-out"):
        written(f"{link}/file")
        written(f"{link}/created", "wb")


@attack()
def write_by_hard_link(order):
    """A hard link from the view to what is outside or shown read-only."""
    for number, path in enumerate((f"{order['target']}/file", f"{order['shown']}/file")):
        for folder in (order["workspace"], order["target"]):
            if tried(os.link, path, f"{folder}/hard{number}") is None:
                written(f"{folder}/hard{number}")


@attack()
def change_modes_and_attributes_outside(order):
    """chmod, utimes, attributes and flags need no open file."""
    for path in (f"{order['target']}/file", f"{order['shown']}/file"):
        tried(os.chmod, path, 0o600)
        tried(os.utime, path, (1, 1))
        tried(os.setxattr, path, "user.pwned", b"1")
        tried(os.truncate, path, 0)


@attack()
def write_what_is_shown(order):
    """A folder that is shown read-only and is writable for anybody by its modes; also for a mapping."""
    written(f"{order['shown']}/file")
    written(f"{order['shown']}/created", "wb")
    fd = os.open(f"{order['shown']}/file", os.O_RDWR)
    with mmap.mmap(fd, 0) as memory:
        memory[:1] = b"!"


@attack("seccomp,caps,read-only")
def make_what_is_shown_writable(order):
    """Mount it again, mount over it, unmount it."""
    shown = order["shown"].encode()
    done = [
        LIBC.mount(None, shown, None, 0x20 | 0x1000, None),
        LIBC.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None),
        LIBC.mount(b"/tmp", b"/usr", None, 0x1000, None),
        LIBC.umount2(b"/dev/shm", 2),
    ]
    attributes = (0).to_bytes(8, "little") + (1).to_bytes(8, "little") + bytes(16)
    done.append(LIBC.syscall(442, -100, shown, 0, ctypes.create_string_buffer(attributes), 32))
    written(f"{order['shown']}/file")
    return 0 in done


@attack()
def write_the_system(order):
    """The system's folders, by names that are there and names that are not. (Control: only names in a folder of ours.)"""
    places = (
        "/usr",
        "/usr/bin",
        "/etc",
        "/opt",
        "/",
        "/dev",
        "/proc",
        "/sys",
        "/home",
        "/root",
        "/var",
        "/lib/systemd/system",
    )
    if order["run"] == "control":
        places = (order["target"],)
    found = []
    for place in places:
        path = f"{place}/rsi-attack-{os.getpid()}"
        if written(path, "wb"):
            found.append(path)
            os.unlink(path)
    return found


@attack("read-only", unless="the modes of the system's own files protect them, too")
def write_system_programs(order):
    """Open programs that are shown for writing: the interpreter, libc, the linker. Nothing is written."""
    paths = ("/bin/sh", "/usr/bin/env", "/usr/bin/python3", "/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.cache")
    return [path for path in paths if tried(os.open, path, os.O_WRONLY) is not None]


@attack(unless="user: needs user 0")
def write_the_kernels_settings(order):
    """Open settings of the whole machine for writing. Nothing is written."""
    paths = (
        *(
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/vm/drop_caches",
            "/proc/sysrq-trigger",
        ),
        *("/proc/sys/kernel/hostname", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/user/max_user_namespaces"),
        *("/sys/kernel/uevent_helper", "/proc/mtrr", "/proc/irq/default_smp_affinity", "/proc/sys/net/ipv4/ip_forward"),
    )
    return [path for path in paths if tried(os.open, path, os.O_WRONLY) is not None]


@attack()
def change_the_workspace(order):
    """Everything a command may do to its view must leave the folder on the host as it was."""
    os.chdir(order["workspace"])
    written("kept")
    os.truncate("emptied", 0)
    with open("mapped", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:1] = b"!"
    os.rename("renamed", "renamed-away")
    os.unlink("deleted")
    os.link("linked", "linked-too")
    written("linked-too")
    os.chmod("moded", 0o777)
    os.utime("moded", (1, 1))
    os.setxattr("moded", "user.pwned", b"1")
    shutil.rmtree("folder")
    os.chmod(".", 0o777)
    with contextlib.suppress(OSError):
        kernel(285 if os.uname().machine == "x86_64" else 47, os.open("punched", os.O_RDWR), 3, 0, 4096)


@attack()
def leave_ghosts_in_the_workspace(order):
    """Files that a shell, git or an editor runs must not appear in the host's tree."""
    for name in GHOSTS:
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(f"{order['workspace']}/{name}"), exist_ok=True)
        written(f"{order['workspace']}/{name}", "wb")


@attack("protect")
def rewrite_the_repository(order):
    """`.git`: hooks, config, an object, a hard link, another name, away with it. Judged inside: `.git` is what it was."""
    git = f"{order['workspace']}/.git"
    done = [
        written(f"{git}/hooks/pre-commit", "wb"),
        written(f"{git}/config", "ab"),
        written(f"{git}/HEAD"),
        tried(os.rename, git, f"{git}2") is None and not os.path.exists(git),
        tried(os.rename, f"{git}/hooks", f"{order['workspace']}/hooks") is None and not os.path.exists(f"{git}/hooks"),
        tried(os.link, f"{git}/config", f"{order['workspace']}/config") is None
        and written(f"{order['workspace']}/config"),
        tried(os.chmod, f"{git}/config", 0o777) is None and bool(os.stat(f"{git}/config").st_mode & 0o2),
        tried(os.symlink, "/tmp", f"{git}/hooks/way-out") is None and os.path.lexists(f"{git}/hooks/way-out"),
        tried(os.setxattr, f"{git}/config", "user.pwned", b"1") is None and bool(os.listxattr(f"{git}/config")),
    ]
    shutil.rmtree(git, ignore_errors=True)
    done.append("[core]" not in read(f"{git}/config"))
    return [number for number, each in enumerate(done) if each]


@attack("protect")
def rewrite_a_repository_that_is_a_file(order):
    """In a worktree `.git` is a file that says where the repository is: pointing it elsewhere makes git run other hooks."""
    git = f"{order['worktree']}/.git"
    os.chdir(order["worktree"])
    return [
        *([1] if written(git, "r+b", b"gitdir: /tmp\n") else []),
        *([2] if tried(os.unlink, git) is None and not os.path.exists(git) else []),
        *([3] if tried(os.rename, git, f"{git}2") is None and os.path.exists(f"{git}2") else []),
        *([4] if tried(os.link, git, f"{git}3") is None and written(f"{git}3") else []),
    ]


@attack()
def move_the_workspace_away(order):
    """The view's own place: another folder there would be what the next command, or the host, takes for it."""
    place = order["workspace"]
    os.chdir("/")
    for _ in range(200):  # against a mount in the making
        with contextlib.suppress(OSError):
            os.rename(f"{place}/folder", f"{place}/folder2")
            os.symlink(order["outside"], f"{place}/folder")
            os.unlink(f"{place}/folder")
            os.rename(f"{place}/folder2", f"{place}/folder")
    done = [tried(os.rename, place, f"{place}-away") is None and not os.path.exists(place)]
    done.append(tried(os.rmdir, place) is None and not os.path.exists(place))
    done.append(tried(os.symlink, order["outside"], place) is None and os.path.islink(place))
    return any(done)


@attack()
def hold_what_is_shown(order):
    """A lease on a file of the host keeps others from opening it; a lock, from locking it."""
    import fcntl

    fd = os.open(f"{order['shown']}/file", os.O_RDONLY)
    return tried(fcntl.fcntl, fd, 1024, fcntl.F_RDLCK) == 0


@attack()
def become_set_uid(order):
    """A set-uid copy of a program, in every place that can be written; and the host's own set-uid programs."""
    found = []
    for folder in (order["workspace"], "/tmp", "/dev/shm", os.path.expanduser("~")):
        path = f"{folder}/set-uid-{os.getpid()}"
        if tried(shutil.copy, "/usr/bin/env", path) is None:
            continue
        os.chmod(path, 0o6755)
        flags = os.statvfs(path).f_flag
        os.unlink(path)
        if not flags & os.ST_NOSUID:
            found.append(folder)
    return found


@attack()
def run_a_set_uid_program(order):
    """`su` runs as user 0, before it asks for anything."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(ours, 0)
        os.close(theirs)
        os.execv("/usr/bin/su", ["su", "-c", "id"])
    status = ""
    for _ in range(20_000):
        line = read(f"/proc/{pid}/status")
        name = line.split("\n", 1)[0]
        if "su" in name.split():
            status = next(each for each in line.splitlines() if each.startswith("Uid:"))
            break
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return status.split()[2:3] == ["0"]


@attack("seccomp,caps", unless="the file system of the layers takes no capabilities from a namespace")
def give_a_file_capabilities(order):
    """`security.capability` on a program of our own."""
    path = f"{order['workspace']}/capable"
    shutil.copy("/usr/bin/env", path)
    data = b"\x01\x00\x00\x03" + b"\xff\xff\xff\xff" + bytes(4) + b"\xff\xff\xff\xff" + bytes(4) + bytes(4)
    return tried(os.setxattr, path, "security.capability", data[:20]) is None and "security.capability" in os.listxattr(
        path
    )
