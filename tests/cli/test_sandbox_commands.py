"""`rsi sandbox run|undo|doctor`: what is printed, what is written, and with which status it ends."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from rsi import clock
from rsi.cli import main
from rsi.sandbox.model import FOR_FIXES, Isolation
from rsi.sandbox.probe import FLAGS, Report, Tried

#: Isolates nothing, and is everywhere: what the command does around it is the same with every back end.
ANY = ("--backend", "subprocess", "--require", "none")


class Answer(NamedTuple):
    code: int
    out: bytes
    err: str


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    (folder / "home").mkdir()
    return folder


@pytest.fixture
def work(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setenv("HOME", str(state / "home"))  # the same for all: another home is probed again
    monkeypatch.delenv("NO_COLOR", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def rsi(work, capfdbinary, monkeypatch):
    def run(*arguments: str, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main(["sandbox", *arguments])
        out, err = capfdbinary.readouterr()
        return Answer(int(ended.value.code or 0), out, err.decode())

    return run


@pytest.fixture
def sh(rsi):
    def run(script: str, *options: str, stdin: bytes = b"") -> Answer:
        return rsi("run", *ANY, *options, "--", "sh", "-c", script, stdin=stdin)

    return run


# ------------------------------------------------------------------------------------------------ run


def test_output_passes_byte_for_byte_and_the_status_is_the_commands(sh):
    found = sh(r"printf '\377\000out'; printf err >&2; exit 7")
    assert found == Answer(7, b"\xff\0out", "err")


def test_the_folder_does_not_change(sh, work):
    assert sh("echo two >> a.txt; echo new > b.txt; ls").out == b"a.txt\nb.txt\n"
    assert {path.name: path.read_text() for path in work.iterdir()} == {"a.txt": "one\n"}


def test_standard_input_is_passed_through(sh):
    assert sh("wc -c", stdin=b"x" * 100_000).out.strip() == b"100000"


class Piped:
    """`rsi sandbox run` with a standard input that stays open until it is closed here."""

    def __init__(self, script: str, *options: str) -> None:
        line = [sys.executable, "-m", "rsi", "sandbox", "run", *ANY, *options, "--", "sh", "-c", script]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def said(self, data: bytes = b"") -> Answer:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        code = self.process.wait(60)
        self.process.stdin.close()
        with self.process.stdout as out, self.process.stderr as err:
            return Answer(code, out.read(), err.read().decode())


def test_a_command_starts_before_its_input_ends(work):
    assert Piped("read line; echo got $line").said(b"one\n") == Answer(0, b"got one\n", "")
    assert Piped("echo done").said() == Answer(0, b"done\n", "")


def test_an_input_that_never_ends_is_inside_the_timeout(work):
    found = Piped("cat", "--timeout", "0.5").said(b"some\n")
    assert (found.code, found.out) == (137, b"some\n")


def test_input_of_any_length_is_passed_and_its_descriptor_is_not(work, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    line = [sys.executable, "-m", "rsi", "sandbox", "run", *ANY, "--", "sh", "-c", "readlink /proc/self/fd/0; wc -c"]
    with (tmp_path / "big").open("rb") as stdin:
        done = subprocess.run(line, stdin=stdin, capture_output=True, timeout=60, check=True)
    place, count = done.stdout.split()
    assert place.startswith(b"pipe:")
    assert int(count) == 3 << 20


def test_what_was_killed_says_by_what(sh):
    found = sh("echo before; sleep 30", "--timeout", "0.5")
    assert (found.code, found.out) == (137, b"before\n")
    assert "ended by its limit: timeout" in found.err


def test_the_workspace_can_be_named(rsi, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    assert rsi("run", *ANY, "--workspace", str(tmp_path / "other"), "--", "ls").out == b"mine\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--bogus", "--", "true"),
        ("run", "--timeout", "0", "--", "true"),
        ("run", "--memory", "much", "--", "true"),
        ("run", "--memory", "0", "--", "true"),
        ("run", "--backend", "magic", "--", "true"),
        ("run", "--require", "magic", "--", "true"),
        ("run", "--workspace", "/nonexistent", "--", "true"),
    ],
)
def test_what_never_ran_ends_with_125(rsi, arguments):
    found = rsi(*arguments)
    assert (found.code, found.out) == (125, b"")
    assert found.err


def test_a_back_end_that_isolates_less_is_refused_by_default_and_says_the_way_out(rsi):
    found = rsi("run", "--backend", "subprocess", "--", "echo", "ran")
    assert (found.code, found.out) == (125, b"")
    assert "subprocess: does not isolate" in found.err
    assert "--require none" in found.err


@pytest.mark.parametrize("flag", sorted(set(FLAGS) - {"kill_all", "memory", "rewind"}))
def test_a_required_flag_that_does_not_hold_is_refused(rsi, flag):
    found = rsi("run", "--backend", "subprocess", "--require", flag, "--", "echo", "ran")
    assert (found.code, found.out) == (125, b"")
    assert flag in found.err


@pytest.mark.parametrize("above", [".", ".."])
def test_a_home_folder_is_no_workspace_nor_is_what_holds_it(rsi, above):
    found = rsi("run", *ANY, "--workspace", str(Path(os.environ["HOME"], above)), "--", "true")
    assert (found.code, "home folder" in found.err) == (125, True)


def test_json_is_one_document(sh):
    found = sh(r"echo out; echo err >&2; echo b > b; rm a.txt; touch $(printf 'bad\377name'); exit 3", "--json")
    document = json.loads(found.out)
    assert found.code == document["returncode"] == 3
    assert (document["stdout"], document["stderr"], document["killed_by"]) == ("out\n", "err\n", None)
    assert [(one["change"], one["path"]) for one in document["changes"]] == [
        ("D", "a.txt"),
        ("A", "b"),
        ("A", "bad\\xffname"),
    ]
    assert document["backend"] == "subprocess"
    assert set(document["isolation"]) == set(FLAGS)


def test_diff_is_a_patch_on_stderr_so_that_stdout_is_the_commands(sh):
    found = sh("echo two >> a.txt; echo out", "--diff")
    assert found.out == b"out\n"
    assert "M\ta.txt" in found.err
    assert "\n one\n+two\n" in found.err
    assert "\x1b" not in found.err


def test_without_a_terminal_nothing_is_said_about_changes(sh):
    assert sh("echo two >> a.txt").err == ""


@pytest.fixture
def isolated(rsi):
    """`run` as it is when nothing is said about isolation; only where something isolates."""
    found = rsi("run", "--", "true")
    if found.code == 125 and "no sandbox here isolates" in found.err:
        pytest.skip(found.err)
    assert found == Answer(0, b"", "")
    return lambda script, *options: rsi("run", *options, "--", "sh", "-c", script)


def test_the_environment_of_the_command_that_was_asked_for_is_shown(isolated, rsi, work, tmp_path):
    venv.create(tmp_path / "elsewhere", with_pip=False)
    python = tmp_path / "elsewhere" / "bin" / "python"
    assert isolated(f"ls {python}").code != 0  # named by nobody but the script
    found = rsi("run", "--", str(python), "-c", "import sys; print(sys.prefix)")
    assert (found.code, found.out.decode().strip()) == (0, str(tmp_path / "elsewhere")), found.err


def test_by_default_it_is_isolated(isolated, work, tmp_path):
    (tmp_path / "secret").write_text("secret")
    listener = socket.create_server(("127.0.0.1", 0))
    reach = f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 2)"
    with listener:
        found = isolated(f'cat {tmp_path}/secret; env; ls {os.environ["HOME"]}; cat a.txt; python3 -c "{reach}"')
    assert found.code != 0
    assert b"one\n" in found.out
    assert b"secret" not in found.out
    assert os.environ["XDG_STATE_HOME"].encode() not in found.out
    assert "refused" in found.err or "not found" in found.err


def test_what_changed_in_isolation_is_written_back_and_taken_back(isolated, rsi, work):
    found = isolated("echo two >> a.txt; mkdir d; mv a.txt d", "--write-back")
    assert (found.code, (work / "d/a.txt").read_text(), (work / "a.txt").exists()) == (0, "one\ntwo\n", False)
    assert rsi("undo", written(found)).code == 0
    assert {path.name: path.read_text() for path in work.iterdir()} == {"a.txt": "one\n"}


# ------------------------------------------------------------------------------------------------ write back and undo


def written(found: Answer) -> str:
    return found.err.strip().rpartition(" ")[2]


def test_write_back_writes_exactly_what_changed_and_undo_takes_it_back(sh, rsi, work):
    found = sh("echo two >> a.txt; mkdir d; echo n > d/n; echo out", "--write-back")
    assert (found.code, found.out) == (0, b"out\n")
    assert ((work / "a.txt").read_text(), (work / "d/n").read_text()) == ("one\ntwo\n", "n\n")
    undone = rsi("undo", written(found))
    assert (undone.code, undone.out) == (0, b"undone a.txt\nundone d\nundone d/n\n")
    assert {path.name: path.read_text() for path in work.iterdir()} == {"a.txt": "one\n"}


@pytest.mark.parametrize(("script", "options"), [("exit 3", ()), ("sleep 30", ("--timeout", "0.5"))])
def test_a_command_that_fails_writes_nothing_back(sh, work, script, options):
    found = sh(f"echo two >> a.txt; {script}", "--write-back", *options)
    assert found.code == (3 if not options else 137)
    assert "nothing was written back" in found.err
    assert (work / "a.txt").read_text() == "one\n"


def test_nothing_changed_is_said(sh):
    found = sh("true", "--write-back")
    assert (found.code, "nothing changed" in found.err) == (0, True)


@pytest.mark.parametrize(
    "script", ["mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit", "mkfifo f", "ln -s /etc/passwd l"]
)
def test_what_may_not_be_written_back_is_refused_whole(sh, work, script):
    found = sh(f"echo two >> a.txt; {script}", "--write-back")
    assert (found.code, "nothing was merged" in found.err) == (1, True)
    assert [path.name for path in work.iterdir()] == ["a.txt"]
    assert (work / "a.txt").read_text() == "one\n"


def test_links_inside_are_written_back_when_asked_for(sh, work):
    assert sh("ln -s a.txt l", "--write-back").code == 1
    assert sh("ln -s a.txt l", "--write-back", "--allow-links").code == 0
    assert (work / "l").readlink() == Path("a.txt")


def test_json_names_the_undo_log(sh, rsi, work):
    document = json.loads(sh("echo two >> a.txt", "--write-back", "--json").out)
    undone = json.loads(rsi("undo", document["undo"], "--json").out)
    assert undone == {"undo": document["undo"], "target": str(work), "paths": ["a.txt"]}
    assert (work / "a.txt").read_text() == "one\n"


def test_a_folder_that_changed_meanwhile_is_left_alone(sh, work):
    """This back end lets a command write there: it does so behind its own view's back."""
    found = sh(f"echo two >> a.txt; echo mine > '{work}/b.txt'", "--write-back")
    assert (found.code, "b.txt" in found.err) == (1, True)
    assert ((work / "a.txt").read_text(), (work / "b.txt").read_text()) == ("one\n", "mine\n")


