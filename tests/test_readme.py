"""The README is run, not believed: its tour works in the order in which it stands."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.slow
def test_the_tour(tmp_path):
    text = README.read_text(encoding="utf-8").replace("7474", str(_free_port()))
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    script = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for number, (language, code) in enumerate(blocks):
        if language == "bash":
            script.append(code)
        else:
            name = tmp_path / f"block{number}.py"
            name.write_text(code)
            script.append(f"timeout 60 {sys.executable} {name}")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST_"))}
    environment = {
        **clean, "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}", "XDG_STATE_HOME": str(tmp_path / "state"),
    }  # fmt: skip
    done = subprocess.run(
        ["timeout", "110", "bash", "-c", "\n".join(script)], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rate_limit" in done.stdout
    assert "retry-transient" in done.stdout or "retry" in done.stdout
