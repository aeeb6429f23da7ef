"""The process that stands for rsi's daemon: `python -m attacks.daemon`; requests and answers are pickles on a socket.

It is a process of its own because a secret in the environment is one only if a process was *started* with it: an
assignment to `os.environ` does not change what /proc shows.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attacks import scenes_asked, scenes_lives, scenes_outputs, scenes_work
from attacks.yard import Yard

_SCENES = (scenes_asked, scenes_lives, scenes_outputs, scenes_work)


class Daemon:
    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="rsi-attacks-"))
        self.base.chmod(0o755)
        self.yard = Yard(self.base)
        self._pool = ThreadPoolExecutor(1)
        self._calls: dict | None = None

    def attack(self, name: str, control: str) -> dict:
        """One attack, inside and as its control."""
        if name.startswith("call_") and control == "outside":
            return {run: self._one_of_all(run, name) for run in ("inside", "control")}
        return self._attack(name, control)

    def _one_of_all(self, run: str, name: str) -> dict:
        """System calls change nothing: all of them in one process is as good as one process for each."""
        if self._calls is None:
            self._calls = self._attack("every_call", "outside")
            assert not self._calls["inside"]["changed"] + self._calls["inside"]["secrets"]
        answer = self._calls[run]["proof"][name]
        return {"through": bool(answer), "ran": True, "said": str(answer), "secrets": [], "changed": [], "err": ""}

    def _attack(self, name: str, control: str) -> dict:
        order = {run: json.dumps(self.yard.order(run)) for run in ("box", "control")}
        inside = self._pool.submit(self._judged, "box", self.yard.inside, name, order["box"])
        if control == "outside":
            outside = self._judged("control", self.yard.outside_run, name, order["control"])
        else:
            outside = self._judged("control", self.yard.inside, name, order["control"], control)
        if outside["changed"]:
            self.yard.renew("control")
        return {"inside": inside.result(), "control": outside}

    def _judged(self, run: str, action, *given: str) -> dict:
        before = self.yard.state(run)
        out, err = action(*given)
        said = json.loads(out.splitlines()[-1]) if out.strip() else {"stopped": f"said nothing: {err[-2000:]}"}
        after = self.yard.state(run)
        secrets = [kind for kind, text in self.yard.secrets.items() if text in out + err]
        changed = [what for what in before if before[what] != after[what]]
        return {
            "through": bool(said.get("proof")) or bool(secrets) or bool(changed), "proof": said.get("proof"),
            "ran": "proof" in said or "said nothing" not in said["stopped"],
            "said": str(said)[:600], "secrets": secrets, "changed": changed, "err": err[-600:],
        }  # fmt: skip

    def scene(self, name: str, **given):
        """A sequence of steps of one of `_SCENES`, in this process."""
        folder = Path(tempfile.mkdtemp(prefix="scene-", dir=self.base))
        folder.chmod(0o755)
        try:
            scene = next(getattr(module, name) for module in _SCENES if hasattr(module, name))
            return scene(self.yard, folder, **given)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self.yard.close()
        shutil.rmtree(self.base, ignore_errors=True)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    daemon = Daemon()
    with channel.makefile("rwb") as file:
        while True:
            try:
                name, given = pickle.load(file)
            except EOFError:
                break
            try:
                answer = ("is", getattr(daemon, name)(**given))
            except BaseException:
                answer = ("raised", traceback.format_exc())
            pickle.dump(answer, file)
            file.flush()
    daemon.close()
    os._exit(0)


if __name__ == "__main__":
    main()
