"""Which folders outside the workspace a command needs to be run at all: the interpreter behind a venv, and node.

A venv is links into an interpreter that often lies under the home folder (`~/.pyenv/versions/3.11.7`). It is shown
read-only, that one prefix and nothing above it. What is broader than one toolchain is refused: a home folder, a folder
that holds keys, a parent of the workspace.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

#: What every back end shows anyway.
SYSTEM: Final = tuple(Path(path) for path in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"))
#: Where programs are looked for after the toolchain's own.
SYSTEM_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
#: Names that hold keys or settings with keys in them. A prefix never lies in one, nor has one in it.
SECRETS: Final = frozenset(
    {
        ".ssh", ".aws", ".azure", ".config", ".docker", ".gnupg", ".kube", ".netrc", ".npmrc", ".pypirc", ".git",
        ".git-credentials", ".password-store", ".mozilla", ".claude", ".rsi", ".env", ".bash_history", ".pgpass",
        "keyrings",
    }
)  # fmt: skip
#: Files that say "this folder is one toolchain", wherever it lies.
_MARKS: Final = ("pyvenv.cfg", "conda-meta")
_INTERPRETERS: Final = ("python", "python3", "node")
#: Folders right under a home that hold many things (`~/.local`) have no mark; a toolchain without one lies deeper.
_DEEP: Final = 2
#: As the kernel follows at most so many links.
_HOPS: Final = 40


def readable_for(
    workspace: Path, argv: Sequence[str] = (), env: Mapping[str, str] | None = None, *, home: Path | None = None
) -> tuple[Path, ...]:
    """The prefixes to show read-only so that the workspace's programs start; each is one toolchain, none in another.

    Args:
        workspace: its `.venv` or `venv` is looked at first.
        argv: a command; where its program lies counts too.
        env: `VIRTUAL_ENV` and `PATH` of whoever asks (default: this process).
        home: the home folder (default: this user's).
    """
    env = os.environ if env is None else env
    home = (home or Path.home()).resolve()
    work = workspace.resolve()
    found = {prefix for prefix in _prefixes(work, argv, env) if is_toolchain(prefix, work, home)}
    return tuple(sorted(prefix for prefix in found if not any(other in prefix.parents for other in found)))


def path_for(workspace: Path, env: Mapping[str, str] | None = None, *, readable: Iterable[Path] = ()) -> str:
    """The `PATH` of a command: the venv's own programs first, then what is shown, then the system's."""
    env = os.environ if env is None else env
    work, shown = workspace.resolve(), tuple(readable)
    folders = [venv / "bin" for venv in _venvs(work, env) if _is_below(venv, (work, *shown))]
    folders += [prefix / "bin" for prefix in shown if (prefix / "bin").is_dir()]
    return ":".join(dict.fromkeys([*map(str, folders), *SYSTEM_PATH]))


def is_toolchain(prefix: Path, workspace: Path, home: Path) -> bool:
    """Whether this is one toolchain, outside the workspace and the system's folders, with no keys in or above it."""
    if not prefix.is_dir() or _is_below(prefix, (*SYSTEM, workspace)) or len(prefix.parts) <= _DEEP:
        return False
    if prefix == home or prefix in home.parents or prefix in workspace.parents:
        return False
    if SECRETS.intersection(prefix.parts) or any((prefix / name).exists() for name in SECRETS):
        return False
    if any((prefix / mark).exists() for mark in _MARKS):
        return True
    if prefix.is_relative_to(home) and len(prefix.relative_to(home).parts) < _DEEP:
        return False
    return any((prefix / "bin" / name).exists() for name in _INTERPRETERS)


def _prefixes(workspace: Path, argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Path]:
    for venv in _venvs(workspace, env):
        yield from _of_venv(venv)
    yield Path(sys.base_prefix)
    yield from _of_program(Path(sys.executable))
    for program in ("node", *argv[:1]):
        if place := shutil.which(program, path=env.get("PATH", "")):
            yield from _of_program(Path(place))


def _venvs(workspace: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """The workspace's, the caller's, and the one that runs rsi; only what says that it is one."""
    named = (workspace / ".venv", workspace / "venv", Path(env.get("VIRTUAL_ENV") or os.devnull), Path(sys.prefix))
    for folder in named:
        if (folder / "pyvenv.cfg").is_file():
            yield folder


def _of_venv(venv: Path) -> Iterator[Path]:
    yield from _both(venv)
    if base := _base_of(venv):
        yield from _both(base.parent if base.name == "bin" else base)
    for name in _INTERPRETERS:
        yield from _of_program(venv / "bin" / name)


def _base_of(venv: Path) -> Path | None:
    """What `pyvenv.cfg` names as `home`: the folder of the interpreter that the venv was made with (PEP 405)."""
    for line in (venv / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip().lower() == "home" and value.strip().startswith("/"):
            return Path(os.path.normpath(value.strip()))
    return None


def _of_program(program: Path) -> Iterator[Path]:
    """The prefix of every place that its links lead over: each must exist inside for the chain to hold."""
    for _ in range(_HOPS):
        if program.parent.name == "bin":
            yield from _both(program.parent.parent)
        if not program.is_symlink():
            return
        program = Path(os.path.normpath(program.parent / program.readlink()))


def _both(prefix: Path) -> Iterator[Path]:
    """As it is called, and where that really is: `cpython-3.12 -> cpython-3.12.4`."""
    yield prefix
    yield prefix.resolve()


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
