"""`@rsi.guard` in a program that has nothing but rsi's agent side: from a failing provider to a verified fix, and back."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import loop
import pytest

import rsi


def test_the_environment_holds_only_what_an_agent_needs() -> None:
    code = "import importlib.util as u; print([n for n in ('sqlalchemy', 'numpy', 'starlette', 'torch') if u.find_spec(n)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.timeout(900)
def test_a_fix_goes_live_is_verified_and_is_taken_back_without_a_restart(tmp_path: Path) -> None:
    with loop.RealLoop(tmp_path) as real:
        rsi.configure(url=real.url, source="plain-app", enabled=True)

        @rsi.guard("answer", idempotent=True, inner_retries=1)
        def answer(text: str) -> str:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
            request = urllib.request.Request(
                f"{real.provider.url}/chat/completions", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=10) as got:
                return str(json.load(got)["choices"][0]["message"]["content"])

        fix = real.run(answer)
        loop.check(fix)
        real.roll_back(fix["id"], answer)
        rsi.configure(enabled=False)
