"""Each adapter against the real framework, in an environment that holds nothing else (`tests/frameworks/run.py`).

Here at the framework's newest version; `python tests/frameworks/run.py` (or `nox`) also runs its oldest supported one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "frameworks"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/requirements.txt"))


def test_every_adapter_of_a_framework_is_tested_here():
    adapters = Path(__file__).parents[1] / "adapters" / "rsi_adapters"
    frameworks = {path.parent.name for path in adapters.glob("*/__init__.py")} - {"inbox"}
    assert frameworks <= set(NAMES)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", NAMES)
def test_with_the_real_framework(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), name, "--age", "newest"],
        capture_output=True,
        text=True,
        check=False,
        env=kept,
    )
    said = done.stdout + done.stderr
    with capsys.disabled():  # which versions, and how many ran
        versions = re.search(r"^frameworks .*", said, re.MULTILINE)
        closing = re.findall(r"^=+ (.*) =+$", said, re.MULTILINE)
        print(
            f"\n{name}: {versions[0] if versions else 'no report'}: {closing[-1] if closing else 'no summary'}", end=" "
        )
    assert done.returncode == 0, said[-20_000:]
    assert re.search(r"[1-9]\d* passed", said), said[-5_000:]
