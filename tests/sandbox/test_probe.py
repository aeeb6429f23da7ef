"""The probe tells isolation from its absence, from silence and from luck."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from launch_kit import in_fork, kernel_filter
from probe_boxes import Bare, Broken, Crashing, Gone, Silent

from rsi.sandbox import probe
from rsi.sandbox.launcher import bpf
from rsi.sandbox.launcher.table import NUMBERS
from rsi.sandbox.model import Isolation
from rsi.sandbox.probe import FLAGS, Report, Tried, cache, program
from rsi.sandbox.probe.judge import KINDS
from rsi.sandbox.probe.targets import ENV_SECRET, Targets, secret

NOTHING = Isolation()
PTRACE = NUMBERS.get("ptrace")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return probe.report(Bare(), fresh=True)


def test_where_nothing_is_isolated_every_attack_that_works_outside_works_inside(bare):
    assert bare.trouble is None
    assert bare.isolation() == NOTHING
    assert [each.name for each in bare.tried if each.held] == []
    assert {each.flag for each in bare.tried if each.succeeded} == set(FLAGS)


@pytest.fixture
def targets(monkeypatch, tmp_path) -> Iterator[Targets]:
    monkeypatch.setenv(ENV_SECRET, secret())
    with Targets(tmp_path) as planted:
        yield planted


def test_the_victim_of_one_run_is_not_that_of_the_other(targets):
    """The runs go on at the same time: what one kills, traces or says, is not taken from the other."""
    control, box = targets.order("control"), targets.order("box")
    private = {"says", "target", "shown", "shm_name", "victim", "victim_name", "traced"}
    assert {key for key in private if control[key] == box[key]} == set()


@pytest.mark.skipif(PTRACE is None, reason="the number of ptrace is not known here")
def test_a_control_that_traces_its_victim_does_not_keep_the_box_from_its_own(targets):
    tracer = f"""
import ctypes, os, sys
if ctypes.CDLL(None).syscall({PTRACE}, 0x4206, {targets.order("control")["traced"]}, 0, 0):
    sys.exit("refused")
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", tracer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracing:
        if not tracing.stdout.readline():
            pytest.skip("this machine lets nobody trace")
        order = msgspec.json.encode(targets.order("box"))
        ended = program.outside(targets.workspace("box"), "attack", given=order)
        tracing.stdin.close()
    assert json.loads(ended.stdout)["trace"] == {"proof": True}


@pytest.mark.skipif(PTRACE is None, reason="the number of ptrace is not known here")
def test_what_the_machine_refuses_to_everybody_is_credited_to_no_box(state):
    """Under a filter without ptrace, as in some containers: the attack fails inside and outside."""
    refused = [bpf.load(bpf.NUMBER), *bpf.equal(PTRACE, bpf.error(errno.EPERM)), *bpf.ret(bpf.ALLOW)]

    def found() -> list[tuple[str, bool, bool]]:
        tried = probe.report(Bare(), fresh=True).tried
        return [(each.name, each.control, each.held) for each in tried if each.name.startswith("trace") or each.held]

    seen = in_fork(found, prepare=lambda: kernel_filter(bpf.assemble(refused)))
    assert seen == [("trace", False, False), ("trace_child", False, False)]


def test_every_needed_control_succeeds_here_or_the_flags_could_not_be_shown(bare):
    assert [each.name for each in bare.tried if each.needed and not each.control] == []


def test_every_flag_has_an_attack_whose_control_is_needed():
    lasting = {"kill_all", "memory", "rewind"}
    assert {kind.flag for kind in KINDS.values() if kind.needed} | lasting == set(FLAGS)


def test_every_attack_says_what_it_tries():
    assert [name for name, kind in KINDS.items() if not kind.what.endswith(".")] == []


def test_a_box_that_runs_nothing_and_says_it_did_is_credited_with_nothing(state):
    found = probe.report(Silent(), fresh=True)
    assert found.isolation() == NOTHING
    assert "could not be run in the box" in (found.trouble or "")


def test_a_box_that_cannot_be_opened_is_credited_with_nothing_and_says_why(state):
    found = probe.report(Broken(), fresh=True)
    assert (found.isolation(), found.trouble) == (NOTHING, "namespaces: not permitted")


def test_a_prober_that_dies_shows_nothing(state):
    found = probe.report(Crashing(), fresh=True)
    assert (found.isolation(), (found.trouble or "")[:24]) == (NOTHING, "the probe ended with 3: ")


def test_a_back_end_that_is_not_here_is_not_probed(state):
    assert probe.report(Gone()).trouble == "no engine answers"
    assert probe.capabilities(Gone()) == NOTHING
    assert not state.exists()


def test_what_could_not_be_probed_is_not_remembered(state):
    probe.report(Broken())
    assert not state.exists()


def test_nothing_that_was_planted_is_left(tmp_path, monkeypatch):
    """Also what the attacks did to it. By name: other probes of this machine may be under way."""
    monkeypatch.setenv(ENV_SECRET, secret())
    with Targets(tmp_path) as targets:
        orders = [targets.order(run) for run in ("control", "box")]
        for order in orders:
            program.outside(targets.workspace(order["says"][:-1]), "attack", given=msgspec.json.encode(order))
        shm = Path("/dev/shm")
        names = [order[name] for order in orders for name in ("shm_name", "shm_secret")]
        planted = [targets.base, *targets.outside, *(shm / name for name in names if shm.exists())]
        assert [path for path in planted if not path.exists()] == []
    assert [path for path in planted if path.exists()] == []


