"""What a command can see and change: the view, the root folder, what is read-only, covered, or not there at all."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from launch_kit import (
    IS_ROOT,
    LIBC,
    MODES,
    PYTHON,
    USER,
    Yard,
    as_mode,
    become_user,
    crew,
    in_fork,
    must,
    new_zygote,
    remove,
    run,
    yard,
)

from rsi.errors import LaunchError
from rsi.sandbox.launcher import mounts, view

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/user").exists(), reason="needs Linux's namespaces")
HOMES = [Path("/home/rsi-test-home"), Path("/root/rsi-test-home"), Path("/srv/rsi-test-home")]


@pytest.fixture(scope="module", autouse=True)
def zygotes() -> Iterator[None]:
    with crew():
        yield


@pytest.fixture(params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Yard]:
    with yard(request.param) as made:
        yield made


ODD = [
    "a:b",
    "a,b",
    "a\\b",
    "a\nb",
    " a b ",
    "é",
    "\udcff\udcfe",
    "a\\:b,c=d\\,e",
    "upperdir=x",
    "$(x)'\"",
    "-o",
    "*",
    "n" * 250,
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("mode", MODES)
def test_a_workspace_may_have_any_name(mode: str, name: str) -> None:
    with yard(mode) as first, yard(mode, workspace=first.folder / name) as place:
        first.give()
        result = place.sh("cat file; echo x > made; pwd")
        assert (result.status, result.out) == (0, f"from the host\n{place.workspace}\n"), result
        assert place.view("made").exists()
        assert not (place.workspace / "made").exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_workspace_may_lie_deep(mode: str) -> None:
    with yard(mode) as first, yard(mode, workspace=first.folder / "/".join(["d" * 200] * 10)) as place:
        first.give()
        assert place.sh("cat file").out == "from the host\n"


@pytest.mark.skipif(not IS_ROOT, reason="makes folders in the system's places")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "home", [*HOMES, Path("/home/sandbox/rsi-test"), Path("/opt/rsi-test"), Path("/usr/local/rsi-test")]
)
def test_a_workspace_may_lie_anywhere(mode: str, home: Path) -> None:
    if mode == "user" and home.is_relative_to("/root"):
        pytest.skip("no other user gets there")
    (home / "secret").mkdir(parents=True)
    try:
        with yard(mode, workspace=home / "ws") as place:
            home.chmod(0o755)
            result = place.sh(
                f"cat file; echo x > made; ls -A {home}; ls {home}/secret; ls -A ~; touch ~/x /tmp/x /dev/shm/x"
            )
            system = home.parts[1] in {"opt", "usr"}
            assert result.out.split() == [
                "from",
                "the",
                "host",
                *(["secret", "ws"] if system else ["ws"]),
                *(["rsi-test"] if home.parts[2] == "sandbox" else []),
            ]
            assert not (place.workspace / "made").exists()
    finally:
        remove(home)
        if home.parts[2] == "sandbox":
            home.parent.rmdir()


def test_layers_lie_over_the_workspace_newest_first(place: Yard) -> None:
    place.sh("echo one > a; echo one > b; rm file")
    first, place.upper = place.upper, place.layer()
    place.sh("echo two > b", lowers=(first,))
    second, place.upper = place.upper, place.layer()
    assert place.sh("cat a b; ls", lowers=(second, first)).out.split() == ["one", "two", "a", "b"]
    assert place.sh("cat a b file", lowers=(first,)).out.split() == ["one", "one"]


def test_four_hundred_and_ninety_nine_layers(place: Yard) -> None:
    """499 of ours and the workspace are the kernel's 500; one more is a clear refusal."""
    layers = []
    for number in range(499):
        layers.append(place.layer())
        (place.store / layers[-1] / f"n{number}").write_text("x")
    lowers = tuple(reversed(layers))
    assert place.sh("ls | wc -l", lowers=lowers).out == "500\n"
    with pytest.raises(LaunchError, match=r"overlay: .*more than 500 layers"):
        place.sh("touch ran", lowers=(place.layer(), *lowers))


