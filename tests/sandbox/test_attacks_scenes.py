"""Attacks in several steps: each is stopped, and its control shows that it could have come through."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from attacks.keeper import MODES, started


@pytest.fixture(scope="module", params=MODES)
def keeper(request):
    made = started(request.param)
    yield made
    made.close()


def test_one_sandbox_cannot_reach_another(keeper):
    found = keeper.scene("one_sandbox_against_another")
    assert found["box"] == []
    assert found["still runs"] == ["True"]
    assert {"seen", "signalled", "looked into", "read", "tcp", "abstract", "shm", "tmp", "system v", "store"} <= set(
        found["control"]
    )


@pytest.mark.parametrize("how", ["leave", "stay"])
def test_nothing_outlives_its_command_or_its_box(keeper, how):
    found = keeper.scene("a_process_outlives_its_command", how=how)
    assert found["gone"]
    assert found["frozen"]
    assert found["host"] == "from the host\n"
    assert found["control"]


def test_an_output_that_is_a_link_is_not_followed_by_the_host(keeper):
    found = keeper.scene("outputs_that_are_links")
    assert not found["leaked"]
    assert all(found["said"].values()), found["said"]
    assert found["target"] == []
    assert found["naive"]


def test_a_folder_swapped_for_a_link_after_the_diff_is_not_followed(keeper):
    found = keeper.scene("a_folder_swapped_for_a_link")
    assert not found["leaked"]
    assert found["said"]["apply"] is not None
    assert found["naive"]


def test_what_overlayfs_writes_cannot_be_forged(keeper):
    found = keeper.scene("forged_layers")
    assert not found["leaked"]
    assert found["base seen"]
    assert found["forged"] == []
    assert {path: letter for path, letter in found["changes"].items() if letter == "D"} == {}
    assert {"empty", "forged", "forged/after", "fifo"} <= found["changes"].keys()
    assert found["host"] == ["kept", "sub"]
    assert "redirect" in found["control"]


def test_hostile_names_arrive_whole_and_drive_no_terminal(keeper):
    found = keeper.scene("hostile_names")
    assert (found["missing"], found["raw in listing"], found["raw in patch"]) == ([], [], [])
    assert (found["read"], found["applied"], found["refused"]) == (True, True, True)
    assert found["undone"] == []
    assert found["control"]


_LOUD = r"printf 'a\033]0;pwned\007b\033[2Jc\033[31mred\n'; printf 'x\033]0;pwned\007\n' > \"$(printf 'esc\033]0;pwned\007\033[2Jname')\""
_DRIVES = (b"\x1b]", b"\x1b[2J", b"\x07")


def _on_a_terminal(command: list[str], place: Path) -> bytes:
    """What a person at a terminal is sent."""
    ours, theirs = pty.openpty()
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place),
        "XDG_STATE_HOME": str(place / "state"),
        "TERM": "xterm",
    }
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    work = place / "work"
    work.mkdir(exist_ok=True)
    process = subprocess.Popen(command, cwd=work, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # EIO: nobody has the other end any more
        pass
    process.wait()
    os.close(ours)
    return said


def test_a_terminal_is_not_driven_by_what_a_command_prints_or_writes(tmp_path):
    run = [sys.executable, "-m", "rsi", "sandbox", "run", "--backend", "overlay", "--require", "none", "--diff", "--"]
    said = _on_a_terminal([*run, "/bin/sh", "-c", _LOUD], tmp_path)
    assert b"red" in said
    assert b"name" in said
    assert not [each for each in _DRIVES if each in said], said
    control = _on_a_terminal(["/bin/sh", "-c", _LOUD + "; ls --show-control-chars; cat esc*"], tmp_path)
    assert all(each in control for each in _DRIVES)


def test_what_a_command_wrote_to_reach_further_is_not_merged(keeper):
    found = keeper.scene("merge_what_a_command_wrote")
    replaced = ["a folder for a link in the target", "into a link in the target"]  # the links: not followed
    assert [name for name, said in found["said"].items() if said is None] == replaced
    assert (found["secret"], found["outside"]) == ("intact", ["secret"])
    assert {"evil", "x/.git/hooks/post-checkout", "x/.rsi/secret"} <= {
        name for names in found["control"].values() for name in names
    }


def test_set_uid_stays_in_a_closed_folder_and_is_not_merged(keeper):
    found = keeper.scene("set_uid_is_not_merged")
    assert (found["merged"], found["wide"]) == ("0o755", "0o755")
    assert found["closed above"]
    assert found["inside"] == "0o6755"


def test_the_init_survives_what_its_own_user_may_do_to_it(keeper):
    found = keeper.scene("attack_the_init")
    assert found["ended"] == [0, "done\n"]
    assert found["starved"] == "timeout"
    assert found["stopped"] == "timeout"
    assert found["after"] == "fine\n"


def test_the_launcher_loads_nothing_of_the_workspace(keeper):
    found = keeper.scene("modules_of_the_workspace")
    assert found["launcher"] == ""
    assert found["control"]


def test_the_home_folder_is_no_workspace(keeper):
    found = keeper.scene("the_home_as_workspace")
    assert not found["leaked"], found
    assert "home folder" in found["refused"]


def test_a_live_service_in_a_readable_folder_is_not_reached(keeper):
    found = keeper.scene("services_in_a_readable_folder")
    assert found["control"] == ["socket", "fifo"]
    assert found["box"] == []


def test_the_stores_are_not_shown_to_whoever_asks_for_their_folder(keeper):
    found = keeper.scene("the_store_as_readable")
    assert "other sandboxes" in found["refused"]
    assert found["covered"] == []
    assert found["control"] > 1
