"""Contract §1: agents carry only what they need, and what cannot be said to start does not say that it did."""

import subprocess
import sys
from pathlib import Path

import pytest

from rsi.config import find_declared_home, find_home

#: Everything but the standard library, msgspec and PyYAML cannot be found, as after `pip install --no-deps`.
ALONE = """
import sys
allowed = {"msgspec", "yaml", "_yaml", "rsi", "rsi_adapters", *sys.stdlib_module_names}
class Elsewhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Elsewhere())
"""

AGENT = """
import rsi, rsi.auto, rsi.client, rsi.enforce, rsi.policy, rsi.redact
from rsi.analyze import classify, fingerprint
from rsi.stats import BeforeAfterTrial, ConcurrentTrial
assert callable(rsi.guard) and callable(classify) and callable(fingerprint), "functions, not modules"

@rsi.guard("search", idempotent=True)
def search(q):
    return q

assert search("x") == "x"
with rsi.step("plan", session="s") as step:
    pass
rsi.extract(rsi.inject())
assert classify("429 Too Many Requests").name == "rate_limit", "the rules were found"
assert ConcurrentTrial(fraction=0.5).add("fixed", "u", False) in ("undecided", "no_data")
assert BeforeAfterTrial().add("treated", "before", "u", False) in ("undecided", "no_data")
"""


def alone(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE + code, *args], capture_output=True, text=True, check=False
    )


def test_the_agents_side_needs_msgspec_and_yaml_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("RSI_URL", "http://127.0.0.1:9")
    done = alone(AGENT)
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_it_needs_where_only_the_client_is():
    done = alone("from rsi.__main__ import main; main()", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rsi: the command needs click, and here is only the client: pip install rsi\n"


def test_a_daemon_that_others_could_reach_refuses_without_tokens_and_never_says_that_it_listens(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rsi", "--home", str(tmp_path), "up", "--host", "0.0.0.0", "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "auth.tokens" in done.stderr
    assert not (tmp_path / ".rsi" / "daemon.json").exists()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    here = tmp_path / "far" / "near" / "here"
    (here / ".rsi").mkdir(parents=True)
    (tmp_path / "far" / "near" / ".rsi").mkdir()
    monkeypatch.chdir(here)
    return tmp_path / "far", tmp_path / "far" / "near", here


def test_the_home_is_said_else_the_nearest_rsi_yaml_else_the_current_folder(folders, monkeypatch):
    far, near, here = folders
    (near / ".rsi" / "daemon.json").write_text("{}")
    assert find_home(env={}) == Path.cwd() == here, "a daemon further up does not make its folder the home"
    (far / "rsi.yaml").write_text("")
    assert find_home(env={}) == far
    (near / "rsi.yaml").write_text("")
    assert find_home(env={}) == near
    assert find_home(env={"RSI_HOME": str(far)}) == far
    assert find_home(here, env={"RSI_HOME": str(far)}) == here


def test_a_folder_is_a_declared_home_only_where_somebody_said_so(folders):
    _, _, here = folders
    assert find_declared_home(env={}) is None
    (here / ".rsi" / "daemon.json").write_text("{}")
    assert find_declared_home(env={}) == here
