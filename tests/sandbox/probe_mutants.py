"""The overlay back end with one thing taken away, probed: `python probe_mutants.py NAME…` prints what fell, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from rsi.sandbox.launch import Order, Zygote
from rsi.sandbox.model import Command, ExecResult
from rsi.sandbox.overlay import backend
from rsi.sandbox.overlay.backend import OverlayBackend
from rsi.sandbox.probe import FLAGS, report


class Lacking:
    """Starts launchers that leave protections out (`Order.without`)."""

    def __init__(self, without: tuple[str, ...]) -> None:
        self._without = without

    def __call__(self, store: Path) -> Lacking.Launcher:
        return self.Launcher(Zygote(store), self._without)

    class Launcher:
        def __init__(self, real, without: tuple[str, ...]) -> None:
            self._real, self._without = real, without

        def launch(self, order: Order, *standard: int):
            left_out = tuple(name for name in self._without if name != "cgroup")
            cgroups = () if "cgroup" in self._without else order.cgroups
            return self._real.launch(msgspec.structs.replace(order, without=left_out, cgroups=cgroups), *standard)

        def close(self) -> None:
            self._real.close()


class AsRoot(OverlayBackend):
    """Commands are the host's own user 0, and layers are theirs."""

    def open(self, *given, **named):
        backend.layer_owner = lambda: None
        return super().open(*given, **named)


class Altered(OverlayBackend):
    """One method of its boxes does less than it should."""

    def __init__(self, box: type[Lax]) -> None:
        super().__init__()
        self._altered = box

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> Lax:
        return self._altered(super().open(workspace, readable=readable, reopen=reopen))


class Lax:
    """A box around a box."""

    def __init__(self, box) -> None:
        self._box = box

    def __getattr__(self, name: str):
        return getattr(self._box, name)


class Unlimited(Lax):
    """No memory limit."""

    def run(self, command: Command) -> ExecResult:
        limits = msgspec.structs.replace(command.limits, memory=None)
        return self._box.run(msgspec.structs.replace(command, limits=limits))


class Forgetful(Lax):
    """A way back that goes nowhere."""

    def restore(self, checkpoint_id: str) -> None:
        pass


class Patient(Lax):
    """No wall clock for who ignores it."""

    def run(self, command: Command) -> ExecResult:
        limits = msgspec.structs.replace(command.limits, wall_s=60.0)
        return self._box.run(msgspec.structs.replace(command, limits=limits))


ALTERED = {"memory-limit": Unlimited, "restore": Forgetful, "wall-clock": Patient}


def mutant(*names: str) -> OverlayBackend:
    """The overlay back end without these."""
    if names and names[0] in ALTERED:
        return Altered(ALTERED[names[0]])
    return (AsRoot if "idmap" in names else OverlayBackend)(launcher=Lacking(names))


def main() -> None:
    found = report(mutant(*sys.argv[1:]), fresh=True)
    print(
        json.dumps(
            {
                "trouble": found.trouble,
                "fallen": [flag for flag in FLAGS if found.why_not(flag) is not None],
                "succeeded": [each.name for each in found.tried if each.succeeded],
                "no_control": [each.name for each in found.tried if each.needed and not each.control],
                "took_ms": found.took_ms,
            }
        )
    )


if __name__ == "__main__":
    import probe_mutants  # the prober unpickles by this name

    probe_mutants.main()