def test_a_kernel_without_single_layer_options_gets_one_string() -> None:
    """The older way, called directly in namespaces of its own."""
    with yard("user") as place:
        first = place.layer()
        (place.store / first / "layered").write_text("x")
        order = place.order("x", lowers=(first,))

        workspace = str(place.workspace).encode()
        upper, work = order.upper.encode(), order.work.encode()
        plain = SimpleNamespace(workspace=workspace, lowers=[first.encode()], upper=upper, work=work)

        def mounted() -> list[str]:
            uid, gid = os.getuid(), os.getgid()
            must(LIBC.unshare(0x10000000 | 0x20000))
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
            os.chdir(place.store)
            mounts.mount(b"tmpfs", b"root", 0)
            for name in ("root/base", "root/new"):
                Path(name).mkdir()
            target = Path(f"root/new{place.workspace}")
            target.mkdir(parents=True)
            mounts.attach(mounts.copy(workspace), b"root/base")
            view._at_once(plain)
            return sorted(path.name for path in target.iterdir())

        assert in_fork(mounted, prepare=become_user if IS_ROOT else lambda: None) == ["file", "layered"]


def test_protected_names_cannot_be_changed_renamed_or_replaced(place: Yard) -> None:
    git = place.workspace / ".git"
    (git / "hooks").mkdir(parents=True)
    (git / "config").write_text("[core]\n")
    script = (
        "echo x > .git/hooks/pre-commit; echo x >> .git/config; mv .git other; rm -rf .git; chmod 777 .git; "
        "touch .git/new; ln -s x .git/link; cat .git/config; ls -A .git"
    )
    assert place.sh(script).out.split() == ["[core]", "config", "hooks"]
    assert not place.view(".git").exists()


def test_a_protected_name_may_be_a_file_a_link_or_missing(place: Yard) -> None:
    (place.workspace / ".git").write_text("gitdir: /elsewhere\n")
    (place.workspace / ".rsi").symlink_to("/etc")
    assert place.sh("echo x > .git; rm -f .git; mv .git g; cat .git").out == "gitdir: /elsewhere\n"
    assert place.sh("readlink .rsi; touch .rsi/x; ls .hidden", protect=(".rsi", ".hidden")).out == "/etc\n"
    assert place.sh("mkdir .rsi2 && echo made").out == "made\n"


def test_a_link_put_in_the_place_of_a_protected_name_leads_nowhere(place: Yard) -> None:
    place.sh(f"ln -s {place.store} .rsi; ln -s / .git")
    result = place.sh(f"ls .rsi/; ls .git/{place.store}", hidden=(f"{place.workspace}/.rsi",))
    assert (result.status, result.out) == (2, "")


def test_hidden_paths_are_empty(place: Yard) -> None:
    secret = place.workspace / ".rsi"
    secret.mkdir()
    (secret / "secret").write_text("sk-secret")
    (place.workspace / "key").write_text("sk-key")
    hidden = (str(secret), str(place.workspace / "key"), "/nowhere/at/all", "/usr/share/doc")
    result = place.sh("ls -A .rsi /usr/share/doc; cat key; touch .rsi/x; mv .rsi r; cat r/secret", hidden=hidden)
    assert result.out == ".rsi:\n\n/usr/share/doc:\n"


def test_the_store_is_hidden_wherever_it_lies(place: Yard) -> None:
    """Below something readable, and in the workspace itself."""
    script = f"ls -A {place.store} && cat {place.store}/{place.upper}/file"
    assert place.sh(script).status != 0
    assert place.sh(script, readable=(str(place.folder),)).out == ""
    alias = place.folder / "alias"
    alias.symlink_to(place.store)
    assert place.sh(script, readable=(str(place.folder),), store=str(alias)).out == ""
    with yard(place.mode) as outer:
        inner = Yard(outer.workspace / "box", place.mode) if not (outer.workspace / "box").mkdir() else None
        assert inner is not None
        inner.workspace = outer.workspace
        inner.give()
        result = inner.sh(f"cat file; ls -A {inner.store}; ls -A box")
        assert result.out.splitlines() == ["from the host", "store", "ws"]


