"""Writing changes back: all or nothing, never outside, and undone byte for byte."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_kit import Spec, changes, plant, quick_folder, snapshot

from rsi.errors import ConflictError, MergeError, NotFoundError
from rsi.sandbox.merge import UndoLog, apply, fingerprint
from rsi.sandbox.model import Change, Entry

OLD: Spec = {
    "a.py": ("file", b"print(1)\n", 0o644),
    "run.sh": ("file", b"#!/bin/sh\n", 0o755),
    "gone.txt": ("file", b"bye\r\n", 0o640),
    "d/x": ("file", b"\0\1", 0o600),
    "d/y": ("file", b"y", 0o644),
    "empty": ("dir", 0o751),
    "l": ("link", "a.py"),
    "same": ("file", b"same", 0o604),
    "old/deep/z": ("file", b"z", 0o644),
    "node": ("file", b"a file", 0o644),
}
NEW: Spec = {
    "a.py": ("file", b"print(2)\n", 0o644),
    "run.sh": ("file", b"#!/bin/sh\necho\n", 0o755),
    "d/x": ("file", b"\0\1\2", 0o755),
    "d/y": ("file", b"y", 0o644),
    "l": ("file", b"no link any more", 0o644),
    "same": ("file", b"same", 0o604),
    "new/deep/name": ("file", b"n", 0o755),
    os.fsdecode(b"b\xffd\n"): ("file", b"name", 0o644),
    "old": ("file", b"was a folder", 0o644),
    "node/now": ("file", b"a folder", 0o644),
}


@pytest.fixture
def old(tmp_path):
    return plant(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path):
    return plant(tmp_path / "new", NEW)


@pytest.fixture
def target(tmp_path):
    return plant(tmp_path / "target", OLD)


def modified(path: str, source: Path, **more) -> Change:
    return Change(path=path, before=None, after=Entry(kind="file", mode=0o644, size=1, source=source, **more))


def test_the_target_becomes_the_new_tree_and_back(old, new, target, tmp_path):
    log = apply(changes(old, new), target, undo=tmp_path / "undo")
    assert snapshot(target) == snapshot(new)
    log.undo()
    assert snapshot(target) == snapshot(old)


def test_the_log_survives_a_restart_and_undo_is_idempotent(old, new, target, tmp_path):
    log = apply(changes(old, new), target, undo=tmp_path / "undo")
    again = UndoLog.load(log.folder)
    assert again.status == "applied"
    assert again.steps == log.steps
    assert json.loads(json.dumps(again.to_dict())) == log.to_dict()
    for _ in range(2):
        again.undo()
        assert snapshot(target) == snapshot(old)
    UndoLog.load(log.folder).undo()
    assert snapshot(target) == snapshot(old)


def test_the_log_names_both_hashes_and_is_private(old, new, target, tmp_path):
    log = apply(changes(old, new), target, undo=tmp_path / "undo")
    step = next(step for step in log.steps if step.path == "a.py")
    assert len(step.before.sha256) == len(step.after.sha256) == 64
    assert step.before.sha256 != step.after.sha256
    for place in [tmp_path / "undo", *(tmp_path / "undo").rglob("*")]:
        assert stat.S_IMODE(place.stat().st_mode) == (0o700 if place.is_dir() else 0o600), place
    log.discard()
    with pytest.raises(NotFoundError, match="no undo log"):
        UndoLog.load(log.folder)


def test_by_default_the_log_is_in_the_state_folder_of_the_home(old, new, target, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert (tmp_path / "state" / "rsi" / "undo") in apply(changes(old, new), target).folder.parents
    assert apply(changes(new, old), target, home=target, allow_links=True).folder.parent == target / ".rsi" / "undo"


def test_a_log_inside_the_target_is_refused(old, new, target):
    with pytest.raises(MergeError, match=r"undo: .* inside the target"):
        apply(changes(old, new), target, undo=target / "undo")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (".git/hooks/pre-commit", "protected"),
        ("x/.git/hooks/post-checkout", "protected"),
        ("x/.GIT/config", "protected"),
        (".git./config", "protected"),
        (".git /config", "protected"),
        (".g\u200cit/config", "protected"),
        ("git~1/config", "protected"),
        (".git::$INDEX_ALLOCATION/config", "protected"),
        ("x\\.git\\config", "protected"),
        (".git", "protected"),
        (".rsi/rsi.db", "protected"),
        ("a/.Rsi/x", "protected"),
        ("../../etc/evil", "component"),
        ("/abs/evil", "absolute"),
        ("a/../b", "component"),
        ("a//b", "component"),
        ("./a", "component"),
        ("a/", "component"),
        ("", "empty"),
        ("a\0b", "NUL"),
        ("\ud800", "cannot hold"),
    ],
)
def test_a_name_that_may_not_be_written_stops_everything(path, reason, target, tmp_path):
    (tmp_path / "ok").write_text("x")
    before = snapshot(tmp_path)
    with pytest.raises(MergeError, match=reason) as caught:
        apply([modified("fine", tmp_path / "ok"), modified(path, tmp_path / "ok")], target, undo=tmp_path / "undo")
    assert [refusal.path for refusal in caught.value.refusals] == [path]
    assert snapshot(tmp_path) == before


def test_every_refusal_is_in_the_error(target, tmp_path):
    (tmp_path / "ok").write_text("x" * 100)
    fifo = Change(path="f", before=None, after=Entry(kind="other", mode=0o644))
    big = Change(path="big", before=None, after=Entry(kind="file", mode=0o644, size=100, source=tmp_path / "ok"))
    link = Change(path="ln", before=None, after=Entry(kind="symlink", mode=0o777, link="a.py"))
    twice = modified("t", tmp_path / "ok")
    with pytest.raises(MergeError) as caught:
        apply([fifo, big, link, twice, twice], target, max_bytes=50, undo=tmp_path / "undo")
    assert [refusal.path for refusal in caught.value.refusals] == ["f", "big", "ln", "t"]
    for word in ("fifo", "max_bytes", "symlink", "twice"):
        assert word in str(caught.value)


def test_limits_hold_against_what_a_change_says_of_itself(target, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 1000)
    lying = Change(path="big", before=None, after=Entry(kind="file", mode=0o644, size=1, source=tmp_path / "big"))
    before = snapshot(target)
    for limits, word in (
        ({"max_bytes": 999}, "max_bytes"),
        ({"max_total": 999}, "max_total"),
        ({"max_paths": 0}, "max_paths"),
    ):
        with pytest.raises(MergeError, match=word):
            apply([lying], target, undo=tmp_path / "undo", **limits)
    assert snapshot(target) == before
    assert list((tmp_path / "undo").iterdir()) == []


def test_a_parent_that_is_a_link_is_never_followed(target, tmp_path):
    outside = plant(tmp_path / "outside", {"secret": ("file", b"TOP", 0o644)})
    (target / "sub").symlink_to(outside)
    (tmp_path / "ok").write_text("evil")
    gone = Change(path="sub/secret", before=Entry(kind="file", mode=0o644), after=None)
    for change in (modified("sub/through", tmp_path / "ok"), modified("sub/secret", tmp_path / "ok"), gone):
        with pytest.raises(MergeError, match="never followed"):
            apply([change], target, undo=tmp_path / "undo")
    assert snapshot(outside) == {"secret": ("file", b"TOP", 0o644)}


def test_a_link_is_replaced_and_not_followed(target, tmp_path):
    (tmp_path / "secret").write_text("TOP")
    (target / "lnk").symlink_to(tmp_path / "secret")
    (tmp_path / "ok").write_text("new")
    log = apply([modified("lnk", tmp_path / "ok")], target, undo=tmp_path / "undo")
    assert not (target / "lnk").is_symlink()
    assert (target / "lnk").read_text() == "new"
    assert (tmp_path / "secret").read_text() == "TOP"
    log.undo()
    assert (target / "lnk").readlink() == tmp_path / "secret"


def test_a_source_behind_a_link_is_not_read(target, tmp_path):
    layer = tmp_path / "layer"
    layer.mkdir()
    (tmp_path / "secret").write_text("TOP")
    (layer / "x").symlink_to(tmp_path / "secret")
    (layer / "d").symlink_to(tmp_path)
    os.mkfifo(layer / "pipe")
    for path in ("x", "d/secret", "pipe"):
        with pytest.raises(MergeError, match=path):
            apply([modified(path, layer / path)], target, undo=tmp_path / "undo")
    assert snapshot(target) == snapshot(plant(tmp_path / "clean", OLD))


def test_set_uid_is_stripped_and_execute_is_kept(target, tmp_path):
    (tmp_path / "ok").write_text("x")
    after = Entry(kind="file", mode=0o6777, size=1, source=tmp_path / "ok")
    folder = Entry(kind="directory", mode=0o7777)
    apply(
        [Change(path="s", before=None, after=after), Change(path="f", before=None, after=folder)],
        target,
        undo=tmp_path / "undo",
    )
    assert stat.S_IMODE((target / "s").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "f").stat().st_mode) == 0o755


def test_a_changed_file_keeps_the_targets_mode_and_owner(target, tmp_path):
    (target / "a.py").chmod(0o4640)
    owner = (12345, 12346) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    if os.geteuid() == 0:
        os.chown(target / "a.py", *owner)
        os.chown(target, *owner)
        (target / "a.py").chmod(0o4640)
    (tmp_path / "ok").write_text("x")
    side = Entry(kind="file", mode=0o644, size=1, source=tmp_path / "ok")
    log = apply(
        [Change(path="a.py", before=side, after=side), Change(path="n", before=None, after=side)],
        target,
        undo=tmp_path / "undo",
    )
    seen = (target / "a.py").stat()
    assert (stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid) == (0o640, *owner)
    seen = (target / "n").stat()
    assert (seen.st_uid, seen.st_gid) == owner
    log.undo()
    seen = (target / "a.py").stat()
    assert (stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid) == (0o4640, *owner)


def link(path: str, text: str) -> Change:
    return Change(path=path, before=None, after=Entry(kind="symlink", mode=0o777, link=text))


@pytest.mark.parametrize("text", ["/etc/passwd", "../out", "d/../../out", ".git/config", "x/../.rsi", "", "a\0"])
def test_a_link_that_leaves_is_refused_even_when_links_are_allowed(text, target, tmp_path):
    with pytest.raises(MergeError, match="symlink"):
        apply([link("n", text)], target, allow_links=True, undo=tmp_path / "undo")
    assert not (target / "n").is_symlink()


def test_a_link_that_stays_is_made_when_the_caller_says_so(target, tmp_path):
    log = apply([link("d/up", "../a.py"), link("n", "not/yet")], target, allow_links=True, undo=tmp_path / "undo")
    assert (target / "d/up").read_text() == "print(1)\n"
    assert (target / "n").readlink() == Path("not/yet")
    log.undo()
    assert snapshot(target) == snapshot(plant(tmp_path / "clean", OLD))


def test_a_folder_goes_only_when_nothing_foreign_is_in_it(target, tmp_path):
    gone = [
        Change(path="d", before=Entry(kind="directory", mode=0o755), after=None),
        Change(path="d/x", before=Entry(kind="file", mode=0o600), after=None),
        Change(path="d/y", before=Entry(kind="file", mode=0o644), after=None),
    ]
    (target / "d/mine").write_text("kept")
    with pytest.raises(MergeError, match="d: a folder that is not empty: 'mine'"):
        apply(gone, target, undo=tmp_path / "undo")
    (target / "d/mine").unlink()
    log = apply(gone, target, undo=tmp_path / "undo")
    assert not (target / "d").exists()
    log.undo()
    assert snapshot(target) == snapshot(plant(tmp_path / "clean", OLD))


def test_a_folder_where_a_file_was_meant_is_not_touched(target, tmp_path):
    (tmp_path / "ok").write_text("x")
    for change in (
        modified("empty", tmp_path / "ok"),
        Change(path="empty", before=Entry(kind="file", mode=0o644), after=None),
    ):
        with pytest.raises(MergeError, match="empty: a folder is in its place"):
            apply([change], target, undo=tmp_path / "undo")


def test_names_below_a_file_of_the_same_changes_are_refused(target, tmp_path):
    (tmp_path / "ok").write_text("x")
    with pytest.raises(MergeError, match="n/below: lies below 'n'"):
        apply([modified("n", tmp_path / "ok"), modified("n/below", tmp_path / "ok")], target, undo=tmp_path / "undo")


def test_the_base_that_changed_while_it_was_checked_is_refused_by_name(old, new, target, tmp_path):
    base = fingerprint(target, ["a.py"])
    (target / "same").write_text("edited meanwhile")
    with pytest.raises(MergeError, match="base changed while it was checked: same"):
        apply(changes(old, new), target, expect=base, undo=tmp_path / "undo")
    assert list((tmp_path / "undo").iterdir()) == []
    apply(changes(old, new), target, expect=fingerprint(target, ["a.py"]), undo=tmp_path / "undo")


@pytest.mark.parametrize("path", ["a.py", "d/x", "l", "gone.txt", "old", "node/now", "new/deep/name"])
def test_undo_refuses_what_somebody_changed_since(path, old, new, target, tmp_path):
    log = apply(changes(old, new), target, undo=tmp_path / "undo")
    (target / path).unlink(missing_ok=True)
    (target / path).write_text("by hand")
    before = snapshot(target)
    with pytest.raises(ConflictError, match=path):
        log.undo()
    assert snapshot(target) == before
    log.undo(force=True)
    assert snapshot(target) == snapshot(old)


def test_undo_leaves_foreign_files_even_when_forced(old, new, target, tmp_path):
    log = apply(changes(old, new), target, undo=tmp_path / "undo")
    (target / "new/deep/mine").write_text("kept")
    with pytest.raises(ConflictError, match="new/deep holds mine"):
        log.undo()
    log.undo(force=True)
    assert (target / "new/deep/mine").read_text() == "kept"
    shutil.rmtree(target / "new")
    assert snapshot(target) == snapshot(old)


def test_undo_does_not_restore_damaged_bytes(old, new, target, tmp_path):
    log = apply(changes(old, new), target, undo=tmp_path / "undo")
    for blob in (log.folder / "old").iterdir():
        blob.write_bytes(b"damaged")
    with pytest.raises(MergeError, match="sha256"):
        log.undo()


def test_what_is_there_already_is_no_step(old, target, tmp_path):
    log = apply([*changes(target, old), modified("same2", old / "a.py")], target, undo=tmp_path / "undo")
    assert log.paths == ["same2"]
    gone = Change(path="never/was", before=Entry(kind="file", mode=0o644), after=None)
    assert apply([gone], target, undo=tmp_path / "undo").steps == ()


_NODE = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=8), st.sampled_from([0o644, 0o755, 0o600])),
    st.tuples(st.just("link"), st.sampled_from(["a", "nowhere"])),
    st.tuples(st.just("dir"), st.sampled_from([0o755, 0o700])),
)
_PATH = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


def _tree(raw: Spec) -> Spec:
    above = [path for path, what in raw.items() if what[0] != "dir"]
    return {path: what for path, what in raw.items() if not any(path.startswith(f"{other}/") for other in above)}


@settings(max_examples=60, deadline=None)
@given(
    first=st.dictionaries(_PATH, _NODE, max_size=8).map(_tree),
    then=st.dictionaries(_PATH, _NODE, max_size=8).map(_tree),
)
def test_any_tree_becomes_any_other_and_back(first, then):
    with quick_folder() as root:
        one, two, here = plant(root / "one", first), plant(root / "two", then), plant(root / "here", first)
        log = apply(changes(one, two), here, allow_links=True, undo=root / "undo")
        assert snapshot(here) == snapshot(two)
        UndoLog.load(log.folder).undo()
        assert snapshot(here) == snapshot(one)
