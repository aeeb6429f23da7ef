"""A supervisor that was made before its order came: used where it fits, and never missed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_kit import (
    IS_ROOT,
    LIBC,
    Yard,
    alive,
    another_launcher,
    as_mode,
    in_fork,
    must,
    new_zygote,
    remove,
    run,
    yard,
)

from rsi.sandbox import launch
from rsi.sandbox.launch import Order, Zygote

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root mode has one")
PATIENCE_S = 20.0


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard("root") as made:
        yield made


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Use a launcher with a line added to one of its modules."""
    made: list[Path] = []

    def change(line: str, module: str) -> None:
        made.append(another_launcher(line, module))
        monkeypatch.setattr(launch, "_LAUNCHER", made[-1])

    yield change
    for folder in made:
        remove(folder.parent)


def standing(zygote: Zygote) -> list[int]:
    """Who waits: the zygote's children, once the commands have ended."""
    pid = zygote.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(true: Callable[[], Any]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def settled(zygote: Zygote) -> int:
    """The one that waits, when it has made what it can make before."""
    assert until(lambda: len(standing(zygote)) == 1)
    (pid,) = standing(zygote)
    mounts = Path(f"/proc/{pid}/mountinfo")
    assert until(lambda: "/root/new/dev" in mounts.read_text())
    return pid


def parent(child: launch.Child) -> int:
    return int(Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def served_by(zygote: Zygote, order: Order) -> int:
    """Whose child the namespaces' init was."""
    null = os.open("/dev/null", os.O_RDWR)
    child = zygote.launch(order, null, null, null)
    os.close(null)
    found = parent(child)
    child.kill()
    child.wait()
    return found


def test_the_next_order_is_served_by_the_one_that_stands_by(place: Yard) -> None:
    orders = [place.order("/bin/sleep", "100") for _ in range(3)]

    def played() -> bool:
        zygote = new_zygote()
        served_by(zygote, orders[0])
        first = settled(zygote)
        was_it = served_by(zygote, orders[1]) == first
        second = settled(zygote)
        zygote.close()
        return was_it and second != first and until(lambda: not alive(second))

    assert as_mode("root", played)


def test_what_it_had_mounted_is_what_another_would_have(place: Yard) -> None:
    order = [place.order("/bin/sh", "-c", "cut -d' ' -f5- /proc/self/mountinfo; ls -lAR /etc /dev") for _ in range(2)]

    def seen() -> list[str]:
        zygote = new_zygote()
        fresh = run(order[0], zygote=zygote).out
        settled(zygote)
        prepared = run(order[1], zygote=zygote).out
        zygote.close()
        return [_without_times(fresh), _without_times(prepared)]

    fresh, prepared = as_mode("root", seen)
    assert "sandbox" in fresh and "/usr" in fresh  # noqa: PT018
    assert fresh == prepared


def _without_times(text: str) -> str:
    """Also without the number of the work folder, which is another for each order."""
    lines = [line for line in text.splitlines() if "workdir=" not in line]
    return "\n".join(" ".join(word for word in line.split() if ":" not in word) for line in lines)


@pytest.mark.parametrize("after", ["another store", "a protection left out"])
def test_one_that_does_not_fit_is_not_used(place: Yard, after: str) -> None:
    with yard("root") as elsewhere:
        first = place.order("/bin/true")
        other = elsewhere if after == "another store" else place
        order = other.order("/bin/sleep", "100", without=() if other is elsewhere else ("network",))

        def played() -> bool:
            zygote = new_zygote()
            run(first, zygote=zygote)
            stood = settled(zygote)
            served = served_by(zygote, order)
            zygote.close()
            return served != stood

        assert as_mode("root", played)


@pytest.mark.parametrize("where", ["of the system", "readable"])
def test_what_was_mounted_on_the_host_meanwhile_is_seen(place: Yard, where: str) -> None:
    """In a mount namespace of ours, which is the host's to the zygote."""
    disk = Path("/opt") if where == "of the system" else place.folder / "disk"
    if where == "readable":
        disk.mkdir()
    elif not disk.is_dir():
        pytest.skip("this machine has no /opt, and a test makes none")
    readable = () if where == "of the system" else (str(disk),)
    orders = [place.order("/bin/ls", str(disk), readable=readable) for _ in range(2)]

    def host() -> None:
        must(LIBC.unshare(0x20000))
        must(LIBC.mount(None, b"/", None, 0x4000 | (1 << 18), None))

    def played() -> tuple[bool, str]:
        zygote = new_zygote()
        run(orders[0], zygote=zygote)
        stood = settled(zygote)
        must(LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, None))
        (disk / "new").write_text("")
        seen = run(orders[1], zygote=zygote).out
        gone = until(lambda: not alive(stood))
        zygote.close()
        return gone, seen

    assert in_fork(played, prepare=host) == (True, "new\n")


def test_what_was_changed_on_the_host_meanwhile_is_seen(place: Yard) -> None:
    orders = [place.order("/bin/cat", "/etc/os-release") for _ in range(2)]
    release = Path("/etc/os-release")

    def host() -> None:
        libraries = Path("/etc/ld.so.cache").read_bytes()
        must(LIBC.unshare(0x20000))
        must(LIBC.mount(None, b"/", None, 0x4000 | (1 << 18), None))
        must(LIBC.mount(b"tmpfs", b"/etc", b"tmpfs", 0, None))
        Path("/etc/ld.so.cache").write_bytes(libraries)
        release.write_text("one\n")

    def played() -> list[str]:
        zygote = new_zygote()
        seen = [run(orders[0], zygote=zygote).out]
        settled(zygote)
        release.write_text("two\n")
        seen.append(run(orders[1], zygote=zygote).out)
        zygote.close()
        return seen

    assert in_fork(played, prepare=host) == ["one\n", "two\n"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_order_does_not_need_it(place: Yard, number: int) -> None:
    """Killed, it is not asked; stopped with an order in its hands and killed, the order is given to another."""
    orders = [place.order("/bin/true") for _ in range(2)]

    def status() -> int:
        zygote = new_zygote()
        run(orders[0], zygote=zygote)
        stood = settled(zygote)
        os.kill(stood, number)
        if number == signal.SIGSTOP and os.fork() == 0:
            time.sleep(0.5)
            os.kill(stood, signal.SIGKILL)
            os._exit(0)
        ended = run(orders[1], zygote=zygote).status
        zygote.close()
        return ended

    assert as_mode("root", status) == 0


def test_it_goes_with_its_zygote(place: Yard) -> None:
    order = place.order("/bin/true")

    def gone() -> bool:
        zygote = new_zygote()
        run(order, zygote=zygote)
        stood = settled(zygote)
        os.kill(zygote.pid or 0, signal.SIGKILL)
        ended = until(lambda: not alive(stood))
        zygote.close()
        return ended

    assert as_mode("root", gone)


def test_it_does_not_wait_for_long(place: Yard, changed: Callable[[str, str], None]) -> None:
    """While it lives, nothing that is mounted on the host can be let go of. And one that has left is not missed."""
    changed("PATIENCE_MS = 300", "standby.py")
    orders = [place.order("/bin/true") for _ in range(2)]

    def played() -> tuple[bool, int]:
        zygote = new_zygote()
        run(orders[0], zygote=zygote)
        left = until(lambda: not standing(zygote))
        status = run(orders[1], zygote=zygote).status
        zygote.close()
        return left, status

    assert as_mode("root", played) == (True, 0)


def test_one_that_cannot_be_made_is_an_error_of_the_order_that_needs_it(
    place: Yard, changed: Callable[[str, str], None]
) -> None:
    changed("_ROOT_SIZE = 'size=no'", "system.py")
    orders = [place.order("/bin/touch", "ran") for _ in range(2)]

    def said() -> list[str]:
        zygote = new_zygote()
        found = []
        for order in orders:
            try:
                run(order, zygote=zygote)
            except launch.LaunchError as error:
                found.append(str(error))
        zygote.close()
        return found

    found = as_mode("root", said)
    assert len(found) == 2
    assert all("root: make the folders of the root" in each for each in found)
    assert not place.view("ran").exists()
