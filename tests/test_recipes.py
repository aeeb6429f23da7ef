"""The recipes are run, not believed."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


def block(title: str, language: str, number: int = 0) -> str:
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[number]


def clean(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    return kept | {"PATH": f"{BIN}{os.pathsep}{kept['PATH']}"} | more


def wait_for(what: Any, why: str) -> Any:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(why)


@contextmanager
def daemon(home: Path, *args: str) -> Iterator[str]:
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(BIN / "rsi"), "--home", str(home), "up", "--port", "0", *args], stdout=out, stderr=out, env=clean()
        )

    def up() -> str | None:
        assert process.poll() is None, log.read_text()
        path = home / ".rsi" / "daemon.json"
        return str(json.loads(path.read_text())["url"]) if path.exists() else None

    try:
        yield wait_for(up, "the daemon did not come up")
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    (tmp_path / "home" / "rsi.yaml").write_text("{}\n")
    return tmp_path / "home"


def kept(home: Path, source: str, number: int) -> list[dict[str, Any]]:
    """The outcomes of a source, once there are so many."""

    def there() -> list[dict[str, Any]]:
        code = (
            "import json, sqlite3, sys\n"
            "rows = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\n"
            "rows.row_factory = sqlite3.Row\n"
            "print(json.dumps([dict(r) for r in rows.execute('select o.task, o.status from outcomes o"
            " where o.source = ? order by o.seq', (sys.argv[2],))], default=str))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(home / ".rsi" / "rsi.db"), source],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        return found if len(found) >= number else []

    found = wait_for(there, f"{number} outcomes of {source}")
    assert len(found) == number
    return found


def test_a_shell_reports_over_http_and_through_the_inbox(home, tmp_path):
    with daemon(home) as url:
        script = "set -e\n" + block("From a shell", "bash") + block("From a shell", "bash", 1)
        subprocess.run(["bash", "-c", script], env=clean(RSI_URL=url, RSI_HOME=str(home)), check=True, timeout=60)
        found = kept(home, "nightly", 3)
    assert [row["task"] for row in found] == ["backup", "upload", "upload"]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_node_reports(home, tmp_path):
    (tmp_path / "agent.mjs").write_text(block("From Node", "javascript"))
    with daemon(home) as url:
        subprocess.run(["node", str(tmp_path / "agent.mjs")], env=clean(RSI_URL=url), check=True, timeout=60)
        assert [row["task"] for row in kept(home, "node-agent", 2)] == ["summarise", "summarise"]


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_go_reports(home, tmp_path):
    (tmp_path / "main.go").write_text(block("From Go", "go"))
    with daemon(home) as url:
        subprocess.run(["go", "run", "main.go"], cwd=tmp_path, env=clean(RSI_URL=url), check=True, timeout=100)
        assert len(kept(home, "go-agent", 2)) == 2


def test_a_python_programs_log_is_reported(home, tmp_path):
    (tmp_path / "app.py").write_text(block("From a Python program's log and its tests", "python"))
    with daemon(home) as url:
        env = clean(RSI_URL=url, XDG_STATE_HOME=str(tmp_path / "state"))
        subprocess.run([sys.executable, str(tmp_path / "app.py")], env=env, check=True, timeout=60)
        assert kept(home, "shop", 1)[0]["task"] == "shop"


def _address() -> str | None:
    """An address of this machine that is not loopback, as a container would use; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") else found


@pytest.mark.skipif(_address() is None, reason="this machine has no address but loopback")
def test_an_agent_in_a_container_reports_with_a_token_and_nobody_without(home, tmp_path):
    title = "An agent in a container, the daemon on the host"
    config = block(title, "yaml")
    (home / "rsi.yaml").write_text(config)
    token = yaml.safe_load(config)["auth"]["tokens"][0]
    assert f"RSI_TOKEN={token}" in block(title, "sh")
    with daemon(home, "--host", str(_address())) as url:
        env = clean(RSI_URL=url, RSI_TOKEN=token, XDG_STATE_HOME=str(tmp_path / "state"), RSI_SOURCE="boxed")
        code = "import rsi; rsi.record('work', success=True); assert rsi.flush(20), rsi.status()"
        subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True, timeout=60)
        assert len(kept(home, "boxed", 1)) == 1
        request = urllib.request.Request(
            f"{url}/v1/outcomes", b'{"task":"t","success":true}', {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        with refused.value:
            assert refused.value.code == 401


def test_without_tokens_it_listens_on_loopback_only(home):
    done = subprocess.run(
        [str(BIN / "rsi"), "--home", str(home), "up", "--port", "0", "--host", "0.0.0.0"],
        capture_output=True, text=True, check=False, timeout=60, env=clean(),
    )  # fmt: skip
    assert done.returncode == 2
    assert "auth.tokens" in done.stderr


def test_the_unit_file_starts_what_it_says(home, tmp_path):
    text = block("A systemd user unit", "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(text)
    command = unit["Service"]["ExecStart"].split()
    assert command == ["%h/my-project/.venv/bin/rsi", "--home", "%h/my-project", "up"]
    if shutil.which("systemd-analyze") is not None:
        file = tmp_path / "rsi.service"
        file.write_text(text.replace("%h/my-project/.venv/bin/rsi", str(BIN / "rsi")))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
        )
        assert "rsi.service" not in done.stderr, done.stderr
    with daemon(home) as url:
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert json.load(answer)["home"] == str(home)
        second = subprocess.run(
            [str(BIN / "rsi"), "--home", str(home), "up", "--port", "0"], capture_output=True, text=True, check=False, env=clean(), timeout=60
        )  # fmt: skip
        assert second.returncode != 0
        assert re.search(r"pid \d+|process \d+", second.stderr), second.stderr


def test_two_projects_keep_their_outcomes_apart(tmp_path):
    script = "set -e\n" + block("Two projects on one machine", "bash")
    try:
        subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=clean(XDG_STATE_HOME=str(tmp_path / "state")),
            check=True,
            timeout=100,
        )
        assert len(kept(tmp_path / "alpha", "alpha-agent", 1)) == 1
        assert len(kept(tmp_path / "beta", "beta-agent", 1)) == 1
        code = (
            "import rsi, json, pathlib\n"
            "url = json.loads(pathlib.Path('../beta/.rsi/daemon.json').read_text())['url']\n"
            "rsi.configure(url=url, home='.')\n"
            "rsi.record('work', success=True, source='lost'); rsi.flush(3)\n"
            "print(rsi.status()['refused'])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path / "alpha", env=clean(XDG_STATE_HOME=str(tmp_path / "state")),
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert str(tmp_path / "beta") in done.stdout
    finally:
        for project in ("alpha", "beta"):
            path = tmp_path / project / ".rsi" / "daemon.json"
            if path.exists():
                os.kill(json.loads(path.read_text())["pid"], 15)
