"""Commands that do not stop by themselves, in bounds that a shared machine bears.

`python -m attacks.limits` (in tests/sandbox) runs each for this user and prints its time beside 1.5 times its limit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

MiB = 1 << 20
PYTHON = "/usr/bin/python3"


class Bomb(NamedTuple):
    """`goes_s`: how long the limit itself lets it go on, None where nothing but the machine's speed says so."""

    code: str
    limits: dict[str, float]
    killers: tuple[str, ...]
    goes_s: float | None = None
    shell: bool = False

    def command(self, mark: str) -> list[str]:
        return ["/bin/sh", "-c", self.code, mark, mark] if self.shell else [PYTHON, "-I", "-S", "-c", self.code, mark]


_FORKS = """
import os, time
while True:
    try:
        if os.fork() == 0: continue
    except OSError: time.sleep(0.05)
"""
_STUBBORN = """
import os, signal, time
for each in signal.Signals:
    try: signal.signal(each, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
print("partial", flush=True)
while True: time.sleep(60)
"""

BOMBS = {
    "fork bomb": Bomb(_FORKS, {"processes": 64, "wall_s": 10}, ("processes",)),
    "fork bomb in a shell": Bomb("f() { f | f & }; f; sleep 10", {"processes": 64, "wall_s": 3}, ("processes", "timeout"), 3.0, shell=True),
    "yes": Bomb("yes", {"output": 8 * MiB, "wall_s": 20}, ("output",), shell=True),
    "yes on stderr": Bomb("yes >&2", {"output": 8 * MiB, "wall_s": 20}, ("output",), shell=True),
    "ten gigabytes": Bomb("x = []\nwhile True: x.append(bytearray(b'x') * (8 << 20))", {"memory": 256 * MiB, "wall_s": 20}, ("memory",)),
    "ten gigabytes in children": Bomb(
        "import os, time\nfor _ in range(40):\n if os.fork() == 0:\n  x = bytearray(b'x') * (16 << 20); time.sleep(60)\ntime.sleep(60)",
        {"memory": 256 * MiB, "wall_s": 20}, ("memory",),
    ),
    "ten gigabytes in /dev/shm": Bomb("head -c 250M /dev/zero > /dev/shm/x; sleep 20", {"memory": 128 * MiB, "wall_s": 20}, ("memory",), shell=True),
    "ten gigabytes in a memfd": Bomb(
        "import os, time\nfd = os.memfd_create('x')\nfor _ in range(240): os.write(fd, bytes(1 << 20))\ntime.sleep(60)",
        {"memory": 128 * MiB, "wall_s": 20}, ("memory",),
    ),
    "disk filler": Bomb("while :; do head -c 4M /dev/zero >> big; done", {"disk": 48 * MiB, "wall_s": 20}, ("disk",), shell=True),
    "disk filler in small files": Bomb(
        "n = 0\nwhile True:\n open(f'f{n}', 'wb').write(b'x' * 65536); n += 1", {"disk": 48 * MiB, "wall_s": 20}, ("disk",)
    ),
    "disk filler without a name": Bomb(
        "import os\nfd = os.open('x', os.O_CREAT | os.O_RDWR); os.unlink('x')\nwhile True: os.write(fd, bytes(1 << 20))",
        {"disk": 48 * MiB, "wall_s": 20}, ("disk",),
    ),
    "a million empty files": Bomb(
        "import os\nfor n in range(1000000):\n if n % 1000 == 0: os.makedirs(str(n), exist_ok=True); os.chdir(str(n))\n os.close(os.open(f'f{n}', os.O_CREAT))",
        {"inodes": 3000, "wall_s": 30}, ("inodes",),
    ),
    "a million folders": Bomb("import os\nfor n in range(1000000): os.mkdir(f'd{n}')", {"inodes": 3000, "wall_s": 30}, ("inodes",)),
    "ignores every signal": Bomb(_STUBBORN, {"wall_s": 1}, ("timeout",), 1.0),
    "spins": Bomb("while True: pass", {"cpu_s": 0.7, "wall_s": 20}, ("cpu",)),
    "sleeps": Bomb("import time\ntime.sleep(60)", {"wall_s": 0.5}, ("timeout",), 0.5),
    "holds the pipes": Bomb("(trap '' TERM; sleep 60) & exec sleep 60", {"wall_s": 0.5}, ("timeout",), 0.5, shell=True),
}  # fmt: skip


