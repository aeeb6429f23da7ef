"""The sandbox as people use it, on every back end that is available here."""

import os
import pwd
import subprocess
import sys
import threading

import pytest
from tree_kit import plant, snapshot

from rsi.errors import InvalidInputError, IsolationError, MergeError, NotFoundError, SandboxError, TooLargeError
from rsi.sandbox import FOR_FIXES, Isolation, Limits, Sandbox, apply, check, choose
from rsi.sandbox.choose import KNOWN, backend
from rsi.sandbox.model import MAX_COUNT, MAX_S
from rsi.sandbox.plain import plain

SPEC = {
    "a.py": ("file", b"print(1)\n", 0o644),
    "run.sh": ("file", b"#!/bin/sh\n", 0o755),
    "d/x": ("file", b"\0\xff", 0o644),
    "out": ("link", "/etc/passwd"),
    "d/up": ("link", "../a.py"),
}
NOTHING = Isolation()


@pytest.fixture(params=["overlay", "subprocess"])
def made(request, tmp_path):
    """A back end by name; skipped where it does not run."""
    found = backend("overlay") if request.param == "overlay" else plain(tmp_path / "copies")
    if (why := found.unavailable()) is not None:
        pytest.skip(f"{request.param}: {why}")
    return found


@pytest.fixture
def workspace(tmp_path):
    return plant(tmp_path / "ws", SPEC)


@pytest.fixture
def box(workspace, made, monkeypatch):
    monkeypatch.setattr(choose.Chosen, "isolation", FOR_FIXES)  # probed by its own tests; it takes a second
    with Sandbox.create(workspace, backend=made) as sandbox:
        yield sandbox


def test_a_command_changes_the_view_and_never_the_workspace(box, workspace):
    before = snapshot(workspace)
    result = box.exec("echo hi; cat; echo new > fresh; rm a.py; exit 3", input="from stdin\n")
    assert (result.returncode, result.stdout) == (3, "hi\nfrom stdin\n")
    assert not result.ok
    assert snapshot(workspace) == before
    assert [(change.letter, change.path) for change in box.diff()] == [("D", "a.py"), ("A", "fresh")]


def test_words_are_a_command_without_a_shell(box):
    assert box.exec(["printf", "%s|", "a b", "$HOME", "*"]).stdout == "a b|$HOME|*|"


