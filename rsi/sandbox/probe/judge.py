"""Which attacks there are, which flag each is about, and how it is judged, outside, where the targets are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from rsi.sandbox.probe.attack import files, kernel, network, others
from rsi.sandbox.probe.attack.order import Attack
from rsi.sandbox.probe.targets import Targets

#: (targets, "control" or "box", the proof it brought back) → it succeeded
Judge = Callable[[Targets, str, Any], bool]


class Kind(msgspec.Struct, frozen=True):
    """One attack: its flag, whether its control must succeed (`needed`), who judges it, what it does."""

    flag: str
    needed: bool
    judge: Judge
    what: str


def _secret(name: str) -> Judge:
    return lambda targets, _, proof: targets.secrets[name] in (proof or ())


def _daemons(targets: Targets, _: str, proof: Any) -> bool:
    return not {targets.secrets["env"], targets.secrets["heap"]}.isdisjoint(proof or ())


def _heard(name: str) -> Judge:
    return lambda targets, run, _: targets.heard(f"{run}:{name}")


def _changed(name: str) -> Judge:
    return lambda targets, run, _: targets.changed(run, name)


def _same(targets: Targets, _: str, proof: Any) -> bool:
    return any(targets.is_host_file(*each[-2:]) for each in proof or () if isinstance(each, list))


def _same_one(targets: Targets, _: str, proof: Any) -> bool:
    return bool(proof) and targets.is_host_file(*proof)


def _at_home(targets: Targets, _: str, proof: Any) -> bool:
    return any((each[0], *each[-2:]) in targets.at_home for each in map(tuple, proof or ()))


def _host_interface(targets: Targets, _: str, proof: Any) -> bool:
    return not targets.interfaces.isdisjoint(proof or ())


def _dead(targets: Targets, run: str, _: Any) -> bool:
    return targets.is_dead(run)


def _claimed(_: Targets, __: str, proof: Any) -> bool:
    return bool(proof)


#: What they need is not on every machine, or not for every user: then they show nothing either way.
_SYSTEM_CALLS: Final = (
    "mount", "open_tree", "raw_socket", "chroot", "bpf", "add_key", "io_uring", "userfaultfd", "perf_event", "device",
    "push_input", "set_uid", "crypto_socket",
)  # fmt: skip
_JUDGED: Final[dict[str, tuple[str, bool, Judge]]] = {
    "read_outside": ("fs_read", True, _secret("file")),
    "read_by_link": ("fs_read", True, _secret("file")),
    "read_by_proc": ("fs_read", True, _secret("file")),
    "read_shadow": ("fs_read", False, _same_one),
    "overwrite_outside": ("fs_write", True, _changed("file")),
    "chmod_outside": ("fs_write", True, _changed("mode")),
    "write_shown": ("fs_write", True, _changed("shown")),
    "create_outside": ("fs_write", True, _changed("created")),
    "write_by_link": ("fs_write", True, _changed("by-link")),
    "write_by_hard_link": ("fs_write", True, _changed("linked")),
    "change_workspace": ("fs_write", True, _changed("workspace")),
    "write_shared_memory": ("fs_write", False, _changed("shm")),
    "write_system": ("fs_write", False, _same),
    "write_kernel": ("fs_write", False, _claimed),
    "list_home": ("home", True, _at_home),
    "read_home": ("home", True, _at_home),
    "tcp": ("network", True, _heard("tcp")),
    "tcp6": ("network", False, _heard("tcp6")),
    "udp": ("network", True, _heard("udp")),
    "interfaces": ("network", False, _host_interface),
    "packet": ("network", False, _claimed),
    "vsock": ("network", False, _claimed),
    "abstract_socket": ("sockets", True, _heard("abstract_socket")),
    "path_socket": ("sockets", True, _heard("path_socket")),
    "workspace_socket": ("sockets", True, _heard("workspace_socket")),
    "shown_socket": ("sockets", True, _heard("shown_socket")),
    "shown_fifo": ("sockets", True, _changed("fifo")),
    "sysv_memory": ("sockets", True, _secret("sysv")),
    "posix_memory": ("sockets", False, _secret("shm")),
    "own_environment": ("env", True, _daemons),
    "others_environment": ("env", True, _daemons),
    "others_memory": ("env", False, _daemons),
    "inherited": ("env", True, _secret("fd")),
    "see": ("processes", True, _claimed),
    "kill": ("processes", True, _dead),
    "trace": ("processes", False, _claimed),
    "user_namespace": ("privileges", True, _claimed),
    "clone_namespace": ("privileges", True, _claimed),
    "trace_child": ("privileges", True, _claimed),
    "keepers_maps": ("privileges", True, _claimed),
    "keepers_descriptors": ("privileges", True, _claimed),
    **dict.fromkeys(_SYSTEM_CALLS, ("privileges", False, _claimed)),
}

PROGRAM: Final[dict[str, Attack]] = {**files.ATTACKS, **network.ATTACKS, **others.ATTACKS, **kernel.ATTACKS}

#: The attacks of the program, in the order they are run in.
KINDS: Final = {
    name: Kind(*_JUDGED[name], what=" ".join((attack.__doc__ or "").split())) for name, attack in PROGRAM.items()
}
