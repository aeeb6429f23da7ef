"""The launcher itself, what a caller may ask for, and what does not stop. Run by the daemon's process."""

# ruff: noqa: PTH208 - names are enough

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from attacks.scenes_kit import box as _box
from attacks.scenes_kit import gone as _gone
from attacks.scenes_kit import python as _python
from attacks.scenes_kit import refused as _refused
from attacks.scenes_kit import workspace as _workspace
from attacks.yard import PYTHON, Yard

from rsi.errors import RSIError
from rsi.sandbox import Limits
from rsi.sandbox.model import Command
from rsi.sandbox.overlay import OverlayBackend

_AGAINST_INIT = """
import os, resource, signal
for number in set(signal.Signals) - {signal.SIGKILL}:
    for _ in range(3):
        try: os.kill(1, number)
        except OSError: pass
for name, value in (("NOFILE", 3), ("FSIZE", 0), ("NPROC", 1), ("STACK", 4096), ("CORE", 0)):
    try: resource.prlimit(1, getattr(resource, "RLIMIT_" + name), (value, value))
    except OSError: pass
try: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
except OSError: pass
try: os.setpriority(os.PRIO_PROCESS, 1, 19)
except OSError: pass
print("done", flush=True)
"""


def attack_the_init(yard: Yard, folder: Path) -> dict[str, object]:
    """Signals, limits and priorities of process 1, which is the same user: the call returns, the next one works."""
    with _box(_workspace(folder)) as box:
        ended = _python(box, _AGAINST_INIT, limits=Limits(wall_s=10))
        starved = _python(box, _AGAINST_INIT + "while True: pass", limits=Limits(wall_s=1))
        stopped = box.exec("kill -STOP -1; kill -STOP $$; sleep 5", limits=Limits(wall_s=1))
        after = box.exec("echo fine")
    return {
        "ended": [ended.returncode, ended.stdout],
        "starved": starved.killed_by,
        "stopped": stopped.killed_by,
        "after": after.stdout,
    }


def modules_of_the_workspace(yard: Yard, folder: Path) -> dict[str, object]:
    """Python files named like the launcher's own, variables that make a program load something: never by the launcher."""
    evil = {
        f"{name}.py": "print('pwned', flush=True)"
        for name in ("json", "socket", "os", "ctypes", "signal", "sitecustomize", "usercustomize")
    }
    place = _workspace(folder, **evil)
    names = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "PYTHONSTARTUP")
    env = {**dict.fromkeys(names, str(place)), "LD_PRELOAD": f"{place}/json.py", "BASH_ENV": f"{place}/json.py"}
    with _box(place) as box:
        quiet = box.exec(["/bin/true"], env={name: text for name, text in env.items() if name != "LD_PRELOAD"})
        loud = box.exec([PYTHON, "-c", "import json"], env={"PYTHONPATH": str(place)})
    return {"launcher": quiet.stdout + quiet.stderr, "control": "pwned" in loud.stdout}


def the_home_as_workspace(yard: Yard, folder: Path) -> dict[str, object]:
    """`Sandbox.create(Path.home())`: then the keys are in the view, whatever `home` says."""
    try:
        box = _box(yard.home)
    except RSIError as error:
        return {"refused": str(error), "leaked": False}
    with box:
        ended = box.exec("cat .ssh/id_ed25519 .bashrc .netrc 2>&1")
    return {"refused": None, "leaked": yard.secrets["key"] in ended.stdout}


def services_in_a_readable_folder(yard: Yard, folder: Path) -> dict[str, object]:
    """A live socket and a fifo in a folder that is shown: read-only stops neither."""
    shown = folder / "toolchain"
    shown.mkdir()
    os.mkfifo(shown / "fifo", 0o666)
    (shown / "fifo").chmod(0o666)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(shown / "socket"))
    (shown / "socket").chmod(0o777)
    server.listen()
    reader = os.open(shown / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    code = (
        "import os,socket,sys\nfound=[]\n"
        "try:\n s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]+'/socket'); found.append('socket')\nexcept OSError: pass\n"
        "try:\n os.write(os.open(sys.argv[1]+'/fifo', os.O_WRONLY|os.O_NONBLOCK), b'x'); found.append('fifo')\nexcept OSError: pass\n"
        "print(' '.join(found))"
    )
    with server, _box(_workspace(folder), readable=[shown]) as box:
        inside = _python(box, code, str(shown)).stdout.split()
        outside = subprocess.run(
            [PYTHON, "-c", code, str(shown)], capture_output=True, text=True, check=True
        ).stdout.split()
    os.close(reader)
    return {"box": inside, "control": outside}


def the_store_as_readable(yard: Yard, folder: Path) -> dict[str, object]:
    """Somebody shows the folder that all stores are in: refused; and covered, if a back end is asked directly."""
    state, place = Path(os.environ["XDG_STATE_HOME"]), _workspace(folder)
    stores = state / "rsi" / "sandbox"
    os.environ["RSI_SANDBOX_STORE"] = str(folder / "elsewhere")
    try:
        refused = _refused(_box, place, readable=[state])
        box = OverlayBackend().open(place, readable=(state,))
        look = Command(argv=("find", str(stores), "-mindepth", "1"), env={"PATH": "/usr/bin:/bin"})
        covered = box.run(look).stdout.split()
        box.close()
    finally:
        del os.environ["RSI_SANDBOX_STORE"]
    return {"refused": refused, "covered": covered, "control": len(list(stores.rglob("*")))}


def parked(yard: Yard, folder: Path, *, code: str, limit: str) -> dict[str, object]:
    """Memory or room on the disk that no process holds by a name or a descriptor; 192 MiB against a limit of 64."""
    room = 64 << 20
    with _box(_workspace(folder)) as box:
        limits = Limits(wall_s=15, memory=room) if limit == "memory" else Limits(wall_s=15, disk=room, memory=None)
        ended = _python(box, code, limits=limits)
    return {"killed_by": ended.killed_by, "said": ended.stdout, "err": ended.stderr[-500:]}


def bomb(yard: Yard, folder: Path, *, command: list[str], limits: dict, mark: str) -> dict[str, object]:
    """One command that does not stop by itself."""
    place = _workspace(folder)
    with _box(place) as box:
        ended = box.exec(command, limits=Limits(**limits))
        gone = _gone(mark)
        after = box.exec("echo fine").stdout
    return {
        "killed_by": ended.killed_by, "returncode": ended.returncode, "wall_ms": ended.wall_ms, "gone": gone, "after": after,
        "max_rss": ended.max_rss, "out": ended.stdout[:200], "err": ended.stderr[-300:], "host": sorted(os.listdir(place)),
    }  # fmt: skip


def over_what_the_kernel_holds(yard: Yard, folder: Path) -> dict[str, list]:
    """Limits that end no command: the call fails, and the command goes on."""
    limits = Limits(file=4 << 20, tmp=8 << 20, open_files=64, wall_s=20)
    lines = {
        "one large file": "head -c 8M /dev/zero > big; stat -c %s big",
        "a terabyte of nothing": "truncate -s 1T sparse; stat -c %s sparse",
        "a full /tmp": "head -c 3M /dev/zero > /tmp/1; for n in 2 3 4; do head -c 3M /dev/zero > /tmp/$n; done; du -sm /tmp | cut -f1",
        "many open files": f"{PYTHON} -c 'x = [open(\"/dev/null\") for _ in range(100)]'",
    }
    with _box(_workspace(folder)) as box:
        found = {name: box.exec(line, limits=limits) for name, line in lines.items()}
    return {name: [ended.killed_by, ended.stdout.strip(), ended.stderr] for name, ended in found.items()}
