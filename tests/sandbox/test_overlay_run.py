"""A command in a box: one at a time, within its limits, ended with the box."""

import os
import threading
from pathlib import Path

import pytest
from overlay_kit import PATH, backend, letters, sh, workspace

from rsi import clock
from rsi.errors import SandboxError
from rsi.sandbox.model import Command, Limits, MiB
from rsi.sandbox.overlay.gauge import Gauge

#: Fills the disk through a file that has no name and is not open.
MAPPED = """
import mmap, os, time
fd = os.open("gone", os.O_RDWR | os.O_CREAT); os.unlink("gone"); os.truncate(fd, 40 << 20)
view = mmap.mmap(fd, 40 << 20); os.closerange(3, 50)
view.write(bytes([1]) * (40 << 20)); view.flush(); time.sleep(100)
"""


@pytest.fixture
def ws(tmp_path):
    return workspace(tmp_path / "ws", {"a": "one\n", "d/x": "x\n"})


@pytest.fixture
def box(tmp_path, ws):
    mine = backend(tmp_path / "home")
    made = mine.open(ws)
    yield made
    made.close()
    mine.drain()


def until(state) -> None:
    while not state():
        clock.sleep(0.005)


def in_thread(work):
    results: list = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_a_command_sees_the_workspace_at_its_own_path_and_changes_only_the_view(box, ws):
    ended = sh(box, f"cat {ws}/a; echo two > {ws}/a; cat a; pwd")
    assert ended.stdout == f"one\ntwo\n{ws}\n"
    assert (ws / "a").read_text() == "one\n"


def test_input_environment_and_folder_are_the_commands_own(box, ws):
    script = 'cat; echo "$WORD"; pwd'
    command = Command(argv=("/bin/sh", "-c", script), env={**PATH, "WORD": "hello"}, cwd="d", input=b"in\n")
    assert box.run(command).stdout == f"in\nhello\n{ws}/d\n"


@pytest.mark.parametrize("cwd", ["..", "/", "d/../../x", "/etc"])
def test_a_folder_outside_of_the_workspace_is_refused(box, cwd):
    with pytest.raises(SandboxError, match="outside of the workspace"):
        box.run(Command(argv=("/bin/true",), env=PATH, cwd=cwd))
    assert sh(box, "true").ok


def test_the_store_cannot_be_seen(box):
    ended = sh(box, f"ls -d {box._line.store} {box._making.home.path} 2>&1 || true")
    assert ended.stdout.count("No such file") == 2


def test_the_homes_own_secrets_cannot_be_seen(box, ws):
    """A workspace is often a home too: its database and local secret are in `.rsi`."""
    (ws / ".rsi").mkdir()
    (ws / ".rsi" / "secret").write_text("planted")
    done = sh(box, "set +e; ls -A .rsi; cat .rsi/secret; echo x > .rsi/new", wall_s=10)
    assert done.stdout == ""
    assert "No such file" in done.stderr
    assert (ws / ".rsi" / "secret").read_text() == "planted"
    assert not (ws / ".rsi" / "new").exists()


def test_commands_take_turns(box):
    threads = [in_thread(lambda: sh(box, "test ! -e busy; touch busy; sleep 0.02; rm busy")) for _ in range(4)]
    for thread, _ in threads:
        thread.join()
    assert all(results and results[0].ok for _, results in threads)


@pytest.mark.parametrize(
    ("line", "limits", "killer"),
    [
        ("sleep 100", {"wall_s": 0.2}, "timeout"),
        (
            "mkdir n; cd n; for i in 1 2 3 4 5 6 7 8 9; do head -c 4M /dev/zero > f$i; done; sleep 100",
            {"disk": 8 * MiB},
            "disk",
        ),
        ("exec 3> gone; rm gone; head -c 40M /dev/zero >&3; sleep 100", {"disk": 8 * MiB}, "disk"),
        (f"python3 -c '{MAPPED}'", {"disk": 8 * MiB}, "disk"),
        ("i=0; while :; do : > n$i; i=$((i+1)); done", {"inodes": 300}, "inodes"),
        ("yes", {"output": MiB}, "output"),
    ],
)
def test_a_command_that_goes_over_a_limit_is_ended_and_says_by_which(box, line, limits, killer):
    ended = sh(box, line, **limits)
    assert ended.killed_by == killer, ended
    assert sh(box, "echo fine").stdout == "fine\n"


def test_what_earlier_commands_wrote_does_not_count(box):
    sh(box, "head -c 6M /dev/zero > f1", disk=8 * MiB)
    assert sh(box, "head -c 6M /dev/zero > f2", disk=8 * MiB).killed_by is None
    assert letters(box.changes()) == {"f1": "A", "f2": "A"}


