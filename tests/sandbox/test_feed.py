"""Input that comes as it is written takes nothing that the command did not want."""

import os
import threading
from pathlib import Path

from rsi.sandbox.feed import fed


def pump() -> threading.Thread:
    [found] = [thread for thread in threading.enumerate() if thread.name == "rsi-sandbox-feed"]
    return found


def test_a_command_that_does_not_read_leaves_the_source_alone():
    ours, theirs = os.pipe()
    with fed(lambda *_: None, ours) as begin:  # it has closed its end
        begin(0, 1, 2)
        for thread in [each for each in threading.enumerate() if each.name == "rsi-sandbox-feed"]:
            thread.join(30)
            assert not thread.is_alive()
        os.write(theirs, b"for somebody else")
    assert os.read(ours, 100) == b"for somebody else"
    os.close(ours)
    os.close(theirs)


def test_a_command_that_ended_leaves_the_source_alone():
    ours, theirs = os.pipe()
    kept = []
    with fed(lambda stdin, *_: kept.append(os.dup(stdin)), ours) as begin:
        begin(0, 1, 2)
        thread = pump()
    thread.join(30)
    assert not thread.is_alive()
    os.write(theirs, b"for somebody else")
    assert os.read(ours, 100) == b"for somebody else"
    assert os.read(kept[0], 100) == b""
    for fd in (ours, theirs, *kept):
        os.close(fd)


def test_what_never_started_leaves_nothing_open():
    ours, theirs = os.pipe()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with fed(lambda *_: None, ours):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(ours)
    os.close(theirs)
