"""The 202 waits for the fsync: a power cut after it loses nothing acknowledged."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    """The compiled shim."""
    out = tmp_path_factory.mktemp("shim") / "unsynced.so"
    source = Path(__file__).with_name("unsynced.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(out), str(source), "-ldl"], check=True)
    return out


def _power_cut(up, shim: Path, tmp_path: Path, lie: bool) -> tuple[set[str], set[str]]:
    """POST until acknowledged, kill, keep only what was synced: (acknowledged, still there)."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    home = tmp_path / "home"
    env = {"LD_PRELOAD": str(shim), "UNSYNCED_ROOT": str(home / ".rsi"), "UNSYNCED_SHADOW": str(shadow)}
    daemon = up(env={**env, **({"UNSYNCED_LIE": "1"} if lie else {})})
    acked: set[str] = set()
    for number in range(60):
        ids = [f"o{number}-{i}" for i in range(number % 7 + 1)]
        items = [{"id": ident, "task": "t", "source": "s", "success": True} for ident in ids]
        assert daemon.http.post("/v1/outcomes", json=items).status_code == 202
        acked.update(ids)
    daemon.kill()
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("rsi.db", "rsi.db-wal"):
        if (shadow / name).exists():
            shutil.copy(shadow / name, disk / name)
    with sqlite3.connect(disk / "rsi.db") as database:
        try:
            assert database.execute("pragma integrity_check").fetchone()[0] == "ok"
            found = {row[0] for row in database.execute("select id from outcomes")}
        except sqlite3.DatabaseError:
            found = set()
    database.close()
    return acked, found


def test_what_was_acknowledged_survives_a_power_cut(up, shim, tmp_path):
    acked, found = _power_cut(up, shim, tmp_path, lie=False)
    assert len(acked) > 200
    assert acked <= found


def test_the_check_can_fail_when_syncs_are_lies(up, shim, tmp_path):
    acked, found = _power_cut(up, shim, tmp_path, lie=True)
    assert not acked <= found
