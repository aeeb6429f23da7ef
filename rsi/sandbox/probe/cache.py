"""What was found is kept until the next boot, for this user, back end, kernel and code, in a private file.

A file that is damaged, somebody else's, or of another time is as good as none: then it is probed again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import stat
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

import rsi
from rsi.sandbox.overlay.place import user_home
from rsi.sandbox.probe.found import Report

_LOG: Final = logging.getLogger("rsi.sandbox")
_NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc")
#: A report is some 20 kB.
_MOST: Final = 1 << 20


class _Kept(msgspec.Struct, frozen=True):
    key: str
    report: Report


def key(backend: bytes) -> str | None:
    """Everything that a probe's result depends on, hashed; None where a boot has no name: then nothing is kept."""
    boot = _boot()
    if boot is None:
        return None
    where = [_namespace(name) for name in _NAMESPACES]
    parts = [
        boot,
        rsi.__version__,
        platform.release(),
        os.getuid(),
        os.getgid(),
        os.environ.get("HOME"),
        *where,
        code(),
    ]
    return hashlib.sha256(msgspec.json.encode(parts) + backend).hexdigest()


def load(name: str, expected: str) -> Report | None:
    """The report under this key, if there is one that can be believed."""
    try:
        fd = os.open(_path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not _is_private(os.fstat(file.fileno())):
            return None
        try:
            kept = msgspec.json.decode(file.read(_MOST), type=_Kept)
        except msgspec.MsgspecError:
            return None
    return kept.report if kept.key == expected else None


def save(name: str, found: str, report: Report) -> None:
    """Keep it; where that cannot be done, it is probed again the next time."""
    try:
        path = _path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(_Kept(found, report)))
        Path(temporary).replace(path)
    except OSError as error:
        _LOG.warning("what the sandbox isolates cannot be kept (%s): it is probed each time", error)


def _path(name: str) -> Path:
    said, home = os.environ.get("XDG_STATE_HOME"), user_home()
    if not said and home is None:
        raise FileNotFoundError("this user has no home folder; set XDG_STATE_HOME")
    state = Path(said) if said else Path(str(home)) / ".local/state"
    safe = "".join(each if each.isalnum() or each in "-_" else "_" for each in name)
    return state / "rsi" / "probes" / f"{safe}-{os.getuid()}.json"


def _is_private(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


@cache
def code() -> str:
    """A hash of every file that takes part in isolating or probing."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _boot() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError, subprocess.SubprocessError):
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(  # noqa: S603 - a constant
            command, capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
    return None


def _namespace(name: str) -> str:
    try:
        return str(Path("/proc/self/ns", name).readlink())
    except OSError:
        return ""
