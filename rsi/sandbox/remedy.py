"""What can be done about a launcher that could not set something up, by the stage and what the kernel answered."""

from __future__ import annotations

import errno
import os
from typing import Final

from rsi.errors import LaunchError

_NO_USER_NAMESPACES: Final = (
    "User namespaces are off: sysctl user.max_user_namespaces=63414, kernel.unprivileged_userns_clone=1 and"
    " kernel.apparmor_restrict_unprivileged_userns=0, where these exist; in a container, its seccomp profile"
)
#: What to do, by stage and errno; 0 is any other.
_REMEDIES: Final[dict[tuple[str, int], str]] = {
    ("start", 0): "Is the interpreter one that this user may run?",
    ("namespaces", errno.EPERM): _NO_USER_NAMESPACES,
    ("namespaces", errno.ENOSPC): _NO_USER_NAMESPACES,
    ("namespaces", errno.EUSERS): _NO_USER_NAMESPACES,
    ("namespaces", errno.ENOSYS): "This kernel or machine has no namespaces that the launcher knows",
    ("namespaces", errno.ENOENT): "Is /proc mounted?",
    ("namespaces", errno.ENOTDIR): "Is /proc mounted?",
    ("idmap", 0): "As root the sandbox needs id-mapped mounts (Linux 5.12 and a file system that has them):"
    " run rsi as an ordinary user, or keep the workspace on ext4, xfs, btrfs or tmpfs",
    ("root", errno.EPERM): _NO_USER_NAMESPACES,
    (
        "root",
        errno.EINVAL,
    ): "Is it on a file system that overlayfs cannot show, one that folds case, or itself an overlay over an overlay?",
    ("overlay", errno.EINVAL): "Is something mounted below the workspace, are there more than 500 layers,"
    " or is the store on a file system that overlayfs cannot write to (overlay, NFS)?",
    ("proc", errno.EPERM): "In a container /proc must not be covered (systempaths=unconfined)",
    ("filter", 0): "This kernel or container has no seccomp filters (CONFIG_SECCOMP_FILTER): nothing is run without",
}


def launch_error(stage: str, number: int, what: str) -> LaunchError:
    """What the launcher said, and the way out: `sandbox: overlay: mount 600 layers …: Invalid argument; …`."""
    reason = f": {os.strerror(number)}" if number else ""
    remedy = _REMEDIES.get((stage, number)) or _REMEDIES.get((stage, 0)) or ""
    return LaunchError(f"sandbox: {stage}: {what}{reason}; the command did not run{remedy and '. '}{remedy}")