class Parked(NamedTuple):
    """192 MiB that no process holds by a name or a descriptor, against a limit of 64."""

    code: str
    limit: str


_WAIT = "\nimport time\nprint('parked', flush=True); time.sleep(1.5)\n"

PARKED = {
    "system v segments": Parked(
        "import ctypes\nl = ctypes.CDLL(None); l.shmat.restype = ctypes.c_void_p\nfor _ in range(6):\n"
        " s = l.shmget(0, 32 << 20, 0o1600); a = l.shmat(s, None, 0); ctypes.memset(a, 1, 32 << 20); l.shmdt(ctypes.c_void_p(a))" + _WAIT,
        "memory",
    ),
    "memfds on their way": Parked(
        "import os, socket\na, b = socket.socketpair()\nfor _ in range(6):\n fd = os.memfd_create('x')\n"
        " for _ in range(32): os.write(fd, bytes(1 << 20))\n socket.send_fds(a, [b'x'], [fd]); os.close(fd)" + _WAIT,
        "memory",
    ),
    "deleted files on their way": Parked(
        "import os, socket\na, b = socket.socketpair()\nfor n in range(6):\n fd = os.open(f'f{n}', os.O_CREAT | os.O_RDWR); os.unlink(f'f{n}')\n"
        " socket.send_fds(a, [b'x'], [fd])\n for _ in range(32): os.write(fd, os.urandom(1 << 20))\n os.close(fd)" + _WAIT,
        "disk",
    ),
    "deleted files of a process whose first thread has ended": Parked(
        "import ctypes, os, threading, time\ndef fill():\n time.sleep(.1)\n fd = os.open('f', os.O_CREAT | os.O_RDWR); os.unlink('f')\n"
        " for _ in range(192): os.write(fd, os.urandom(1 << 20))\n time.sleep(1.5); os._exit(0)\n"
        "threading.Thread(target=fill).start()\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)",
        "disk",
    ),
    "deleted files that are mapped": Parked(
        "import mmap, os\nk = []\nfor n in range(6):\n fd = os.open(f'f{n}', os.O_CREAT | os.O_RDWR); os.unlink(f'f{n}')\n"
        " for _ in range(32): os.write(fd, os.urandom(1 << 20))\n k.append(mmap.mmap(fd, 32 << 20)); os.close(fd)" + _WAIT,
        "disk",
    ),
}  # fmt: skip


def _row(keeper: object, name: str, bomb: Bomb, scene: Callable[..., dict]) -> None:
    mark = f"rsi-bomb-long-{name.replace(' ', '-')}-{os.getpid()}"
    found = scene("bomb", command=bomb.command(mark), limits=bomb.limits, mark=mark)
    bound = (
        ""
        if bomb.goes_s is None
        else f"{bomb.goes_s * 1.5:6.2f} {'ok' if found['wall_ms'] <= bomb.goes_s * 1500 else 'OVER'}"
    )
    left = "nothing left" if found["gone"] else "SOMETHING LEFT"
    print(
        f"{name:28} {found['killed_by'] or 'ended by itself':10} {found['wall_ms'] / 1e3:6.2f} s  {bound:12} {found['max_rss'] >> 20:5} MiB  {left}",
        flush=True,
    )


def main() -> None:
    from attacks.keeper import MODES, Keeper

    for mode in MODES:
        keeper = Keeper(mode)
        print(f"\n{mode}, load {os.getloadavg()[0]:.1f}\n{'':28} ended by   time    1.5 x limit  memory")
        for name, bomb in BOMBS.items():
            _row(keeper, name, bomb, keeper.scene)
        keeper.close()


if __name__ == "__main__":
    sys.exit(main())
