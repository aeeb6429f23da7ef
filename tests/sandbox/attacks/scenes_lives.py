"""One sandbox against another, and what outlives its command. Run by the daemon's process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from attacks.scenes_kit import box as _box
from attacks.scenes_kit import gone as _gone
from attacks.scenes_kit import living
from attacks.scenes_kit import until as _until
from attacks.scenes_kit import workspace as _workspace
from attacks.yard import PYTHON, Yard

from rsi import clock
from rsi.sandbox import Limits

_SERVICE = """
import ctypes, os, socket, sys
mark, key, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
libc = ctypes.CDLL(None)
tcp = socket.create_server(("127.0.0.1", int(sys.argv[4])))
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\\0" + mark); abstract.listen()
open("/dev/shm/" + mark, "w").write("secret"); open("/tmp/" + mark, "w").write("secret")
libc.shmget(key, 4096, 0o1600)
open(path, "w").write("ready")
sys.stdin.read()
"""
_INTRUDER = """
import ctypes, os, signal, socket, sys
mark, key, store, port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
found = []
def tried(name, action):
    try:
        answer = action()
        if answer is not False and answer is not None and answer != -1: found.append(name)
    except OSError: pass
pids = [int(each) for each in os.listdir("/proc") if each.isdigit() and int(each) not in (os.getpid(), os.getppid())]
def its(pid):
    try: return "ready" + mark in open(f"/proc/{pid}/cmdline").read()
    except OSError: return False
theirs = [pid for pid in pids if its(pid)]
if theirs: found.append("seen")
for pid in theirs:
    tried("signalled", lambda: os.kill(pid, 0) is None)
    tried("looked into", lambda: os.listdir(f"/proc/{pid}/fd"))
    tried("read", lambda: open(f"/proc/{pid}/root/tmp/{mark}").read())
tried("tcp", lambda: socket.create_connection(("127.0.0.1", port), 1))
def abstract():
    channel = socket.socket(socket.AF_UNIX); channel.connect("\\0" + mark); return True
tried("abstract", abstract)
tried("shm", lambda: open("/dev/shm/" + mark).read())
tried("tmp", lambda: open("/tmp/" + mark).read())
tried("system v", lambda: ctypes.CDLL(None).shmget(key, 0, 0))
tried("store", lambda: os.listdir(store))
print(",".join(found))
"""


def one_sandbox_against_another(yard: Yard, folder: Path) -> dict[str, list[str]]:
    answers = {}
    for run in ("box", "control"):
        mark, key, port = f"rsi-two-{run}-{os.getpid()}", str(os.getpid() * 2 + (run == "box")), str(_free_port())
        places = [folder / f"{run}-{name}" for name in "ab"]
        for place in places:
            place.mkdir()
        flag = places[1] / "flag"
        service = [PYTHON, "-I", "-c", _SERVICE, mark, key, str(flag), port, f"ready{mark}"]
        intruder = [PYTHON, "-I", "-c", _INTRUDER, mark, key, "STORE", port]
        if run == "control":
            intruder[-2] = str(yard.box("").store)
            with subprocess.Popen(service, stdin=subprocess.PIPE) as process:
                _until(flag.exists)
                answers[run] = (
                    subprocess.run(intruder, capture_output=True, text=True, check=True).stdout.strip().split(",")
                )
                process.kill()
            for path in (f"/dev/shm/{mark}", f"/tmp/{mark}"):
                Path(path).unlink()
            _remove_segment(int(key))
            continue
        with _box(places[0]) as a, _box(places[1]) as b:
            thread = threading.Thread(
                target=b.exec, args=(service,), kwargs={"input": None, "limits": Limits(wall_s=30)}
            )
            service[3] = _SERVICE.replace("sys.stdin.read()", "import time; time.sleep(60)")
            thread.start()
            _until(lambda mark=mark: living(f"ready{mark}"))
            _until(lambda b=b: any((b.store.parents[1] / "layers").glob("*/flag")))
            intruder[-2] = str(b.store)
            ended = a.exec(intruder)
            assert ended.ok, ended
            answers[run] = [each for each in ended.stdout.strip().split(",") if each]
            answers["still runs"] = [str(bool(living(f"ready{mark}")))]
            b.interrupt()
            thread.join()
    return answers


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _remove_segment(key: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    libc.shmctl(libc.shmget(key, 0, 0), 0, None)


_STUBBORN = """
import os, signal, sys, time
for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT): signal.signal(each, signal.SIG_IGN)
file = open("kept", "a")
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    while True:
        file.write("after the checkpoint\\n"); file.flush(); time.sleep(0.01)
print("started", flush=True)
if sys.argv[2] == "stay": time.sleep(60)
"""


def a_process_outlives_its_command(yard: Yard, folder: Path, *, how: str) -> dict[str, object]:
    """`leave`: the command ends and its daemon stays; `stay`: the box is destroyed while both run."""
    mark = f"rsi-stubborn-{how}-{os.getpid()}"
    place = _workspace(folder)
    line = [PYTHON, "-I", "-c", _STUBBORN, mark, how]
    box = _box(place)
    if how == "leave":
        assert box.exec(line).stdout == "started\n"
        gone = _gone(mark)
        box.checkpoint("frozen")
        first = box.read_file("kept")
        clock.sleep(0.05)
        frozen = box.read_file("kept") == first
        box.destroy()
    else:
        thread = threading.Thread(target=box.exec, args=(line,))
        thread.start()
        _until(lambda: len(living(mark)) > 1)
        box.destroy()
        thread.join()
        gone, frozen = _gone(mark), True
    return {
        "gone": gone,
        "frozen": frozen,
        "control": _outlives(place, mark + "-control", how),
        "host": (place / "kept").read_text(),
    }


def _outlives(place: Path, mark: str, how: str) -> bool:
    copy = place.parent / "control"
    copy.mkdir()
    process = subprocess.Popen(
        [PYTHON, "-I", "-c", _STUBBORN, mark, how], cwd=copy, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    _until(lambda: (copy / "kept").exists() and (copy / "kept").stat().st_size > 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = living(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return bool(left)
