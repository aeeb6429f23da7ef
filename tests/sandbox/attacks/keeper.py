"""The tests' side: one daemon for a mode, as root and as an ordinary user."""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from attacks.limits import PYTHON

from rsi.sandbox.overlay import OverlayBackend

#: Nobody on this machine, and not user 0.
USER = 12345
IS_ROOT = os.geteuid() == 0
MODES = ("root", "user") if IS_ROOT else ("user",)
HERE = Path(__file__).parent.parent


class Keeper:
    """A daemon that was started with a secret in its environment, with a home of its own."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._place = Path(tempfile.mkdtemp(prefix="rsi-keeper-"))
        for folder in (self._place, self._place / "home", self._place / "state"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
            if mode == "user" and IS_ROOT:
                os.chown(folder, USER, USER)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [python_for(mode), "-B", "-m", "attacks.daemon", str(theirs.fileno())],
                env={
                    "RSI_ATTACK_SECRET": f"rsi-attack-env-{secrets.token_hex(12)}", "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "HOME": str(self._place / "home"), "XDG_STATE_HOME": str(self._place / "state"),
                    "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
                },
                cwd="/",
                pass_fds=[theirs.fileno()],
                **_who(mode),
            )  # fmt: skip
        self._channel = ours
        self._file = ours.makefile("rwb")

    def _ask(self, what: str, **given):
        pickle.dump((what, given), self._file)
        self._file.flush()
        word, what = pickle.load(self._file)
        assert word == "is", what
        return what

    def attack(self, name: str, control: str) -> dict:
        """One attack, inside and as its control."""
        return self._ask("attack", name=name, control=control)

    def scene(self, name: str, **given):
        """A function of a `scenes_…` module, in the daemon."""
        return self._ask("scene", name=name, **given)

    def close(self) -> None:
        self._file.close()
        self._channel.close()
        self._process.wait(60)
        shutil.rmtree(self._place, ignore_errors=True)


def started(mode: str) -> Keeper:
    """One for a test module, which is skipped with the reason where none can be."""
    if not Path(PYTHON).exists():
        pytest.skip(f"the attacks are run by {PYTHON}, which is not here")
    if reason := OverlayBackend().unavailable():
        pytest.skip(reason)
    try:
        return Keeper(mode)
    except LookupError as error:
        pytest.skip(str(error))


def _who(mode: str) -> dict:
    return {"user": USER, "group": USER, "extra_groups": []} if mode == "user" and IS_ROOT else {}


def python_for(mode: str) -> str:
    """An interpreter that this user may run, and that finds what rsi needs."""
    for name in (sys.executable, "/usr/bin/python3"):
        command = [name, "-c", "import msgspec, rsi.sandbox"]
        env = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"}
        try:
            if (
                subprocess.run(command, env=env, cwd="/", capture_output=True, check=False, **_who(mode)).returncode
                == 0
            ):
                return name
        except PermissionError:
            continue
    raise LookupError(f"user {USER} can run no Python that finds msgspec")
