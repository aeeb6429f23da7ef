"""What differs is read from the layers alone, whatever a command does to its tree."""

import os
import stat
from pathlib import Path

import pytest
from overlay_kit import applied, backend, letters, sh, tree, workspace

from rsi.errors import SandboxError
from rsi.sandbox.overlay.changes import changes
from rsi.sandbox.overlay.reader import Reader

FILES = {"a": "one\n", "d/x": "x\n", "d/y": "y\n", "d/deep/z": "z\n", "e/f": "f\n"}


@pytest.fixture
def box(tmp_path):
    mine = backend(tmp_path / "home")
    made = mine.open(workspace(tmp_path / "ws", FILES))
    yield made
    made.close()
    mine.drain()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("true", {}),
        ("echo two >> a", {"a": "M"}),
        ("rm a", {"a": "D"}),
        ("rm a; echo one > a", {}),
        ("touch a d; chown $(id -u) d/x", {}),
        ("echo new > n; rm n", {}),
        ("chmod 600 a", {"a": "M"}),
        ("chmod 700 d", {"d": "M"}),
        ("mkdir -p n/empty", {"n": "A", "n/empty": "A"}),
        ("rm -r d", {"d": "D", "d/x": "D", "d/y": "D", "d/deep": "D", "d/deep/z": "D"}),
        ("rm -r d; mkdir d", {"d/x": "D", "d/y": "D", "d/deep": "D", "d/deep/z": "D"}),
        ("rm -r d; mkdir -p d/deep; echo z > d/deep/z; echo n > d/n", {"d/x": "D", "d/y": "D", "d/n": "A"}),
        ("rm -r e; echo file > e", {"e": "M", "e/f": "D"}),
        ("rm -r e; ln -s d e", {"e": "M", "e/f": "D"}),
        ("rm a; mkdir -p a/b", {"a": "M", "a/b": "A"}),
        ("rm a; ln -s d/x a", {"a": "M"}),
        ("ln a h; ln a d/h", {"h": "A", "d/h": "A"}),
        ("ln a h; echo two >> h", {"a": "M", "h": "A"}),
        ("ln -s nowhere s; rm s; ln -s elsewhere s", {"s": "A"}),
        ("mkfifo p", {"p": "A"}),
        ("mv a b", {"a": "D", "b": "A"}),
        ("mv e g", {"e": "D", "e/f": "D", "g": "A", "g/f": "A"}),
        ("echo > 'new\nline'; echo > $(printf 'b\\377d')", {"new\nline": "A", "b\udcffd": "A"}),
        ("truncate -s 1M sparse", {"sparse": "A"}),
    ],
)
def test_each_way_to_change_a_tree_is_told_as_what_it_is(box, tmp_path, line, expected):
    base = tree(tmp_path / "ws")
    sh(box, line)
    found = box.changes()
    assert letters(found) == expected
    assert [change.path for change in found] == sorted(expected, key=os.fsencode)
    assert tree(tmp_path / "ws") == base
    seen = sh(box, "find . -mindepth 1 -print0").stdout_bytes
    assert set(applied(base, found)) == {os.fsdecode(name)[2:] for name in seen.split(b"\0") if name}


def test_the_same_is_told_when_each_step_is_a_layer_of_its_own(box):
    sh(box, "rm -r d; echo 1 > n")
    first = box.checkpoint("first")
    sh(box, "mkdir d; echo x > d/x; rm n; chmod 640 a")
    second = box.checkpoint("second")
    sh(box, "mkdir n; rm -r e; echo e > e; chmod 644 a")
    assert letters(box.changes()) == {"d/y": "D", "d/deep": "D", "d/deep/z": "D", "n": "A", "e": "M", "e/f": "D"}
    assert letters(box.changes(first.id, second.id)) == {"d": "A", "d/x": "A", "n": "D", "a": "M"}
    assert letters(box.changes(second.id, first.id)) == {"d": "D", "d/x": "D", "n": "A", "a": "M"}
    assert letters(box.changes(second.id)) == {"n": "A", "e": "M", "e/f": "D", "a": "M"}
    assert box.changes(first.id, first.id) == []


def test_sockets_and_fifos_are_other_and_have_no_bytes_to_merge(box):
    sh(box, "mkfifo p; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('s')\"")
    entries = {change.path: change.after for change in box.changes()}
    assert {path: (entry.kind, entry.source) for path, entry in entries.items()} == {
        "p": ("other", None),
        "s": ("other", None),
    }