def test_a_file_larger_than_allowed_ends_its_writer_only(box):
    ended = sh(box, "head -c 3M /dev/zero > f || true; stat -c %s f", file=MiB)
    assert ended.stdout == f"{MiB}\n"
    assert ended.killed_by is None


def test_interrupt_ends_the_command_and_keeps_the_box(box):
    box.interrupt()
    thread, results = in_thread(lambda: sh(box, "echo partial; echo begun > begun; sleep 100", wall_s=100))
    until((box._line.layer(box._stack.upper) / "begun").exists)
    box.interrupt()
    thread.join()
    assert (results[0].killed_by, results[0].stdout) == ("closed", "partial\n")
    assert sh(box, "cat begun").stdout == "begun\n"


def test_close_ends_the_command_and_returns(box):
    thread, results = in_thread(lambda: sh(box, "echo > begun; sleep 100", wall_s=100))
    upper = box._line.layer(box._stack.upper)
    until((upper / "begun").exists)
    box.close()
    thread.join()
    assert results[0].killed_by == "closed"
    with pytest.raises(SandboxError, match="closed"):
        sh(box, "true")


def test_changes_wait_for_the_command_that_makes_them(box):
    thread, _ = in_thread(lambda: sh(box, "echo > begun; sleep 0.05; rm begun; echo > ended"))
    upper = box._line.layer(box._stack.upper)
    until((upper / "begun").exists)
    assert letters(box.changes()) == {"ended": "A"}
    thread.join()


def test_readable_folders_are_shown_and_cannot_be_written(tmp_path, ws):
    shown = workspace(tmp_path / "toolchain", {"tool": "tool\n"})
    box = backend(tmp_path / "home").open(ws, readable=(shown,))
    assert sh(box, f"cat {shown}/tool; touch {shown}/n 2>/dev/null || echo refused").stdout == "tool\nrefused\n"
    box.close()


def test_the_back_end_says_whether_it_can_be_used(tmp_path):
    assert backend(tmp_path / "home").unavailable() is None


# ---- the gauge by itself


def fill(root: Path, folders: int, names: int) -> None:
    for folder in range(folders):
        (root / f"{folder}").mkdir()
        for name in range(names):
            (root / f"{folder}/{name}").touch()


def test_a_look_at_many_names_is_spread_over_many_looks(tmp_path):
    fill(tmp_path, 1, 10)
    gauge = Gauge(str(tmp_path), Limits(disk=1 << 40, inodes=1 << 40))
    (tmp_path / "many").mkdir()
    fill(tmp_path / "many", 20, 300)

    class Ticking:
        """Every look at the clock takes a millisecond."""

        at = 0.0
        now = staticmethod(clock._REAL.now)

        @classmethod
        def monotonic(cls):
            cls.at += 0.001
            return cls.at

    clock.install(Ticking)
    try:
        looks = [gauge().inodes for _ in range(40)]
    finally:
        clock.install(None)
    assert looks == sorted(looks)
    assert 0 < looks[0] < 1000
    assert looks[-1] == 1 + 20 * 301


def test_a_file_with_many_names_counts_its_bytes_once(tmp_path):
    gauge = Gauge(str(tmp_path), Limits())
    (tmp_path / "f").write_bytes(b"x" * MiB)
    for number in range(20):
        (tmp_path / f"l{number}").hardlink_to(tmp_path / "f")
    used = [gauge() for _ in range(3)][-1]
    assert MiB <= used.disk < 2 * MiB
    assert used.inodes == 21


def test_what_was_deleted_again_counts_no_more(tmp_path):
    gauge = Gauge(str(tmp_path), Limits())
    fill(tmp_path, 1, 50)
    assert gauge().inodes == 51
    for path in (tmp_path / "0").iterdir():
        path.unlink()
    assert [gauge() for _ in range(3)][-1].inodes == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of several owners")
def test_files_of_other_owners_are_nobodys_and_stay_as_they_are(box, ws):
    """Only the workspace's owner is mapped into a command: what is somebody else's cannot be changed in the view."""
    for name, mode in (("closed", 0o600), ("open", 0o644)):
        (ws / name).write_text(name)
        (ws / name).chmod(mode)
        os.chown(ws / name, 4711, 4711)
    said = sh(box, "set +e; stat -c %u open; cat open closed; echo x >> open; rm -f open; mv closed c2; ls", wall_s=10)
    assert said.stdout.splitlines()[0] == "65534"
    assert "open" in said.stdout.splitlines()[1]
    assert "closed: Permission denied" in said.stderr
    assert {"open", "closed"} <= {*said.stdout.split()}
    assert box.changes() == []
