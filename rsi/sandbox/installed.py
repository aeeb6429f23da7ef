"""What an environment imports from elsewhere: the sources of editable installs, which lie outside of its prefix.

Every `pytest` loads every plugin that its environment names; one that is installed editable and not shown ends the run
before it begins. Two things say where such sources are: a path in a `.pth` file (site), and `direct_url.json` of an
installed distribution (PEP 610), which all build backends write, also those whose `.pth` is a line of code.

Shown is what can be imported, not what lies beside it: a source tree often has keys, settings and a repository at its
top. Asked only of environments whose `.pth` files run as the caller anyway.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import rsi

#: Below a prefix: where distributions are installed (site; Debian calls it `dist-packages`).
_SITES: Final = ("lib*/p*3*/site-packages", "lib*/p*3*/dist-packages")
#: Of a file in it no more is read; they have some hundred bytes.
_MOST: Final = 1 << 16
#: Lines of a `.pth` file that are no path (site).
_NO_PATH: Final = ("#", "import ", "import\t")
_MODULES: Final = (".py", ".so")
#: What makes a folder a project, with more in it than can be imported.
_PROJECT: Final = ("pyproject.toml", "setup.py", "setup.cfg")


def sources(prefix: Path, home: Path, fits: Callable[[Path], bool]) -> Iterator[Path]:
    """The folders and modules to show; some may lie in others.

    Args:
        prefix: of the environment.
        home: the user's; what holds it is no folder of sources, whatever a `.pth` file says.
        fits: whether a folder may be shown whole: no keys in it, nothing mounted below it, no folder of somebody's.
    """
    for site in dict.fromkeys(path.resolve() for pattern in _SITES for path in prefix.glob(pattern)):
        for folder in _named(site):
            if not folder.is_relative_to(site) and not home.is_relative_to(folder):
                yield from _importable(folder, fits)
    package = Path(rsi.__file__).parent
    if _is_project(package.parent) and fits(package.parent / "rules"):
        yield package.parent / "rules"  # in an installed rsi they are in the package


def _named(site: Path) -> Iterator[Path]:
    """What the site's files name, there or not."""
    for file in sorted(site.glob("*.pth")):
        for line in _text(file).splitlines():
            if line.strip() and not line.startswith(_NO_PATH):
                yield Path(os.path.normpath(site / line.strip()))
    for file in sorted(site.glob("*.dist-info/direct_url.json")):
        if (root := _editable(_text(file))) is not None:
            yield root
            yield root / "src"


def _editable(text: str) -> Path | None:
    """The project that a `direct_url.json` says was installed editable."""
    try:
        found = json.loads(text)
        url = urlsplit(found["url"])
        is_editable = found["dir_info"]["editable"] is True
    except (ValueError, KeyError, TypeError, AttributeError):  # another kind of origin, or none that was written by pip
        return None
    path = unquote(url.path)
    return Path(os.path.normpath(path)) if is_editable and url.scheme == "file" and path.startswith("/") else None


def _importable(folder: Path, fits: Callable[[Path], bool]) -> Iterator[Path]:
    """A folder of nothing but sources, or the packages and modules of one that has more in it."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names
    except (OSError, ValueError):  # not there any more, or not ours to look at
        return
    if not any(_is_project(path) for path in (folder, *(folder / name for name in names))) and fits(folder):
        yield folder
        return
    for path in (folder / name for name in names if not name.startswith(".")):
        if _is_imported(path) and path.resolve() == path and fits(path):
            yield path


def _is_imported(path: Path) -> bool:
    if path.is_file():
        return path.suffix in _MODULES
    if not path.name.isidentifier() or _is_project(path):
        return path.name.endswith(".egg-info")
    return (path / "__init__.py").is_file() or any(path.glob("*/__init__.py"))


def _is_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in _PROJECT)


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            return ""
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_MOST)
    except OSError:  # not ours to read: then nothing of it is imported either
        return ""