# ------------------------------------------------------------------------------------------------ what follows


def tried(flag: str = "network", *, control: bool = True, inside: bool = False, needed: bool = True) -> Tried:
    return Tried(
        name="tcp", flag=flag, what="", needed=needed, control=control, control_said="refused", succeeded=inside,
        said="did it" if inside else "refused",
    )  # fmt: skip


def flag_of(*attacks: Tried) -> tuple[bool, str]:
    found = Report(backend="x", tried=attacks)
    return found.isolation().network, found.why_not("network") or ""


def test_a_flag_holds_if_the_attack_works_outside_and_fails_inside():
    assert flag_of(tried()) == (True, "")


def test_one_attack_that_works_inside_is_enough():
    assert flag_of(tried(), tried(inside=True)) == (False, "succeeded inside: tcp")


def test_an_attack_that_fails_outside_too_shows_nothing():
    assert flag_of(tried(), tried(control=False)) == (False, "not shown, it fails outside too: tcp: refused")


def test_an_attack_that_this_machine_cannot_make_anyway_is_left_aside():
    assert flag_of(tried(), tried(control=False, needed=False)) == (True, "")


def test_an_optional_attack_that_works_inside_counts_even_if_it_fails_outside():
    assert not flag_of(tried(), tried(control=False, needed=False, inside=True))[0]


def test_where_nothing_could_be_tried_nothing_is_shown():
    assert flag_of(tried(control=False, needed=False)) == (False, "no attack of this kind could be tried here")
    assert flag_of() == (False, "no attack of this kind could be tried here")


# ------------------------------------------------------------------------------------------------ what is remembered


@pytest.fixture
def remembered(state: Path) -> Path:
    """A forged report of this boot, in which everything holds: whoever reads it has not probed."""
    attacks = tuple(tried(flag) for flag in FLAGS)
    key = cache.key(packed())
    assert key is not None
    cache.save("bare", key, Report(backend="bare", tried=attacks))
    return next(path for path in state.rglob("*") if path.is_file())


def packed() -> bytes:
    import pickle

    return pickle.dumps(Bare())


def everything() -> Isolation:
    return Isolation(**dict.fromkeys(FLAGS, True))


def test_within_a_boot_it_is_probed_once(remembered):
    assert probe.capabilities(Bare()) == everything()


def test_the_file_is_private(remembered):
    assert (remembered.stat().st_mode & 0o777, remembered.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.fixture
def reads_nothing(monkeypatch):
    """Whether what is kept is believed, without probing."""
    from rsi.sandbox.probe import run

    monkeypatch.setattr(run, "_probe", lambda name, _: Report(backend=name, trouble="probed again"))
    return lambda: probe.report(Bare()).trouble == "probed again"


def test_fresh_probes_again(remembered, reads_nothing):
    assert not reads_nothing()
    assert probe.report(Bare(), fresh=True).trouble == "probed again"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}', b"\0" * 4096])
def test_a_damaged_file_is_as_good_as_none(remembered, reads_nothing, damage):
    remembered.write_bytes(damage)
    assert reads_nothing()


def test_a_truncated_file_is_as_good_as_none(remembered, reads_nothing):
    remembered.write_bytes(remembered.read_bytes()[:-20])
    assert reads_nothing()


def test_a_file_that_others_may_write_is_not_believed(remembered, reads_nothing):
    remembered.chmod(0o620)
    assert reads_nothing()


def test_a_link_is_not_believed(remembered, reads_nothing, tmp_path):
    remembered.rename(tmp_path / "elsewhere")
    remembered.symlink_to(tmp_path / "elsewhere")
    assert reads_nothing()


def test_a_fifo_does_not_block(remembered, reads_nothing):
    remembered.unlink()
    os.mkfifo(remembered, 0o600)
    assert reads_nothing()


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("rsi.sandbox.probe.cache._boot", lambda: "another boot"),
        ("rsi.__version__", "9.9.9"),
        ("platform.release", lambda: "9.9.9"),
        ("rsi.sandbox.probe.cache.code", lambda: "another launcher"),
        ("rsi.sandbox.probe.cache._namespace", lambda name: f"{name}:[1]"),
    ],
)
def test_another_boot_version_kernel_launcher_or_container_is_probed_again(
    remembered, reads_nothing, monkeypatch, what, value
):
    monkeypatch.setattr(what, value)
    assert reads_nothing()


@pytest.mark.parametrize("who", ["getuid", "getgid"])
def test_another_user_or_group_is_another_key(monkeypatch, who):
    """What a group may read or write, another may not."""
    before = cache.key(packed())
    monkeypatch.setattr(os, who, lambda: 4711)
    assert cache.key(packed()) not in (before, None)


def test_another_home_is_probed_again(remembered, reads_nothing, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert reads_nothing()


def test_where_a_boot_has_no_name_nothing_is_kept(state, monkeypatch):
    monkeypatch.setattr("rsi.sandbox.probe.cache._boot", lambda: None)
    assert cache.key(b"") is None


def test_a_folder_that_cannot_be_written_is_said_once_and_costs_only_the_memory(monkeypatch, caplog, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    cache.save("bare", "key", Report(backend="bare"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_report_survives_being_kept(remembered):
    raw = json.loads(remembered.read_bytes())
    assert msgspec.convert(raw["report"], Report).isolation() == everything()


def test_no_two_secrets_are_alike():
    assert len({secret() for _ in range(100)}) == 100