def test_undo_refuses_what_somebody_changed_since_unless_forced(sh, rsi, work):
    log = written(sh("echo two >> a.txt", "--write-back"))
    (work / "a.txt").write_text("mine\n")
    found = rsi("undo", log)
    assert (found.code, "a.txt" in found.err) == (1, True)
    assert (work / "a.txt").read_text() == "mine\n"
    assert rsi("undo", log, "--force").code == 0
    assert (work / "a.txt").read_text() == "one\n"


@pytest.mark.parametrize("name", ["0123456789abcdef", "../../../etc", "*", ""])
def test_an_unknown_log_is_a_negative_answer(rsi, name):
    found = rsi("undo", name)
    assert (found.code, found.out) == (1, b"")
    assert "no such undo log" in found.err


#: Dies by SIGKILL in the middle of a write-back, before the second of two replacements.
DYING = """
import os, signal, sys
from rsi.cli import main
from rsi.sandbox.merge import step
real, count = step._replace, [0]
def replace(*args, **kwargs):
    count[0] += 1
    if count[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args, **kwargs)
step._replace = replace
main(sys.argv[1:])
"""


@pytest.fixture
def half(work):
    """The id of a write-back that was killed half way, as it was said before."""
    script = "echo two >> a.txt; echo b > b.txt"
    line = ["sandbox", "run", *ANY, "--write-back", "--", "sh", "-c", script]
    done = subprocess.run([sys.executable, "-c", DYING, *line], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert ((work / "a.txt").read_text(), (work / "b.txt").exists()) == ("one\ntwo\n", False)
    return done.stderr.strip().rpartition(" ")[2]


def test_a_write_back_that_was_killed_is_taken_back_by_the_next_run(half, sh, work):
    found = sh("cat a.txt")
    assert (found.code, found.out) == (0, b"one\n")
    assert f"was taken back: {half}" in found.err
    assert {path.name: path.read_text() for path in work.iterdir()} == {"a.txt": "one\n"}
    assert sh("true").err == ""


def test_a_write_back_that_was_killed_is_listed_and_undone_by_its_id(half, rsi, work):
    [row] = [row for row in rsi("undo", "--list").out.decode().splitlines() if row.startswith(half)]
    assert "half way" in row
    assert str(work) in row
    assert rsi("undo", half).code == 0
    assert {path.name: path.read_text() for path in work.iterdir()} == {"a.txt": "one\n"}
    assert [log["status"] for log in json.loads(rsi("undo", "--list", "--json").out)["undo"] if log["id"] == half] == [
        "undone"
    ]


def test_what_cannot_be_taken_back_is_said_and_nothing_is_written_over_it(half, sh, rsi, work):
    (work / "a.txt").write_text("mine\n")
    found = sh("cat a.txt")
    assert (found.code, found.out) == (0, b"mine\n")
    assert "is not taken back" in found.err
    found = sh("echo ran", "--write-back")
    assert (found.code, found.out) == (125, b"")
    assert rsi("undo", half, "--force").code == 0
    assert (work / "a.txt").read_text() == "one\n"
    assert sh("true", "--write-back").code == 0


def test_undo_wants_an_id_or_the_list(rsi):
    assert rsi("undo").code == rsi("undo", "--list", "0123456789abcdef").code == 2


def test_write_backs_are_undone_the_last_first(sh, rsi, work):
    first, second = (written(sh(f"echo {text} > a.txt", "--write-back")) for text in ("two", "one"))
    found = rsi("undo", first)
    assert (found.code, second in found.err) == (1, True)
    assert [rsi("undo", each).code for each in (second, first)] == [0, 0]
    assert (work / "a.txt").read_text() == "one\n"


def test_a_write_back_into_a_folder_that_was_moved_is_said(sh, rsi, work, monkeypatch):
    log = written(sh("echo two >> a.txt", "--write-back"))
    monkeypatch.chdir("/")
    work.rename(work.with_name("moved"))
    found = rsi("undo", log)
    assert (found.code, "is not there any more" in found.err) == (1, True)
    work.with_name("moved").rename(work)
    assert rsi("undo", log).code == 0


@pytest.fixture
def homeless(work, monkeypatch, tmp_path):
    """A user without a home folder, as `docker run --user 4711` makes them."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_who_has_no_home_can_run_and_is_told_why_nothing_can_be_written_back(homeless, sh):
    assert sh("echo ran") == Answer(0, b"ran\n", "")
    found = sh("echo ran", "--write-back")
    assert (found.code, found.out) == (125, b"")
    assert "set XDG_STATE_HOME" in found.err


def test_who_has_no_home_is_told_what_isolation_needs(homeless, rsi):
    found = rsi("run", "--backend", "subprocess", "--", "echo", "ran")
    assert (found.code, found.out) == (125, b"")
    assert "set HOME" in found.err


def test_a_folder_that_cannot_be_listed_is_named_before_anything_runs(sh, work, monkeypatch):
    (work / "closed").mkdir(mode=0)
    real = os.scandir

    def scandir(path):  # root lists everything
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = sh("echo ran", "--write-back")
    assert (found.code, found.out) == (125, b"")
    assert "closed: cannot be read (Permission denied)" in found.err


def test_nothing_is_left_when_it_has_ended(isolated, state):
    for _ in range(2):
        isolated("mkdir d; for i in 1 2 3; do echo $i > d/$i; done")
    store = state / "rsi/sandbox"
    assert [list((store / name).iterdir()) for name in ("boxes", "trash")] == [[], []]


# ------------------------------------------------------------------------------------------------ a terminal, a signal


def wait_for(condition, patience_s: float = 30.0) -> None:
    deadline = clock.monotonic() + patience_s
    while not condition():
        assert clock.monotonic() < deadline, "it did not come"
        clock.sleep(0.02)


def on_a_terminal(*command: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rsi", "sandbox", "run", *ANY, "--", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 1 << 16):
            said += data
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return said.decode()


def test_a_terminal_shows_what_changed_in_colour(work):
    said = on_a_terminal("sh", "-c", "echo two >> a.txt; echo out")
    assert said.startswith("out\r\n")
    assert "M\ta.txt" in said
    assert "\x1b[32m+two" in said


def test_on_a_terminal_a_command_can_colour_but_not_drive_it(work):
    said = on_a_terminal("printf", r"\033[31mred\033[0m \033]0;title\007 \033[2J \033[6n done")
    assert said == "\x1b[31mred\x1b[0m    done"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("options", [(), ANY], ids=["isolated", "any"])
def test_an_interrupt_ends_the_command_and_leaves_nothing(isolated, work, options, number, status):
    seconds = f"98{number}.{len(options)}{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "rsi", "sandbox", "run", *options, "--", "sh", "-c", f"trap '' TERM INT; sleep {seconds}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        # a shell that puts the tests into the background has it ignored, and that is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - these tests start no threads
    )  # fmt: skip
    try:
        wait_for(lambda: running(seconds))
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == status, said
    wait_for(lambda: not running(seconds), 10)


def running(name: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if name.encode() in path.read_bytes().split(b"\0") else []
        except OSError:
            continue
    return found


# ------------------------------------------------------------------------------------------------ doctor


def forged(name: str, isolation: Isolation, trouble: str | None = None) -> Report:
    def one(flag: str) -> Tried:
        holds = getattr(isolation, flag)
        return Tried(name=f"try_{flag}", flag=flag, what="", needed=True, control=True, control_said="did it",
                     succeeded=not holds, said="refused" if holds else "did \x1b[2J it")  # fmt: skip

    return Report(backend=name, tried=tuple(map(one, FLAGS)), trouble=trouble, took_ms=1.0)


@pytest.fixture
def machine(monkeypatch):
    """A machine on which back ends isolate what is said here; the others are not available."""

    def make(**isolations: Isolation) -> None:
        class Fake:
            def __init__(self, name: str) -> None:
                self.name = name

            def unavailable(self) -> str | None:
                return None if self.name in isolations else "not on this machine"

        def report(back: Fake, *, fresh: bool = False) -> Report:
            found = isolations.get(back.name)
            return forged(back.name, found or Isolation(), None if found else "not on this machine")

        monkeypatch.setattr("rsi.cli.sandbox_doctor.backend", Fake)
        monkeypatch.setattr("rsi.cli.sandbox_doctor.report", report)
        monkeypatch.setattr("rsi.sandbox.choose.backend", Fake)
        monkeypatch.setattr("rsi.sandbox.probe.capabilities", lambda back: report(back).isolation())

    return make


def test_doctor_is_a_table_of_flags_and_back_ends(rsi, machine):
    machine(overlay=FOR_FIXES, subprocess=Isolation())
    found = rsi("doctor")
    rows = [line.split()[:6] for line in found.out.decode().splitlines()]
    assert rows[0] == ["overlay", "bubblewrap", "docker", "seatbelt", "subprocess"]
    assert ["network", "yes", "-", "-", "-", "no"] in rows
    assert [row[0] for row in rows[1 : 1 + len(FLAGS)]] == list(FLAGS)
    assert "docker: not here: not on this machine" in found.out.decode()
    assert "subprocess: network: succeeded inside: try_network" in found.out.decode()
    assert "auto takes overlay; fixes that need a command run may be applied here" in found.out.decode()
    assert found.code == 0


def test_where_nothing_isolates_enough_doctor_says_so_and_ends_with_1(rsi, machine):
    machine(overlay=Isolation(network=True), subprocess=Isolation())
    found = rsi("doctor")
    assert (found.code, "stays a proposal" in found.out.decode()) == (1, True)


def test_the_second_back_end_is_taken_if_the_first_isolates_too_little(rsi, machine):
    machine(overlay=Isolation(network=True), bubblewrap=FOR_FIXES)
    document = json.loads(rsi("doctor", "--json").out)
    assert (document["auto"], document["fixes_may_run"]) == ("bubblewrap", True)
    overlay, bubblewrap, docker, *_ = document["backends"]
    assert (overlay["for_fixes"], bubblewrap["for_fixes"]) == (False, True)
    assert overlay["isolation"]["network"] is True
    assert overlay["why_not"]["home"] == "succeeded inside: try_home"
    assert (docker["unavailable"], docker["isolation"]["network"]) == ("not on this machine", False)
    assert {each["flag"] for each in overlay["attacks"]} == set(FLAGS)


def test_doctor_on_this_machine(rsi):
    found = rsi("doctor", "--json")
    document = json.loads(found.out)
    seen = {each["name"]: each for each in document["backends"]}
    assert list(seen) == ["overlay", "bubblewrap", "docker", "seatbelt", "subprocess"]
    assert seen["subprocess"]["for_fixes"] is False
    assert seen["subprocess"]["why_not"]["network"].startswith("succeeded inside: tcp")
    assert document["fixes_may_run"] == (document["auto"] is not None) == (found.code == 0)


def test_doctor_shows_every_attack_when_asked(rsi, machine):
    machine(overlay=FOR_FIXES)
    said = rsi("doctor", "--attacks").out.decode()
    assert "network    try_network          stopped: refused" in said
    assert "memory     try_memory           SUCCEEDED: did  it" in said