def test_what_is_readable_is_read_only_and_nothing_beside_it_is_there(place: Yard) -> None:
    tools = place.folder / "tools"
    (tools / "bin").mkdir(parents=True)
    (tools / "bin" / "tool").write_text("#!/bin/sh\necho tool\n")
    (tools / "bin" / "tool").chmod(0o755)
    (place.folder / "beside").write_text("secret")
    one = place.folder / "one-file"
    one.write_text("single\n")
    (place.folder / "alias").symlink_to(tools)
    readable = (str(tools), str(one), f"{place.folder}/alias/bin")
    script = (
        f"{tools}/bin/tool; cat {one}; {place.folder}/alias/bin/tool; touch {tools}/x {tools}/bin/tool; echo x > {one};"
        f"rm -rf {tools}; ls -A {place.folder}"
    )
    result = place.sh(script, readable=readable)
    assert result.out.split() == ["tool", "single", "tool", "alias", "one-file", "tools", "ws"]
    assert (tools / "bin" / "tool").exists()
    assert not (tools / "x").exists()


def test_readable_paths_around_and_in_the_workspace_uncover_nothing(place: Yard) -> None:
    below = place.workspace / "below"
    below.mkdir()
    (below / "deleted").write_text("from the host")
    place.sh("rm -r below file; echo changed > kept")
    readable = (str(place.folder), str(below), str(place.workspace), str(place.workspace / "file"))
    result = place.sh("ls -A; cat kept; touch made && echo writable", readable=readable)
    assert result.out.split() == ["kept", "changed", "writable"]
    assert place.view("made").exists()


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_a_readable_fifo_or_socket_is_refused(place: Yard, kind: str) -> None:
    path = place.folder / kind
    with socket.socket(socket.AF_UNIX) as server:
        os.mkfifo(path) if kind == "fifo" else server.bind(str(path))
    with pytest.raises(LaunchError, match=f"root: readable {path}: is no folder and no file"):
        place.sh("true", readable=(str(path),))


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
@pytest.mark.parametrize("mode", MODES)
def test_a_system_folder_with_a_mount_below_it_is_shown_as_it_is(mode: str) -> None:
    """As graphics drivers in a container are: whoever could mount there owns the machine."""
    nested = b"/usr/local/games"
    order_of = "ls /usr/local/games; touch /usr/local/games/x || echo refused"

    def prepare() -> None:
        must(LIBC.unshare(0x20000))
        must(LIBC.mount(None, b"/", None, 0x4000 | (1 << 18), None))
        must(LIBC.mount(b"tmpfs", nested, b"tmpfs", 0, b"mode=1777"))
        (Path(os.fsdecode(nested)) / "driver").touch()
        if mode == "user":
            become_user()

    with yard(mode) as place:
        order = place.order("/bin/sh", "-c", order_of)
        assert in_fork(lambda: run(order).out, prepare=prepare).split() == ["driver", "refused"]


@pytest.mark.parametrize(("without", "expected"), [((), (True, b"nothing\n")), (("shown",), (False, b"watched\n"))])
def test_locks_and_watches_on_what_is_shown_are_the_commands_own(place: Yard, without, expected) -> None:
    """Neither is a host's process held up, nor watched; both are where the folder is shown as it is."""
    tools = place.folder / "tools"
    tools.mkdir()
    (tools / "program").write_text("x")
    order = place.order(
        PYTHON, "-I", "-S", "-c", _LOCKS_AND_WATCHES, str(tools), readable=(str(tools),), without=without
    )

    def held() -> tuple[bool, bytes]:
        zygote = new_zygote()
        (given, give), (out, theirs) = os.pipe(), os.pipe()
        child = zygote.launch(order, given, theirs, 2)
        os.close(theirs)
        assert os.read(out, 10) == b"locked\n"
        with (tools / "program").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ours = True
            except BlockingIOError:
                ours = False
        os.write(give, b"look\n")
        seen = os.read(out, 100)
        child.wait()
        zygote.close()
        return ours, seen

    assert as_mode(place.mode, held) == expected


def test_devices_work_and_their_nodes_which_are_the_hosts_cannot_be_touched(place: Yard) -> None:
    names = ["null", "zero", "full", "random", "urandom"]
    before = [Path("/dev", name).stat().st_mtime_ns for name in names]
    script = "cd /dev; for n in null zero full random urandom tty; do touch $n 2>/dev/null && echo touched $n; done"
    works = (
        "; head -c 3 zero | wc -c; echo x > null; head -c 5 urandom | wc -c; (echo x > full) 2>/dev/null || echo full"
    )
    assert place.sh(script + works).out.split() == ["3", "5", "full"]
    assert [Path("/dev", name).stat().st_mtime_ns for name in names] == before