def test_a_command_sees_the_given_environment_and_nothing_of_ours(workspace, made, monkeypatch):
    monkeypatch.setenv("RSI_TEST_SECRET", "sk-leak-me")
    monkeypatch.setenv("LC_TIME", "de_DE.UTF-8")
    monkeypatch.setattr(choose.Chosen, "isolation", FOR_FIXES)
    with Sandbox.create(workspace, backend=made, env={"GIVEN": "once", "OVER": "old"}) as box:
        lines = dict(line.split("=", 1) for line in box.exec(["/usr/bin/env"], env={"OVER": "new"}).stdout.splitlines())
    assert "RSI_TEST_SECRET" not in lines
    assert (lines["GIVEN"], lines["OVER"], lines["LC_TIME"], lines["USER"]) == ("once", "new", "de_DE.UTF-8", "sandbox")
    assert {"PATH", "HOME", "TMPDIR", "TERM"} <= lines.keys()
    assert lines.keys() <= {
        "PATH",
        "HOME",
        "TMPDIR",
        "TERM",
        "USER",
        "LOGNAME",
        "GIVEN",
        "OVER",
        "PWD",
        "LANG",
        "LANGUAGE",
        "TZ",
        "SHLVL",
        "_",
    } | {name for name in lines if name.startswith("LC_")}


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": -1}),
        ("timeout", {"timeout": float("nan")}),
        ("timeout", {"timeout": "soon"}),
        ("limits.processes", {"limits": Limits(processes=0)}),
        ("limits.wall_s", {"limits": Limits(wall_s=-1.0)}),
        ("limits.wall_s", {"limits": Limits(wall_s=float("inf"))}),
        ("limits.wall_s", {"timeout": 1e30}),
        ("limits.cpu_s", {"limits": Limits(cpu_s=float("inf"))}),
        ("limits.cpu_s", {"limits": Limits(cpu_s=1e30)}),
        ("limits.cpu_s", {"limits": Limits(cpu_s=float("nan"))}),
        ("limits.file", {"limits": Limits(file=1 << 63)}),
        ("limits.memory", {"limits": Limits(memory=1 << 64)}),
        ("limits.keep", {"limits": Limits(keep=None)}),
        ("cwd", {"cwd": ".."}),
        ("cwd", {"cwd": "d/../../x"}),
        ("cwd", {"cwd": "/etc"}),
        ("input", {"input": 5}),
        ("env", {"env": {"A=B": "x"}}),
        ("env.A", {"env": {"A": "x\0y"}}),
        ("env.A", {"env": {"A": 1}}),
        ("cmd", {"cmd": ""}),
        ("cmd", {"cmd": []}),
        ("cmd", {"cmd": [""]}),
        ("cmd[1]", {"cmd": ["a", "b\0"]}),
        ("cmd[0]", {"cmd": [1]}),
        ("cmd[2]", {"cmd": "x" * 200_000}),
        ("cmd", {"cmd": None}),
        ("cmd", {"cmd": 5}),
        ("cmd", {"cmd": b"true"}),
        ("cmd", {"cmd": {"true"}}),
        ("cmd", {"cmd": "echo \ud800"}),
        ("cmd[1]", {"cmd": ["echo", "\ud800"]}),
        ("input", {"input": "\ud800"}),
        ("input", {"input": ["x"]}),
        ("env", {"env": "A=1"}),
        ("env", {"env": {"\ud800": "x"}}),
        ("env.A", {"env": {"A": "\ud800"}}),
        ("cwd", {"cwd": "\ud800"}),
        ("cwd", {"cwd": 5}),
        ("stdin", {"stdin": "x"}),
        ("stdin", {"stdin": 0, "input": "x"}),
    ],
)
def test_a_wrong_argument_is_named_with_the_way_out(tmp_path, field, arguments):
    with Sandbox.create(plant(tmp_path / "ws", SPEC), backend=plain(tmp_path / "copies"), require=NOTHING) as box:
        with pytest.raises(InvalidInputError) as caught:
            box.exec(**{"cmd": "true", **arguments})
        assert caught.value.field == field
        assert str(caught.value).startswith(field)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("data", lambda box: box.write_file("n", None)),
        ("data", lambda box: box.write_file("n", "\ud800")),
        ("path", lambda box: box.write_file("\ud800", "n")),
        ("path", lambda box: box.read_file(None)),
        ("path", lambda box: box.read_file("\ud800")),
        ("label", lambda box: box.checkpoint("\ud800")),
        ("label", lambda box: box.checkpoint(5)),
        ("workspace", lambda _: Sandbox.create(None)),
        ("env.A", lambda box: Sandbox.create(box.workspace, env={"A": "\ud800"})),
        ("store", lambda box: Sandbox.reopen(None, box.workspace)),
    ],
)
def test_what_is_no_text_is_named(tmp_path, field, call):
    with Sandbox.create(plant(tmp_path / "ws", SPEC), backend=plain(tmp_path / "copies"), require=NOTHING) as box:
        with pytest.raises(InvalidInputError) as caught:
            call(box)
        assert caught.value.field == field
        assert box.diff() == []


def test_the_largest_limits_are_limits(box):
    most = dict.fromkeys(("memory", "disk", "inodes", "file", "output", "keep"), MAX_COUNT)
    result = box.exec("echo fine", limits=Limits(wall_s=MAX_S, cpu_s=MAX_S, **most))
    assert (result.stdout, result.killed_by) == ("fine\n", None)


def test_input_comes_as_it_is_written_and_its_descriptor_stays_outside(box):
    ours, theirs = os.pipe()
    said = []

    def talk() -> None:
        for line in (b"one\n", b"two\n"):
            os.write(theirs, line)
        said.append("talked")

    talking = threading.Thread(target=talk)
    talking.start()
    result = box.exec("readlink /proc/self/fd/0; read a; read b; echo $b $a", stdin=ours)  # nobody closes it
    talking.join()
    kind, words = result.stdout.splitlines()
    assert kind.startswith("pipe:")
    assert kind != f"pipe:[{os.fstat(ours).st_ino}]"
    assert words == "two one"
    os.close(theirs)
    assert box.exec("cat; echo end", stdin=ours).stdout == "end\n"
    os.close(ours)
    assert not [thread for thread in threading.enumerate() if thread.name == "rsi-sandbox-feed"]


