"""Which folders outside the workspace a command needs to be run at all: the interpreter behind a venv, and node.

A venv is links into an interpreter that often lies under the home folder (`~/.pyenv/versions/3.11.7`). It is shown
read-only, that one prefix and nothing above it. What is broader than one toolchain is refused: a home folder, a folder
that holds keys, a parent of the workspace.

What the caller runs is taken at its word. What a file in the workspace names (`pyvenv.cfg`, a link) may have been put
there by somebody who wants to see it: of that only the parts of an interpreter are shown, never what lies beside them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from rsi.sandbox.installed import sources
from rsi.sandbox.mounted import mounted_below
from rsi.sandbox.shown import refused

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
#: What only an interpreter's own prefix has; a venv, or a project with one in it, has not.
_LANDMARKS: Final = ("lib*/p*3*/os.py", "include/node/node.h", "lib/node_modules/npm")
#: What an interpreter needs of its prefix, what a venv needs of itself, and what else may lie in one that is no more.
_PARTS: Final = ("bin", "lib", "lib32", "lib64", "libexec", "include", "share", "ssl")
_PARTS_OF_A_VENV: Final = ("bin", "pyvenv.cfg", "include", "lib/p*3*", "lib64/p*3*")
_ONLY: Final = frozenset(
    {*_PARTS, *_MARKS, "etc", "man", "sbin", "condabin", "README.md", "LICENSE", ".gitignore", ".lock", "CACHEDIR.TAG"}
)
#: `pyvenv.cfg` is some hundred bytes; of one that is longer no more than this is read.
_CONFIG: Final = 1 << 16
#: Folders right under a home that hold many things (`~/.local`) have no mark; a toolchain without one lies deeper.
_DEEP: Final = 2
#: As the kernel follows at most so many links.
_HOPS: Final = 40


def readable_for(
    workspace: Path, programs: Sequence[str] = (), env: Mapping[str, str] | None = None, *, home: Path | None = None
) -> tuple[Path, ...]:
    """The prefixes to show read-only so that the workspace's programs start; each is one toolchain, none in another.

    Args:
        workspace: its `.venv` or `venv` is looked at first.
        programs: what is to be run, by path or by name; where each lies counts too. A relative path is the
            workspace's own.
        env: `VIRTUAL_ENV` and `PATH` of whoever asks (default: this process).
        home: the home folder (default: this user's).
    """
    env = os.environ if env is None else env
    home = (home or _home()).resolve()
    work = workspace.resolve()
    found: set[Path] = set()
    for named, prefix in _prefixes(work, programs, env):
        if prefix not in found and is_toolchain(prefix, work, home):
            found.update(_shown(prefix) if named else [prefix])
    return tuple(sorted(prefix for prefix in found if not any(other in prefix.parents for other in found)))


def sources_for(
    workspace: Path, programs: Sequence[str] = (), env: Mapping[str, str] | None = None, *, home: Path | None = None
) -> tuple[Path, ...]:
    """What the caller's environments import from outside of their prefixes, by editable installs; to show read-only.

    Never asked of an environment that only the workspace names: its files could name anything. The one that runs rsi
    may lie in the workspace: what its files say was run when rsi started.

    Args:
        workspace: as in `readable_for`.
        programs: as there.
        env: as there.
        home: as there.
    """
    env = os.environ if env is None else env
    home = (home or _home()).resolve()
    work = workspace.resolve()
    own = {prefix for named, prefix in _prefixes(work, programs, env) if not named and is_toolchain(prefix, work, home)}

    def fits(path: Path) -> bool:
        return _fits(path, work, home)

    found = {source for prefix in {Path(sys.prefix), *own} for source in sources(prefix, home, fits)}
    return tuple(sorted(source for source in found if not any(other in source.parents for other in found)))


def _fits(path: Path, workspace: Path, home: Path) -> bool:
    """Whether sources may be shown whole: no keys in or above them, nobody's home, no part of the workspace."""
    if len(path.parts) <= _DEEP or _is_below(path, SYSTEM) or not path.exists() or _is_named(path, workspace):
        return False
    if path in workspace.parents or path == home or path in home.parents:
        return False
    if SECRETS.intersection(path.parts) or any((path / name).exists() for name in SECRETS):
        return False
    return refused(path) is None and mounted_below(path.resolve()) is None


def path_for(workspace: Path, env: Mapping[str, str] | None = None, *, readable: Iterable[Path] = ()) -> str:
    """The `PATH` of a command: the venv's own programs first, then what is shown, then the system's."""
    env = os.environ if env is None else env
    work, shown = workspace.resolve(), tuple(readable)
    folders = [venv / "bin" for venv in _venvs(work, env) if _is_below(venv, (work, *shown))]
    places = (prefix if prefix.name == "bin" else prefix / "bin" for prefix in shown)
    folders += [place for place in places if place.is_dir()]
    return ":".join(dict.fromkeys([*map(str, folders), *SYSTEM_PATH]))


def is_toolchain(prefix: Path, workspace: Path, home: Path) -> bool:
    """Whether this is one toolchain, outside the workspace and the system's folders, with no keys in or above it."""
    try:
        return _is_toolchain(prefix, workspace, home)
    except (OSError, ValueError):  # no name that a file can have, or not ours to look at
        return False


def _is_toolchain(prefix: Path, workspace: Path, home: Path) -> bool:
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


def _shown(prefix: Path) -> list[Path]:
    """What to show of a prefix that the workspace named: all of what is nothing else, the parts of any other."""
    is_interpreter = any(any(prefix.glob(mark)) for mark in _LANDMARKS)
    if not is_interpreter and not (prefix / "pyvenv.cfg").is_file():
        return []
    if _ONLY.issuperset(os.listdir(prefix)):  # noqa: PTH208 - names
        return [prefix]
    parts = _PARTS if is_interpreter else _PARTS_OF_A_VENV
    return [path for part in parts for path in prefix.glob(part) if path.resolve() == path]


def _is_named(path: Path, workspace: Path) -> bool:
    """Whether the way to it leads through the workspace, whatever links there are on it."""
    return any(Path(os.path.realpath(each)).is_relative_to(workspace) for each in (path, *path.absolute().parents))


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without a name, as in many containers
        return Path("/")


def _prefixes(workspace: Path, programs: Sequence[str], env: Mapping[str, str]) -> Iterator[tuple[bool, Path]]:
    """Each with whether something in the workspace named it."""
    for venv in _venvs(workspace, env):
        for prefix in _of_venv(venv):
            yield _is_named(venv, workspace), prefix
    yield False, Path(sys.base_prefix)
    asked = (program for program in programs if program.startswith("/") or "/" not in program)
    places = (shutil.which(program, path=env.get("PATH", "")) for program in ("node", *asked))
    for start in map(Path, (sys.executable, *filter(None, places))):
        for prefix in _of_program(start):
            yield _is_named(start, workspace), prefix


def _venvs(workspace: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """The workspace's, the caller's, and the one that runs rsi; only what says that it is one."""
    named = (workspace / ".venv", workspace / "venv", Path(env.get("VIRTUAL_ENV") or os.devnull), Path(sys.prefix))
    for folder in named:
        if os.path.isfile(folder / "pyvenv.cfg"):  # noqa: PTH113 - no error, whatever there is
            yield folder


def _of_venv(venv: Path) -> Iterator[Path]:
    yield from _both(venv)
    if base := _base_of(venv):
        yield from _both(base.parent if base.name == "bin" else base)
    for name in _INTERPRETERS:
        yield from _of_program(venv / "bin" / name)


def _base_of(venv: Path) -> Path | None:
    """What `pyvenv.cfg` names as `home`: the folder of the interpreter that the venv was made with (PEP 405)."""
    try:
        with (venv / "pyvenv.cfg").open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_CONFIG).splitlines()
    except OSError:  # not ours to read: then it is no venv of ours
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip().lower() == "home" and value.strip().startswith("/"):
            return Path(os.path.normpath(value.strip()))
    return None


def _of_program(program: Path) -> Iterator[Path]:
    """The prefix of every place that its links lead over: each must exist inside for the chain to hold."""
    for _ in range(_HOPS):
        if program.parent.name == "bin":
            yield from _both(program.parent.parent)
        try:
            program = Path(os.path.normpath(program.parent / program.readlink()))
        except (OSError, ValueError):  # no link, or not ours to look at
            return


def _both(prefix: Path) -> Iterator[Path]:
    """As it is called, and where that really is: `cpython-3.12 -> cpython-3.12.4`."""
    yield prefix
    with suppress(OSError, ValueError, RuntimeError):  # no name that a file can have; a loop of links
        yield prefix.resolve()


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