def test_a_command_stays_the_first_to_go_when_memory_runs_out(place: Yard) -> None:
    """By no file of its process or of its threads, and none of its children; what is open can be opened again."""
    script = """
cd /proc; (ls -d self/oom_* $$/oom_* 1/oom_* thread-self/oom_*; ls -d self/task/*/oom_*) | grep -v 'oom_score$' | while read name
do (echo 0 > $name || echo -17 > $name) 2>/dev/null && echo lowered $name; done
cat self/oom_score_adj; sh -c 'cat /proc/self/oom_score_adj'; exec 5>/tmp/open; echo again > /proc/self/fd/5; cat /tmp/open
"""
    assert place.sh(script).out.split() == ["1000", "1000", "again"]


_LOCKS_AND_WATCHES = """
import ctypes, fcntl, os, select, sys
watch = ctypes.CDLL(None).inotify_init()
ctypes.CDLL(None).inotify_add_watch(watch, sys.argv[1].encode(), 0x20)
file = open(sys.argv[1] + "/program")
fcntl.flock(file, fcntl.LOCK_EX)
os.read(watch, 4096)  # our own opening
print("locked", flush=True)
input()
print("watched" if select.select([watch], [], [], 0)[0] else "nothing")
"""


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
@pytest.mark.parametrize("mode", MODES)
def test_a_readable_folder_with_a_mount_below_it_is_refused_and_what_is_mounted_is_not(mode: str) -> None:
    """It could be shown only as it is, with its sockets and fifos; an ordinary user cannot even take it apart."""
    with yard(mode) as place:
        nested = place.folder / "tools" / "nested"
        nested.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "rsi-test", str(nested)], check=True)
        try:
            os.chown(nested, USER, USER)
            script = f"ls -d {nested} && touch {nested}/x || echo refused"
            # the crew's zygote began before that mount; its namespace follows the host's
            with pytest.raises(LaunchError, match=rf"root: readable .*tools: {nested} is mounted below it"):
                place.sh(script, readable=(str(place.folder / "tools"),))
            assert place.sh(script, readable=(str(nested),)).out.split() == [str(nested), "refused"]
        finally:
            subprocess.run(["umount", str(nested)], check=True)


def test_the_root_holds_what_is_listed(place: Yard) -> None:
    top = place.workspace.parts[1]
    listed = set(place.sh("ls -A /").out.split())
    assert listed - {"bin", "sbin", "lib", "lib32", "lib64", "libx32"} == {
        "usr",
        "opt",
        "etc",
        "dev",
        "proc",
        "tmp",
        "home",
        top,
    }
    gone = "/sys /root /var /run /boot /mnt /srv /etc/shadow /etc/gshadow /etc/ssh /etc/machine-id /dev/kmsg /dev/mem /dev/vda /dev/fuse"
    assert place.sh(f"ls -d {gone}").out == ""
    assert place.sh("cat /etc/passwd | wc -l; cat /etc/hostname; hostname; ls -A ~ /tmp /dev/shm").out.split()[:3] == [
        "2",
        "sandbox",
        "sandbox",
    ]


def test_nothing_of_the_root_can_be_written(place: Yard) -> None:
    script = (
        "for d in / /usr /usr/bin /bin /etc /etc/ssl /opt /dev /dev/pts /proc /proc/sys /proc/sys/kernel /home; do "
        "touch $d/rsi-x 2>/dev/null && echo WROTE $d; done; "
        "for f in /etc/passwd /etc/hosts /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches "
        "/proc/sys/kernel/hostname /proc/irq/default_smp_affinity; do (echo 1 > $f) 2>/dev/null && echo WROTE $f; done; "
        "for d in ~ /tmp /dev/shm .; do touch $d/x || echo NOT $d; done; echo done"
    )
    assert place.sh(script).out == "done\n"