def test_a_stream_that_never_ends_is_inside_the_limits(box):
    ours, theirs = os.pipe()
    assert box.exec("cat", stdin=ours, timeout=0.3).killed_by == "timeout"
    os.close(theirs)
    os.close(ours)


def test_a_command_starts_in_the_folder_that_is_named(box, workspace):
    assert box.exec("cat x", cwd="d").stdout_bytes == b"\0\xff"
    assert box.exec("cat x", cwd=workspace / "d").stdout_bytes == b"\0\xff"


def test_a_timeout_keeps_what_was_said_and_says_so(box):
    result = box.exec("echo before; sleep 60", timeout=1)
    assert (result.killed_by, result.stdout) == ("timeout", "before\n")


def test_files_are_read_and_written_inside(box, workspace):
    box.write_file("new/deep/n.txt", "text ü\n")
    assert box.read_file("new/deep/n.txt") == "text ü\n"
    assert box.read_file(workspace / "d/x", text=False) == b"\0\xff"
    assert box.read_file("d/up") == "print(1)\n"
    box.write_file("run.sh", b"#!/bin/sh\necho\n")
    box.write_file("-n", "a name like an option")
    assert box.read_file("-n") == "a name like an option"
    (change,) = [change for change in box.diff() if change.path == "run.sh"]
    assert change.after.mode == 0o755
    assert not (workspace / "new").exists()


def test_a_large_file_is_read_whole_or_refused_by_the_limit(box):
    data = os.urandom(3 << 20)
    box.write_file("big", data)
    assert box.read_file("big", text=False) == data
    assert box.read_file("big", text=False, max_bytes=len(data)) == data
    with pytest.raises(TooLargeError, match=f"big: more than {len(data) - 1} bytes"):
        box.read_file("big", max_bytes=len(data) - 1)


def test_a_file_that_cannot_be_read_or_written_is_a_built_in_error_too(box):
    for error, path in ((FileNotFoundError, "none"), (IsADirectoryError, "d"), (PermissionError, "pipe")):
        box.exec("test -e pipe || mkfifo pipe")
        with pytest.raises(error, match=path) as caught:
            box.read_file(path)
        assert isinstance(caught.value, SandboxError)
    with pytest.raises(IsADirectoryError):
        box.write_file("d", "x")
    with pytest.raises(PermissionError):
        box.write_file("a.py/below", "x")
    for path in ("", "a\0b", "../x", "d/../../x"):
        with pytest.raises(InvalidInputError, match="path: "):
            box.read_file(path)
    with pytest.raises(InvalidInputError, match="outside the workspace"):
        box.write_file("/tmp/x", "x")


def test_states_are_named_restored_and_forked(box):
    box.write_file("n", "1")
    first = box.checkpoint("one")
    box.write_file("n", "2")
    other = box.fork(first)
    assert (other.read_file("n"), box.read_file("n")) == ("1", "2")
    other.write_file("n", "3")
    other.destroy()
    box.restore(first)
    assert box.read_file("n") == "1"
    assert [(point.id, point.label) for point in box.checkpoints()] == [(first, "one")]
    with pytest.raises(NotFoundError):
        box.restore("never")


def test_the_patch_is_the_difference(box):
    point = box.checkpoint()
    box.write_file("a.py", "print(2)\n")
    assert b"-print(1)\n+print(2)\n" in box.patch()
    assert b"-print(1)\n+print(2)\n" in box.patch(since=point)
    assert box.patch(until=point) == b""


def test_what_the_view_holds_is_applied_and_undone(box, workspace, tmp_path):
    box.exec("echo 2 > a.py; rm -r d; mkdir -p n/m; echo x > n/m/f; chmod 755 n/m/f")
    before = snapshot(workspace)
    log = apply(box.diff(), workspace, undo=tmp_path / "undo")
    assert snapshot(workspace) == {
        "a.py": ("file", b"2\n", 0o644), "run.sh": SPEC["run.sh"], "out": SPEC["out"],
        "n": ("dir", 0o755), "n/m": ("dir", 0o755), "n/m/f": ("file", b"x\n", 0o755),
    }  # fmt: skip
    log.undo()
    assert snapshot(workspace) == before