def test_an_entry_carries_mode_size_bytes_and_link(box):
    sh(box, "printf 12345 > n; chmod 4711 n; ln -s 'to where' s; rm a")
    found = {change.path: change for change in box.changes()}
    after = found["n"].after
    assert (after.kind, after.mode, after.size, after.source.read_bytes()) == ("file", 0o4711, 5, b"12345")
    assert found["s"].after.link == "to where"
    assert (found["a"].before.size, found["a"].before.source.read_bytes()) == (4, b"one\n")


def test_what_a_command_closed_to_itself_is_read_and_given_back_closed(box):
    sh(box, "mkdir -p n/m; echo s > n/m/secret; chmod 000 n/m/secret n/m n")
    for _ in range(2):
        found = {change.path: change.after for change in box.changes()}
        assert {path: entry.mode for path, entry in found.items()} == {"n": 0, "n/m": 0, "n/m/secret": 0}
    assert sh(box, "stat -c %a n").stdout == "0\n"


# ---- layers that this kernel does not write, but another one may


def layers(tmp_path, *names):
    made = []
    for name in names:
        (tmp_path / "layers" / name).mkdir(parents=True)
        made.append(str(tmp_path / "layers" / name))
    return made


def test_a_whiteout_written_as_an_attribute_hides_the_name(tmp_path):
    base = workspace(tmp_path / "ws", FILES)
    [upper] = layers(tmp_path, "u")
    Path(f"{upper}/d").mkdir()
    os.setxattr(f"{upper}/d", "user.overlay.opaque", b"x")
    os.mknod(f"{upper}/d/x")
    os.setxattr(f"{upper}/d/x", "user.overlay.whiteout", b"")
    with Reader(str(tmp_path / "layers")) as reader:
        assert letters(changes(reader, (str(base),), (upper, str(base)))) == {"d/x": "D"}


def test_an_opaque_folder_in_the_middle_ends_what_is_merged(tmp_path):
    base = workspace(tmp_path / "ws", FILES)
    low, high = layers(tmp_path, "low", "high")
    for layer in (low, high):
        Path(f"{layer}/d").mkdir()
    os.setxattr(f"{low}/d", "user.overlay.opaque", b"y")
    os.mknod(f"{low}/d/n")
    os.mknod(f"{high}/d/n", stat.S_IFCHR, 0)
    with Reader(str(tmp_path / "layers")) as reader:
        found = letters(changes(reader, (str(base),), (high, low, str(base))))
        assert found == {"d/x": "D", "d/y": "D", "d/deep": "D", "d/deep/z": "D"}
        assert letters(changes(reader, (low, str(base)), (high, low, str(base)))) == {"d/n": "D"}


@pytest.mark.parametrize("name", ["user.overlay.redirect", "user.overlay.metacopy"])
def test_a_layer_whose_truth_is_elsewhere_is_refused(tmp_path, name):
    base = workspace(tmp_path / "ws", FILES)
    [upper] = layers(tmp_path, "u")
    Path(f"{upper}/d").mkdir()
    Path(upper, "a").write_text("two\n")
    os.setxattr(f"{upper}/{'d' if name.endswith('redirect') else 'a'}", name, b"/e")
    with Reader(str(tmp_path / "layers")) as reader, pytest.raises(SandboxError, match=name):
        changes(reader, (str(base),), (upper, str(base)))


def test_a_tree_too_deep_for_a_path_is_an_error_with_a_way_out(box):
    before = box.checkpoint("before")
    sh(box, "python3 -c \"import os\nfor _ in range(30): os.mkdir('d' * 200); os.chdir('d' * 200)\"")
    with pytest.raises(SandboxError, match="restore an earlier checkpoint"):
        box.changes()
    box.restore(before.id)
    assert box.changes() == []


def test_a_link_is_never_followed(box, tmp_path):
    (tmp_path / "secret").write_text("secret\n")
    sh(box, f"ln -s {tmp_path}/secret s; rm a; ln -s {tmp_path}/secret a; rm -r d; ln -s {tmp_path} d")
    found = {change.path: change.after for change in box.changes() if change.after}
    assert {entry.kind for entry in found.values()} == {"symlink"}
