"""Where bubblewrap is, for the tests of its back end: on the path, unpacked earlier, or unpacked now from the
distribution's package into the folder given (nothing is installed on the system). Prints a path, or nothing: then those
tests skip and say so.

    python tests/sandbox/fetch_bubblewrap.py .venv/bubblewrap
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

LIMIT_S = 60


def main(folder: Path) -> str:
    found = os.environ.get("RSI_BWRAP") or shutil.which("bwrap")
    unpacked = folder / "usr" / "bin" / "bwrap"
    if found or unpacked.exists():
        return found or str(unpacked.resolve())
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run(folder, "apt-get", "download", "-q", "bubblewrap")
        _run(folder, "dpkg", "-x", next(folder.glob("bubblewrap_*.deb")).name, ".")
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        print(f"bubblewrap is not here and could not be had: {error}", file=sys.stderr)
        return ""
    return str(unpacked.resolve()) if unpacked.exists() else ""


def _run(folder: Path, *line: str) -> None:
    subprocess.run(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT_S, check=True)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
