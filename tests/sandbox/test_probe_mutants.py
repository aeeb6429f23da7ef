"""Take one protection of the overlay back end away, and exactly the flags that depend on it fall."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = os.geteuid() == 0
#: Nobody on any machine.
OTHER = 12345
VSOCK = Path("/dev/vsock").exists()


class Falls(NamedTuple):
    """The flags that fall, and those that fall unless something else still stands in the way; no other one may."""

    must: set[str]
    may: set[str] = frozenset()


#: protections left out → the flags that depend on them.
FALLS = {
    "seccomp": Falls({"privileges", *(["network"] if VSOCK else [])}),  # no namespace hides a vsock
    "network": Falls({"network", "sockets"}),  # abstract sockets belong to the network namespace
    "pid": Falls({"processes"}, {"kill_all"}),  # a control group ends what it holds
    "pid cgroup": Falls({"processes", "kill_all"}, {"memory"}),  # and counts it
    "ipc": Falls({"sockets"}),
    "root": Falls({"fs_read", "fs_write", "home", "sockets"}),  # sockets have paths
    "read-only": Falls({"fs_write", "sockets"}),  # what is shown is shown as it is: its sockets, too
    "shown": Falls({"sockets"}),
    "caps": Falls({"privileges"}),
    "clean-env": Falls({"env"}),
    "memory-limit": Falls({"memory"}),
    "wall-clock": Falls({"kill_all"}),
    "restore": Falls({"rewind"}),
    "dumpable": Falls({"privileges"}),
    "clean-env dumpable": Falls({"env", "privileges"}),
}
ROOTS = {"idmap": Falls({"privileges"})}


def falls_for(user: int) -> dict[str, Falls]:
    return {**FALLS, **(ROOTS if user == 0 else {})}


def python_for(user: int) -> list[str] | None:
    """An interpreter that this user may run and that finds what rsi needs."""
    for name in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if name is not None and attempt([name, "-c", "import msgspec, rsi.sandbox"], user).returncode == 0:
            return [name]
    return None


def attempt(command: list[str], user: int, place: Path = Path("/nonexistent")) -> subprocess.CompletedProcess[str]:
    """Run it as this user, with `place` for its state and its home."""
    env = {
        "PATH": "/usr/bin:/bin", "HOME": str(place / "home"), "XDG_STATE_HOME": str(place),
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
    }  # fmt: skip
    switch = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    try:
        return subprocess.run(
            command, env=env, cwd="/", capture_output=True, text=True, timeout=100, check=False, **switch
        )
    except PermissionError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


class Mutants:
    """What fell, for one user, without the protections that are named; probed a few at a time, each once."""

    def __init__(self, user: int, python: list[str], place: Path, pool: ThreadPoolExecutor) -> None:
        self.user, self._python, self._place = user, python, place
        self._found = {names: pool.submit(self._probe, *names.split()) for names in ("", *falls_for(user))}

    def __call__(self, names: str) -> dict:
        return self._found[names].result()

    def _probe(self, *names: str) -> dict:
        ended = attempt([*self._python, str(HERE / "probe_mutants.py"), *names], self.user, self._place)
        assert ended.returncode == 0, ended.stderr
        found = json.loads(ended.stdout)
        assert found["trouble"] is None
        return found


@pytest.fixture(
    scope="module",
    params=[pytest.param(os.geteuid(), id="me"), pytest.param(OTHER, id="user", marks=pytest.mark.slow)],
)
def probed(request):
    user = request.param
    if user != os.geteuid() and not ROOT:
        pytest.skip("only root can become somebody else")
    python = python_for(user)
    if python is None:
        pytest.skip(f"uid {user} can run no interpreter that finds msgspec")
    if attempt(["unshare", "--user", "true"], user).returncode != 0:
        pytest.skip(f"uid {user} may not make a user namespace here")
    place = Path(tempfile.mkdtemp(prefix="rsi-mutants-"))  # pytest's own folders are for its user alone
    home = place / "home"
    home.mkdir()
    (home / ".bashrc").write_text("planted\n")  # for everybody to read: nothing but the box hides it
    for path in (place, home):
        path.chmod(0o755)
        os.chown(path, user, -1)
    with ThreadPoolExecutor(3) as pool:
        yield Mutants(user, python, place, pool)
    shutil.rmtree(place)


def test_with_every_protection_every_flag_stands(probed):
    whole = probed("")
    assert (whole["fallen"], whole["succeeded"], whole["no_control"]) == ([], [], [])


@pytest.mark.parametrize("names", sorted({*FALLS, *ROOTS}))
def test_without_a_protection_exactly_the_flags_that_depend_on_it_fall(probed, names):
    falls = falls_for(probed.user).get(names)
    if falls is None:
        pytest.skip("it is another protection for this user")
    found = probed(names)
    fallen = set(found["fallen"])
    assert falls.must <= fallen <= falls.must | falls.may, found["succeeded"]


def test_where_two_protections_stand_before_the_daemons_memory_both_must_go(probed):
    """A clean ancestor has nothing to tell, and an init that cannot be read does not tell it."""
    assert "others_memory" not in {*probed("clean-env")["succeeded"], *probed("dumpable")["succeeded"]}
    assert "others_memory" in probed("clean-env dumpable")["succeeded"]