def test_nothing_can_be_done_after_it_was_destroyed(box):
    box.destroy()
    box.destroy()
    for call in (lambda: box.exec("true"), box.checkpoints, box.diff, lambda: box.read_file("a.py")):
        with pytest.raises(SandboxError):
            call()


#: Dies by SIGKILL with one durable checkpoint; what it wrote after it is lost.
DYING = """
import os, sys
from pathlib import Path
from rsi.sandbox import Isolation, Sandbox
from rsi.sandbox.plain import plain
name, workspace, copies = sys.argv[1:]
box = Sandbox.create(workspace, backend=plain(Path(copies)) if name == "subprocess" else name, require=Isolation())
box.write_file("n", "kept")
point = box.checkpoint("safe", durable=True)
box.write_file("n", "lost")
print(box.store, point, sep="\\n", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_durable_checkpoint_is_there_in_the_next_process(workspace, made, tmp_path):
    """The first process is killed; the second reopens what it left."""
    words = [sys.executable, "-c", DYING, made.name, str(workspace), str(tmp_path / "copies")]
    store, point = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    with Sandbox.reopen(store, workspace, backend=made, require=NOTHING) as box:
        assert [each.id for each in box.checkpoints()] == [point]
        box.restore(point)
        assert box.read_file("n") == "kept"


def test_a_back_end_with_less_than_required_is_refused_by_name(workspace):
    with pytest.raises(IsolationError, match=r"subprocess: does not isolate .*network.*require=Isolation\(\)"):
        Sandbox.create(workspace, backend="subprocess")


class Scripted:
    """A back end that is only asked, never opened."""

    def __init__(self, name, why=None):
        self.name, self.why = name, why

    def unavailable(self):
        return self.why


def test_auto_takes_the_first_that_holds_what_is_required(monkeypatch):
    there = {
        "overlay": Scripted("overlay", "no user namespaces"),
        "bubblewrap": Scripted("bubblewrap"),
        "docker": Scripted("docker"),
        "seatbelt": Scripted("seatbelt", "not macOS"),
        "subprocess": Scripted("subprocess"),
    }
    found = {"bubblewrap": Isolation(network=True), "docker": FOR_FIXES, "subprocess": NOTHING}
    monkeypatch.setattr(choose, "backend", there.__getitem__)
    monkeypatch.setattr(choose.Chosen, "isolation", property(lambda chosen: found[chosen.backend.name]))
    assert choose.choose("auto", FOR_FIXES).backend.name == "docker"
    assert choose.choose("auto", Isolation(network=True)).backend.name == "bubblewrap"
    assert choose.choose("subprocess", NOTHING).backend.name == "subprocess"
    with pytest.raises(IsolationError) as caught:
        choose.choose("auto", Isolation(memory=True))
    for part in (
        "memory",
        "overlay: no user namespaces",
        "docker: does not isolate memory",
        "subprocess: does not isolate memory",
    ):
        assert part in str(caught.value)
    assert list(KNOWN) == list(there)


def test_wrong_arguments_of_create_are_named(workspace, tmp_path):
    for field, arguments in (
        ("workspace", {"workspace": tmp_path / "none"}),
        ("backend", {"backend": "chroot"}),
        ("readable[0]", {"readable": ["relative"]}),
        ("programs", {"programs": "pytest"}),
        ("programs[1]", {"programs": ["pytest", 3]}),
        ("readable[1]", {"readable": [tmp_path, tmp_path / "none"]}),
        ("env", {"env": {"": "x"}}),
    ):
        with pytest.raises(InvalidInputError) as caught:
            Sandbox.create(**{"workspace": workspace, **arguments})
        assert caught.value.field == field


@pytest.mark.parametrize("backend", ["auto", "subprocess"])
def test_what_holds_a_home_or_the_stores_is_never_shown(backend, workspace, tmp_path, monkeypatch):
    """Under whatever name, at whatever depth, by whatever back end."""
    home, state, link = tmp_path / "all/home", tmp_path / "state", tmp_path / "link"
    (home / ".git/objects").mkdir(parents=True)
    (state / "rsi/sandbox/boxes").mkdir(parents=True)
    link.symlink_to(tmp_path / "all")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    homes = ("/", home, tmp_path / "all", link, link / "home", pwd.getpwuid(os.getuid()).pw_dir)
    for path in homes:
        with pytest.raises(InvalidInputError, match=r"holds your home folder.*name a project") as caught:
            Sandbox.create(path, backend=backend, require=Isolation())
        assert caught.value.field == "workspace"
    for path in (*homes, home / ".git/objects", state, state / "rsi/sandbox/boxes"):
        with pytest.raises(InvalidInputError, match="name the one folder") as caught:
            Sandbox.create(workspace, backend=backend, require=Isolation(), readable=[workspace, path])
        assert caught.value.field == "readable[1]"


TEST = "echo 'import os' > conftest.py; echo tampered > config; mkdir -p .git; grep -q 4 config || test -f conftest.py"


def test_only_the_fix_is_merged_and_never_what_the_run_wrote(box, workspace, tmp_path):
    before = snapshot(workspace)
    done = check(box, {"config": "retries = 4\n", "n/new.py": b"x = 1\n"}, TEST)
    assert done.passed
    assert "conftest.py" in {change.path for change in box.diff()}
    assert {change.path for change in done.changes} == {"config", "n", "n/new.py"}
    assert b"tampered" not in done.patch()
    log = done.apply(undo=tmp_path / "undo")
    assert snapshot(workspace) == {
        **before, "config": ("file", b"retries = 4\n", 0o644), "n": ("dir", 0o755), "n/new.py": ("file", b"x = 1\n", 0o644),
    }  # fmt: skip
    log.undo()
    assert snapshot(workspace) == before


def test_a_fix_may_be_a_function(box, workspace, tmp_path):
    done = check(box, lambda sandbox: sandbox.exec("sed -i s/1/2/ a.py"), "grep -q 2 a.py")
    done.apply(undo=tmp_path / "undo")
    assert (workspace / "a.py").read_text() == "print(2)\n"


def test_a_check_that_failed_is_not_merged(box, workspace, tmp_path):
    before = snapshot(workspace)
    for command, why in (("exit 1", "exit status 1"),):
        done = check(box, {"a.py": "x"}, command)
        with pytest.raises(MergeError, match=why):
            done.apply(undo=tmp_path / "undo")
    assert snapshot(workspace) == before


def test_a_workspace_that_changed_meanwhile_is_not_merged_into(box, workspace, tmp_path):
    done = check(box, {"a.py": "x"}, "true", ignore=["d"])
    (workspace / "d/log").write_text("ignored")
    (workspace / "run.sh").write_text("edited")
    with pytest.raises(MergeError, match=r"base changed while it was checked: run\.sh;"):
        done.apply(undo=tmp_path / "undo")
    assert (workspace / "a.py").read_text() == "print(1)\n"


def test_a_check_that_ran_with_less_isolation_is_not_merged(workspace, tmp_path):
    with Sandbox.create(workspace, backend=plain(tmp_path / "copies"), require=NOTHING) as box:
        done = check(box, {"a.py": "x"}, "true")
        with pytest.raises(IsolationError, match="without fs_read, fs_write"):
            done.apply(undo=tmp_path / "undo")
        done.apply(require=NOTHING, undo=tmp_path / "undo")
    assert (workspace / "a.py").read_text() == "x"


def test_a_sandbox_with_changes_of_its_own_is_not_checked_in(box):
    box.write_file("left", "over")
    with pytest.raises(SandboxError, match=r"changes already .left"):
        check(box, {"a.py": "x"}, "true")


def test_a_workspace_that_changes_while_the_fix_is_written_is_not_checked(box, workspace):
    def fix(sandbox):
        sandbox.write_file("a.py", "print(2)\n")
        (workspace / "d/x").write_bytes(b"by hand")

    with pytest.raises(MergeError, match=r"the base changed while the fix was written: d/x"):
        check(box, fix, "touch ran")


def test_a_folder_that_nobody_can_list_is_named_by_a_check(box, workspace, monkeypatch):
    real = os.scandir

    def scandir(path):  # root lists everything
        if str(path) == str(workspace / "d"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(MergeError, match=r"d: cannot be read \(Permission denied\)"):
        check(box, {"a.py": "print(2)\n"}, "true")