def test_what_proc_says_of_the_machine_is_covered(place: Yard) -> None:
    script = "for f in kcore keys key-users kmsg timer_list interrupts kallsyms cmdline; do cat /proc/$f 2>/dev/null; done; ls -A /proc/acpi /proc/driver 2>/dev/null | grep -v :; true"
    assert place.sh(script).out.strip() == ""
    assert "MemTotal" in place.sh("cat /proc/meminfo").out
    assert place.sh("ls /proc | grep -c '^[0-9]*$'").out in {"3\n", "4\n"}


def test_the_init_gives_nothing_away(place: Yard) -> None:
    script = "for f in environ maps mem fd cwd root exe; do (ls /proc/1/$f/ || cat /proc/1/$f || readlink /proc/1/$f) 2>/dev/null; done"
    assert place.sh(script).out == ""


def test_no_path_of_the_store_is_in_the_mount_table(place: Yard) -> None:
    out = place.sh("cat /proc/self/mountinfo").out
    assert "overlay" in out
    assert str(place.store) not in out


def test_scratch_space_is_limited(place: Yard) -> None:
    script = "for d in /tmp /dev/shm ~; do head -c 8M /dev/zero > $d/big; stat -c %s $d/big; rm $d/big; done"
    sizes = place.sh(script, tmp=4 << 20).out.split()
    assert sizes == [str(4 << 20)] * 3
    script = "import itertools\nfor n in itertools.count():\n  try: open(f'/tmp/{n}','x').close()\n  except OSError as e: print(n,e.errno);break"
    made, error = map(int, place.python(script, tmp=4 << 20).out.split())
    assert (1000 < made < 2100, error) == (True, errno.ENOSPC)


def test_a_terminal_can_be_made_and_is_nobody_elses(place: Yard) -> None:
    script = (
        "import os,pty\nm,s=pty.openpty()\nos.write(m,b'hello\\n')\nprint(os.ttyname(s),os.read(s,10),os.listdir('/dev/pts'))\n"
        "import fcntl\n"
        "for n in (0x5412,0x100005412,0x541c,0xffffffff00005412):\n"
        "  import ctypes;l=ctypes.CDLL(None,use_errno=True);print(l.syscall(16,s,ctypes.c_ulong(n),ctypes.c_char_p(b'x')),ctypes.get_errno())"
    )
    lines = place.python(script).out.splitlines()
    assert lines[0] == "/dev/pts/0 b'hello\\n' ['0', 'ptmx']" or lines[0] == "/dev/pts/0 b'hello\\n' ['ptmx', '0']"
    if os.uname().machine == "x86_64":
        assert lines[1:] == ["-1 1"] * 4
    assert place.sh("cat /dev/tty").status != 0


def test_loopback_works_and_leads_only_to_itself(place: Yard) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    script = (
        "import socket\nl=socket.create_server(('127.0.0.1',0));socket.create_connection(l.getsockname());print('own')\n"
        f"try:\n  socket.create_connection(('127.0.0.1',{port}),2);print('HOST')\nexcept OSError as e: print(e.errno)\n"
        "print(socket.gethostbyname('localhost'))"
    )
    assert place.python(script).out.split() == ["own", "111", "127.0.0.1"]
    listener.close()


def test_real_tools_work(place: Yard) -> None:
    script = (
        "printf '#include <stdio.h>\\nint main(){puts(\"compiled\");}' > a.c && gcc a.c -o a && ./a; "
        "git -c safe.directory=* --version | cut -c1-3; date +%Z; perl -e 'print 1+1'"
    )
    assert place.sh(script).out.split()[:3] == ["compiled", "git", "UTC"]


@pytest.mark.skipif(not IS_ROOT, reason="needs a closed folder of somebody else")
def test_as_root_a_toolchain_in_a_closed_home_can_be_shown() -> None:
    home = Path(tempfile.mkdtemp(prefix="rsi-home-"))
    try:
        with yard("root") as place:
            (home / "tools").mkdir()
            (home / "tools" / "x").write_text("shown\n")
            (home / "secret").write_text("hidden\n")
            assert place.sh(f"cat {home}/tools/x; ls -A {home}", readable=(f"{home}/tools",)).out.split() == [
                "shown",
                "tools",
            ]
    finally:
        remove(home)
