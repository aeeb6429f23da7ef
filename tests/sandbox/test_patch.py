"""A patch is taken whole by the real `git apply`, back and forth, and by `patch -p1` where that can."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tree_kit import Spec, changes, plant, snapshot

from rsi.errors import MergeError, TooLargeError
from rsi.sandbox.lines import hunks
from rsi.sandbox.model import Change, Entry
from rsi.sandbox.patch import listing, patch

_LINE = st.sampled_from(
    [b"a\n", b"b\n", b"c\r\n", b"\n", b"--- a\n", b"+++ b\n", b"@@ -1 +1 @@\n", b"x\ry\n", b"\xff\xfe\n", b"end"]
)
_TEXT = st.lists(_LINE, max_size=30).map(b"".join)
_BYTES = st.one_of(_TEXT, _TEXT.map(lambda text: b"\0" + text), st.binary(max_size=300))
_NAME = st.sampled_from(
    [
        "a",
        "b b",
        "ü",
        "t\tab",
        'q"uote',
        "back\\slash",
        "new\nline",
        os.fsdecode(b"\xff\xfe"),
        "-dash",
        "a.txt ",
        "dev",
        "=",
        "b",
    ]
)
_PATH = st.lists(_NAME, min_size=1, max_size=2).map("/".join)
# A link to itself is left out: `git apply` itself cannot put a folder in its place (ELOOP).
_NODE = st.one_of(
    st.tuples(st.just("file"), _BYTES, st.sampled_from([0o644, 0o755])),
    st.tuples(st.just("link"), st.sampled_from(["z", "no/where", "é", "x\ny"])),
)


def _tree(raw: Spec) -> Spec:
    """Without a name that lies below a file."""
    return {path: what for path, what in raw.items() if not any(path.startswith(f"{other}/") for other in raw)}


TREES = st.dictionaries(_PATH, _NODE, max_size=6).map(_tree)


def git(folder: Path, data: bytes, *options: str) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", *options, "-"],
        cwd=folder,
        input=data,
        capture_output=True,
        env=env,
        check=False,
    )
    assert done.returncode == 0, (done.stderr, data)


def files_of(spec: Spec) -> Spec:
    return {path: what for path, what in spec.items() if what[0] != "dir"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=TREES, new=TREES)
def test_git_applies_it_forward_and_back(tmp_path, old, new):
    shutil.rmtree(tmp_path / "t", ignore_errors=True)
    a, b = plant(tmp_path / "t" / "a", old), plant(tmp_path / "t" / "b", new)
    here = plant(tmp_path / "t" / "here", old)
    data = patch(changes(a, b))
    if data:
        git(here, data)
        assert files_of(snapshot(here)) == files_of(new)
        git(here, data, "-R")
    assert files_of(snapshot(here)) == files_of(old)


@settings(max_examples=300, deadline=None)
@given(old=_TEXT, new=_TEXT)
def test_hunks_rebuild_the_new_text(old, new):
    assert _applied(old, b"".join(hunks(old, new))) == new


def _applied(old: bytes, diff: bytes) -> bytes:
    """A second, naive reader of unified hunks."""
    source = old.split(b"\n")
    source = [line + b"\n" for line in source[:-1]] + ([source[-1]] if source[-1] else [])
    out, at, lines = [], 0, diff.split(b"\n")[:-1]
    i = 0
    while i < len(lines):
        head = lines[i].split()
        start, _, count = head[1][1:].partition(b",")
        begin = int(start) - (count != b"0")
        out += source[at:begin]
        at = begin
        i += 1
        while i < len(lines) and not lines[i].startswith(b"@@"):
            mark, text = lines[i][:1], lines[i][1:] + b"\n"
            if i + 1 < len(lines) and lines[i + 1].startswith(b"\\"):
                text = text[:-1]
                i += 1
            if mark != b"+":
                assert source[at] == text
                at += 1
            if mark != b"-":
                out.append(text)
            i += 1
    return b"".join([*out, *source[at:]])


def test_gnu_patch_takes_text_links_and_names_with_blanks(tmp_path):
    if not shutil.which("patch"):
        pytest.skip("no patch(1) here")
    old = plant(
        tmp_path / "a",
        {"x": ("file", b"1\n2\n", 0o644), "go ne": ("file", b"z\n", 0o644), "crlf": ("file", b"1\r\n2\r\n", 0o644)},
    )
    spec = {
        "x": ("file", b"1\n3", 0o644),
        "d/new one": ("file", b"n\n", 0o755),
        "l": ("link", "x"),
        "crlf": ("file", b"1\r\n3\r\n", 0o644),
    }
    new = plant(tmp_path / "b", spec)
    data = patch(changes(old, new))
    subprocess.run(["patch", "-p1", "-s", "--binary"], cwd=old, input=data, check=True)
    assert files_of(snapshot(old)) == files_of(snapshot(new))


def test_a_mode_alone_and_an_empty_file_are_said(tmp_path):
    old = plant(tmp_path / "a", {"x": ("file", b"1\n", 0o644), "e": ("file", b"", 0o644)})
    new = plant(tmp_path / "b", {"x": ("file", b"1\n", 0o755), "f": ("file", b"", 0o644)})
    data = patch(changes(old, new))
    assert b"old mode 100644\nnew mode 100755\n" in data
    git(old, data)
    assert files_of(snapshot(old)) == files_of(snapshot(new))


def test_a_large_file_with_two_edits_has_two_small_hunks():
    old = [b"line %d\n" % i for i in range(20_000)]
    new = [b"first\n", *old[1:-1], b"last\n"]
    assert len(b"".join(hunks(b"".join(old), b"".join(new)))) < 300


def test_a_hostile_text_of_equal_lines_ends(tmp_path):
    old, new = b"a\nb\n" * 20_000, b"b\nb\na\n" * 15_000
    assert _applied(old, b"".join(hunks(old, new))) == new


def test_a_link_in_place_of_the_bytes_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("TOP")
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "x").symlink_to(tmp_path / "secret")
    (tmp_path / "layer" / "d").symlink_to(tmp_path)
    for path in ("x", "d/secret"):
        change = Change(path=path, before=None, after=Entry(kind="file", mode=0o644, source=tmp_path / "layer" / path))
        with pytest.raises(MergeError, match="cannot be read"):
            patch([change])


def test_what_a_patch_cannot_say_is_refused_or_named(tmp_path):
    plant(tmp_path, {"big": ("file", b"x" * 100, 0o644)})
    big = Change(path="big", before=None, after=Entry(kind="file", mode=0o644, size=100, source=tmp_path / "big"))
    fifo = Change(path="f\nf", before=None, after=Entry(kind="other", mode=0o644))
    with pytest.raises(TooLargeError, match="big: more than 99 bytes"):
        patch([big], max_bytes=99)
    with pytest.raises(MergeError, match="fifo"):
        patch([fifo])
    lines = patch([big, fifo], max_bytes=99, strict=False).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(b"# ") for line in lines)


def test_the_listing_has_one_line_for_each_change(tmp_path):
    made = Change(path="a\nb", before=None, after=Entry(kind="file", mode=0o644))
    gone = Change(path="c", before=Entry(kind="file", mode=0o644), after=None)
    assert listing([made, gone]) == 'A\t"a\\nb"\nD\tc\n'
