"""Keys in files of the user's: what may be edited, how it composes, and whose word counts in the end."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rsi.config import Bounds, Config, SourceConfig, Target
from rsi.config import parse as parse_config
from rsi.errors import ConfigError, ConflictError, InvalidInputError
from rsi.fix.targets import (
    FILE_HASH,
    TargetChangedError,
    TargetRefusedError,
    is_file_target,
    name_of,
    prune,
    renew,
    resolve,
    standing,
    turns,
    worth,
)
from rsi.fix.targets.formats import yaml_text
from rsi.fix.targets.formats.yaml_text import MAX_CHARS, MAX_EVENTS
from rsi.fix.targets.model import MAX_FILE_BYTES
from rsi.model import Change

RETRIES = Target(file="c.yaml", key="llm.retries", type="int", min=0, max=9)
WAIT = Target(file="c.yaml", key="llm.wait", type="float", min=0.1, max=60)
MODEL = Target(file="c.yaml", key="llm.model", type="str", enum=["a", "b", "it's"])
CONFIG = Config(targets=[RETRIES, WAIT, MODEL])
TEXT = "# mine\nllm:\n    retries:   2   # tries\n    wait: 1.5\n    model: 'a'\n\nother: [1,2]\n"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "c.yaml").write_text(TEXT)
    return tmp_path


def retries(home):
    return resolve(name_of(RETRIES), home, CONFIG)


def wait(home):
    return resolve(name_of(WAIT), home, CONFIG)


def text(home):
    return (home / "c.yaml").read_bytes().decode()


def put(home, target, after, fix="f1"):
    return target.apply(target.make(after), undo=home / ".rsi" / "backups" / fix)


def one_key(home, name, content, key, **limits):
    """A target for one key of a file that is written first."""
    (home / name).write_bytes(content.encode() if isinstance(content, str) else content)
    declared = Target(file=name, key=key, **({"type": "int", "min": 0, "max": 100} | limits))
    return resolve(name_of(declared), home, Config(targets=[declared]))


# --- the way there and back


def test_only_the_values_own_characters_change_and_come_back(home):
    applied = put(home, retries(home), {"llm.retries": 4})
    assert text(home) == TEXT.replace("2   #", "4   #")
    assert retries(home).revert(applied).how == "bytes"
    assert text(home) == TEXT


def test_a_change_says_what_was_before_and_within_which_limits(home):
    change = retries(home).make({"llm.retries": 4})
    assert change.before["llm.retries"] == 2
    assert len(change.before[FILE_HASH]) == 64
    assert change.bounds == {"llm.retries": {"min": 0, "max": 9}}
    assert retries(home).summary(change) == "c.yaml#llm.retries: 2 → 4"


def test_the_diff_is_unified_and_writes_nothing(home):
    diff = retries(home).diff(retries(home).make({"llm.retries": 4}))
    assert "--- a/c.yaml\n+++ b/c.yaml\n" in diff
    assert "\n-    retries:   2   # tries\n+    retries:   4   # tries\n" in diff
    assert text(home) == TEXT


def test_a_secret_beside_the_key_does_not_show_in_the_diff(home):
    secret = "sk-ant-REDACTED" + "AbCdEf0123456789" * 4
    target = one_key(home, "a.json", f'{{"api_key": "{secret}", "n": 1}}', "n")
    assert secret not in target.diff(target.make({"n": 2}))
    assert secret.encode() in target.preview(target.make({"n": 2})).after


def test_state_tells_before_after_and_changed(home):
    target = retries(home)
    change = target.make({"llm.retries": 4})
    assert target.state(change) == "before"
    applied = target.apply(change, undo=home / ".rsi/backups/f1")
    assert target.state(change) == "after"
    (home / "c.yaml").write_text(TEXT.replace("2 ", "7 "))
    assert target.state(change) == "changed"
    assert applied.before_sha256 == change.before[FILE_HASH]


def test_quoting_stays_and_a_text_that_needs_quotes_gets_them(home):
    put(home, resolve(name_of(MODEL), home, CONFIG), {"llm.model": "it's"})
    assert "model: 'it''s'\n" in text(home)


def test_mode_and_backup_are_kept(home):
    (home / "c.yaml").chmod(0o640)
    applied = put(home, retries(home), {"llm.retries": 4})
    assert stat.S_IMODE((home / "c.yaml").stat().st_mode) == 0o640
    assert (Path(applied.undo) / "before").read_text() == TEXT
    assert stat.S_IMODE(Path(applied.undo).stat().st_mode) == 0o700
    assert sorted(path.name for path in home.iterdir()) == [".rsi", "c.yaml"]


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_the_users_attributes_are_kept(home):
    try:
        os.setxattr(home / "c.yaml", "user.note", b"mine")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    put(home, retries(home), {"llm.retries": 4})
    assert os.getxattr(home / "c.yaml", "user.note") == b"mine"


def test_reverting_twice_is_once_and_applying_twice_is_once(home):
    target = retries(home)
    change = target.make({"llm.retries": 4})
    undo = home / ".rsi/backups/f1"
    assert target.apply(change, undo=undo) == target.apply(change, undo=undo)
    assert target.revert(standing(home)[0]).how == "bytes"
    assert target.revert(target_applied(home, change, undo)).how == "nothing"
    with pytest.raises(ConflictError, match="needs a new fix"):
        target.apply(change, undo=undo)


def target_applied(home, change, undo):
    from rsi.fix.targets import Applied

    return Applied(fix=undo.name, target=change.target, file="c.yaml", undo=str(undo), before_sha256="", now_sha256="")


@pytest.mark.parametrize(
    ("name", "content", "key", "after"),
    [
        ("a.yaml", "x:\n  a: 1\n", "x.n", "x:\n  n: 5\n  a: 1\n"),
        ("a.yaml", "x: {a: 1}", "x.n", "x: {n: 5, a: 1}"),
        ("a.json", '{"x":{ "a":1}}', "x.n", '{"x":{ "n": 5, "a":1}}'),
        ("a.json", '{\r\n  "a": 1\r\n}', "n", '{\r\n  "n": 5,\r\n  "a": 1\r\n}'),
        ("a.toml", "# t\r\n[x]\r\n  a = 1 # c\r\n", "x.n", "# t\r\n[x]\r\n  n = 5\r\n  a = 1 # c\r\n"),
    ],
)
def test_a_missing_key_is_added_before_the_first_and_taken_out_again(home, name, content, key, after):
    target = one_key(home, name, content, key)
    applied = put(home, target, {key: 5})
    assert (home / name).read_bytes().decode() == after
    assert target.revert(applied).how == "bytes"
    assert (home / name).read_bytes().decode() == content


# --- what is refused, by name


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (10, "above max"),
        (-1, "below min"),
        (2.5, "no int"),
        ("4", "no int"),
        (True, "no int"),
        (None, "no int"),
        (2, "changes nothing"),
    ],
)
def test_a_value_outside_of_its_declaration_is_refused(home, value, said):
    target = retries(home)
    change = Change(target=name_of(RETRIES), before={"llm.retries": 2}, after={"llm.retries": value})
    with pytest.raises(TargetRefusedError, match=said) as refused:
        target.validate(change, Bounds())
    assert (refused.value.file, refused.value.key) == ("c.yaml", "llm.retries")
    with pytest.raises(TargetRefusedError, match=said):
        target.apply(change, undo=home / ".rsi/backups/f1")
    assert text(home) == TEXT


def test_a_text_needs_an_enum_and_a_number_both_limits(home):
    target = one_key(home, "a.json", '{"m": "x", "n": 1}', "m", type="str", min=None, max=None)
    with pytest.raises(TargetRefusedError, match="add enum"):
        target.make({"m": "y"})
    target = one_key(home, "a.json", '{"m": "x", "n": 1}', "n", max=None)
    with pytest.raises(TargetRefusedError, match="add min and max"):
        target.make({"n": 2})


def test_the_bounds_of_the_knob_hold_for_its_key_too(home):
    target = one_key(home, "a.json", '{"n": 1}', "n", knob="retry", unit="retries")
    assert target.make({"n": 5}).bounds["n"]["max"] == Bounds().max_attempts - 1
    with pytest.raises(TargetRefusedError, match="above max"):
        target.make({"n": 6})


def test_what_the_file_holds_must_be_of_the_declared_type(home):
    with pytest.raises(TargetRefusedError, match="no int"):
        one_key(home, "a.json", '{"n": "1"}', "n").make({"n": 2})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("n: &a 1\nm: *a\n", "anchor"),
        ("m: &a 1\nn: *a\n", "alias"),
        ("n: 1\nn: 2\n", "twice"),
        ("m: {x: 1, x: 2}\nn: 1\n", "twice"),
        ("n: 1\n---\nn: 2\n", "2 documents"),
        ("a: &a {n: 1}\n<<: *a\n", "merge"),
        ("n: |\n  1\n", "block text"),
        ("n:\n", "no value"),
        ("n: !!int 1\n", "tag"),
        ("n: 0o7\n", "readers differ"),
        ("n: 1_0\n", "readers differ"),
        ("n: 1:30\n", "readers differ"),
        ("n: yes\n", "readers differ"),
        ("n: [1\n", "not YAML"),
        ("n: 1\n\tm: 2\n", "not YAML"),
        (b"n: \xff\n", "not UTF-8"),
        ("", "documents"),
        ("- 1\n", "no entries|entries, none"),
    ],
)
def test_yaml_that_means_more_than_it_says_is_refused_by_name(home, content, said):
    target = one_key(home, "a.yaml", content, "n")
    with pytest.raises(TargetRefusedError, match=said):
        target.make({"n": 5})


@pytest.mark.parametrize("content", ["x: &a\n  n: 1\ny: *a\n", "y: &a {n: 1}\nx: *a\n"])
def test_a_key_that_shows_in_two_places_is_refused(home, content):
    with pytest.raises(TargetRefusedError, match=r"anchor|alias"):
        one_key(home, "a.yaml", content, "x.n").make({"x.n": 5})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '{"n": 1, "n": 2}', "twice"),
        ("a.json", '{"n": 1,}', "not JSON"),
        ("a.json", '{"n": 1} // c', "not JSON"),
        ("a.json", '{"n": NaN}', "not JSON"),
        ("a.json", "[" * 100_000, "too deeply"),
        ("a.toml", "n = 1\nn = 2\n", "not TOML"),
        ("a.toml", "n = \n", "not TOML"),
        ("a.toml", "n = 1979-05-27\n", "no int"),
        ("a.ini", "n = 1\n", "files that end in"),
    ],
)
def test_json_and_toml_that_readers_disagree_about_are_refused(home, name, content, said):
    with pytest.raises(TargetRefusedError, match=said):
        one_key(home, name, content, "n").make({"n": 5})


def test_a_key_that_nobody_declared_is_out_of_reach(home):
    with pytest.raises(TargetRefusedError, match=r"list .* under targets"):
        resolve("file:c.yaml#other.0", home, CONFIG)
    with pytest.raises(TargetRefusedError, match="no other key"):
        retries(home).make({"llm.wait": 2.0})


@pytest.mark.parametrize(
    "name", ["file:c.yaml", "c.yaml#a", "policy:a/b", "lessons:a.md#x", "file:#a", "file:c.yaml#a..b"]
)
def test_what_is_no_target_says_what_one_looks_like(home, name):
    with pytest.raises(TargetRefusedError):
        resolve(name, home, CONFIG)
    assert is_file_target("file:c.yaml#a")
    assert not is_file_target("policy:a/b")


@pytest.mark.parametrize(
    "file",
    ["/etc/passwd.yaml", "../c.yaml", "a/../../c.yaml", ".rsi/x.yaml", ".git/x.yaml", "a/.GIT/x.yaml", "rsi.yaml", "RSI.yaml",
     "rules/fix/x.yaml", "inbox/x.json", "proposals/x.yaml", "./c.yaml", "a//c.yaml"],
)  # fmt: skip
def test_paths_out_of_the_home_and_into_rsi_itself_are_refused(home, file):
    with pytest.raises(TargetRefusedError):
        resolve(f"file:{file}#a", home, Config(targets=[Target(file=file, key="a", type="bool")]))


# --- attacks on the path


def test_links_are_never_followed(home, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "c.yaml").write_text(TEXT)
    (home / "c.yaml").unlink()
    (home / "c.yaml").symlink_to(outside / "c.yaml")
    with pytest.raises(TargetRefusedError, match="link"):
        retries(home).make({"llm.retries": 4})
    (home / "d").symlink_to(outside)
    declared = Target(file="d/c.yaml", key="llm.retries", type="int", min=0, max=9)
    with pytest.raises(TargetRefusedError, match="link"):
        resolve(name_of(declared), home, Config(targets=[declared])).make({"llm.retries": 4})
    assert (outside / "c.yaml").read_text() == TEXT


def test_a_link_put_there_after_planning_is_refused_too(home, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "c.yaml"
    outside.write_text(TEXT)
    change = retries(home).make({"llm.retries": 4})
    (home / "c.yaml").unlink()
    (home / "c.yaml").symlink_to(outside)
    with pytest.raises(TargetRefusedError, match="link"):
        retries(home).apply(change, undo=home / ".rsi/backups/f1")
    assert outside.read_text() == TEXT


def test_hard_links_fifos_folders_and_devices_are_refused(home):
    os.link(home / "c.yaml", home / "second.yaml")
    with pytest.raises(TargetRefusedError, match="hard link"):
        retries(home).make({"llm.retries": 4})
    for make, said in ((os.mkfifo, "regular"), (os.mkdir, "regular")):
        declared = Target(file=f"{said}-{make.__name__}.yaml", key="n", type="bool")
        make(home / declared.file)
        with pytest.raises(TargetRefusedError, match=said):
            resolve(name_of(declared), home, Config(targets=[declared])).make({"n": True})


def test_a_file_over_a_mebibyte_is_refused_with_the_limit(home):
    content = '{"n": 2}'
    target = one_key(home, "a.json", content + " " * (MAX_FILE_BYTES - len(content)), "n")
    assert target.make({"n": 4}).before["n"] == 2
    target = one_key(home, "a.json", content + " " * (MAX_FILE_BYTES - len(content) + 1), "n")
    with pytest.raises(TargetRefusedError, match=str(MAX_FILE_BYTES)):
        target.make({"n": 4})


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("#" * (MAX_CHARS - len(TEXT)) + "\n", f"{MAX_CHARS + 1} characters, YAML is edited up to {MAX_CHARS}"),
        ("many: [" + "1," * MAX_EVENTS + "]\n", f"YAML is edited up to {MAX_EVENTS}"),
    ],
)
def test_yaml_that_takes_more_than_about_a_second_to_read_is_refused_and_still_undone(home, rest, said):
    applied = put(home, retries(home), {"llm.retries": 4})
    change = retries(home).make({"llm.retries": 5})
    (home / "c.yaml").write_text(text(home) + rest)
    for ask in (
        lambda target: target.make({"llm.retries": 5}),
        lambda target: target.values(["llm.retries"]),
        lambda target: target.preview(change),
    ):
        with pytest.raises(TargetRefusedError, match=said):
            ask(retries(home))
    assert retries(home).revert(applied).how == "edit"
    assert text(home) == TEXT + rest


def test_the_longest_yaml_that_is_edited_is(home):
    (home / "c.yaml").write_text(TEXT + "#" * (MAX_CHARS - len(TEXT)))
    assert retries(home).make({"llm.retries": 4}).before["llm.retries"] == 2


def test_a_text_is_read_once_however_often_it_is_asked_about(home, monkeypatch):
    read: list[str] = []
    compose = yaml_text.compose
    monkeypatch.setattr(yaml_text, "compose", lambda text: (read.append(text), compose(text))[1])
    (home / "c.yaml").write_text(TEXT + "# of this test\n")
    for _ in range(3):
        change = retries(home).make({"llm.retries": 4})
        retries(home).diff(change)
        assert (retries(home).values(["llm.retries"]), retries(home).state(change)) == ({"llm.retries": 2}, "before")
    assert len(read) == len(set(read)) == 2, "the file as it is, and as it would be"


def test_documents_of_large_texts_are_not_kept(home):
    big = [TEXT + f"# {n}" + "#" * (yaml_text.MAX_CHARS - len(TEXT) - 9) for n in range(6)]
    for content in big:
        (home / "c.yaml").write_text(content)
        retries(home).make({"llm.retries": 4})
    kept = [content for content in big if content in yaml_text.read]
    assert kept == big[-len(kept) :]
    assert 1 <= len(kept) <= 3


def test_a_read_only_file_and_a_missing_one_are_refused_in_the_dry_run_too(home):
    change = retries(home).make({"llm.retries": 4})
    (home / "c.yaml").chmod(0o444)
    for ask in (
        lambda target: target.make({"llm.retries": 4}),
        lambda target: target.diff(change),
        lambda target: target.apply(change, undo=home / ".rsi/backups/f1"),
    ):
        with pytest.raises(TargetRefusedError, match="read-only"):
            ask(retries(home))
    assert retries(home).values(["llm.retries"]) == {"llm.retries": 2}
    assert text(home) == TEXT
    (home / "c.yaml").unlink()
    with pytest.raises(TargetRefusedError, match="no such file"):
        retries(home).make({"llm.retries": 4})


def test_the_undo_folder_lies_in_the_homes_backups(home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    change = retries(home).make({"llm.retries": 4})
    for undo in (elsewhere / "f1", home / "f1", home / ".rsi/backups/../f1", home / ".rsi/backups/.f1"):
        with pytest.raises(TargetRefusedError, match="undo folder"):
            retries(home).apply(change, undo=undo)
    assert text(home) == TEXT


# --- other writers


def test_a_file_that_changed_since_planning_is_refused_and_can_be_planned_again(home):
    change = retries(home).make({"llm.retries": 4})
    (home / "c.yaml").write_text(TEXT + "# more\n")
    with pytest.raises(TargetChangedError, match="plan it again"):
        retries(home).apply(change, undo=home / ".rsi/backups/f1")
    assert text(home) == TEXT + "# more\n"
    retries(home).apply(renew(change, home, CONFIG), undo=home / ".rsi/backups/f1")
    assert "retries:   4" in text(home)


def test_a_writer_that_strikes_during_the_edit_wins(home, monkeypatch):
    """The last look is right before the rename."""
    change = retries(home).make({"llm.retries": 4})
    theirs = TEXT.replace("1.5", "9.5")
    fchmod = os.fchmod

    def strike(fd, mode):
        (home / "c.yaml").write_text(theirs)
        fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", strike)
    with pytest.raises(TargetChangedError, match="same moment"):
        retries(home).apply(change, undo=home / ".rsi/backups/f1")
    monkeypatch.undo()
    assert text(home) == theirs
    assert sorted(path.name for path in home.iterdir()) == [".rsi", "c.yaml"]
    retries(home).apply(renew(change, home, CONFIG), undo=home / ".rsi/backups/f1")
    assert retries(home).revert(standing(home)[0]).how == "bytes"
    assert text(home) == theirs


def test_what_the_user_edited_elsewhere_stays_and_only_the_key_goes_back(home):
    applied = put(home, retries(home), {"llm.retries": 4})
    (home / "c.yaml").write_text(text(home).replace("other: [1,2]", "other: [3]  # new"))
    said = retries(home).revert(applied)
    assert said.how == "edit"
    assert "others changed it" in said.says
    assert text(home) == TEXT.replace("other: [1,2]", "other: [3]  # new")


def test_what_the_user_wrote_in_the_very_key_stays(home):
    applied = put(home, retries(home), {"llm.retries": 4})
    (home / "c.yaml").write_text(text(home).replace("4", "7"))
    with pytest.raises(ConflictError, match="somebody set it to 7"):
        retries(home).revert(applied)
    assert "retries:   7" in text(home)
    retries(home).release(applied)
    assert retries(home).revert(applied).how == "nothing"
    assert standing(home) == []


def test_a_user_who_put_it_back_himself_is_not_a_conflict(home):
    applied = put(home, retries(home), {"llm.retries": 4})
    (home / "c.yaml").write_text(TEXT)
    assert retries(home).revert(applied).how == "bytes"
    assert text(home) == TEXT


def test_a_file_that_is_gone_or_broken_is_left_alone(home):
    applied = put(home, retries(home), {"llm.retries": 4})
    (home / "c.yaml").write_text("[broken")
    with pytest.raises(TargetChangedError, match="not YAML"):
        retries(home).revert(applied)
    (home / "c.yaml").unlink()
    with pytest.raises(TargetChangedError, match="gone"):
        retries(home).revert(applied)


def test_a_refused_edit_leaves_no_record(home, monkeypatch):
    change = retries(home).make({"llm.retries": 4})
    rename = os.rename

    def full(source, *rest, **folders):
        if source.endswith(".tmp") and source.startswith(".rsi-"):
            raise OSError(28, "No space left on device")
        rename(source, *rest, **folders)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(TargetRefusedError, match="No space left"):
        retries(home).apply(change, undo=home / ".rsi/backups/f1")
    assert standing(home) == []
    assert text(home) == TEXT


def test_what_was_taken_back_can_be_forgotten_and_what_stands_is_kept(home):
    first, second = (put(home, one, after, fix=fix) for one, after, fix in (
        (retries(home), {"llm.retries": 4}, "f1"), (wait(home), {"llm.wait": 3.0}, "f2")))  # fmt: skip
    retries(home).revert(first)
    assert prune(home) == 1
    assert [one.fix for one in standing(home)] == ["f2"]
    assert retries(home).revert(first).how == "nothing"
    wait(home).revert(second)
    assert text(home) == TEXT


def test_a_home_without_edits_loads_neither_reader():
    code = "import sys, rsi.fix.targets as t; print([m for m in ('ruamel', 'tomlkit') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- composition


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_fixes_on_one_key_are_undone_in_any_order(home, order):
    target = retries(home)
    applied = [put(home, target, {"llm.retries": value}, fix=f"f{value}") for value in (4, 5, 3)]
    values = {0: 4, 1: 5, 2: 3}
    for one in order:
        values.pop(one)
        target.revert(applied[one])
        assert f"retries:   {values[max(values)] if values else 2} " in text(home), "the newest that stands counts"
    assert text(home) == TEXT


def test_an_older_fix_under_a_newer_one_goes_without_touching_the_file(home):
    first, second = (put(home, retries(home), {"llm.retries": value}, fix=f"f{value}") for value in (4, 5))
    was = (home / "c.yaml").stat().st_mtime_ns
    assert retries(home).revert(first).how == "newer"
    assert (home / "c.yaml").stat().st_mtime_ns == was
    assert retries(home).revert(second).how == "bytes"


def test_fixes_on_two_keys_of_one_file_do_not_meet(home):
    first = put(home, retries(home), {"llm.retries": 4}, fix="f1")
    second = put(home, wait(home), {"llm.wait": 3.0}, fix="f2")
    assert retries(home).revert(first).how == "edit"
    assert text(home) == TEXT.replace("1.5", "3.0")
    wait(home).revert(second)
    assert text(home) == TEXT


def test_what_the_user_set_between_two_fixes_is_what_the_newer_goes_back_to(home):
    first = put(home, retries(home), {"llm.retries": 4}, fix="f1")
    (home / "c.yaml").write_text(text(home).replace("retries:   4", "retries:   7"))
    second = put(home, retries(home), {"llm.retries": 5}, fix="f2")
    retries(home).revert(first)
    retries(home).revert(second)
    assert "retries:   7" in text(home)


def test_an_added_key_that_a_newer_fix_changed_is_taken_out_in_any_order(home):
    target = one_key(home, "a.yaml", "x:\n  a: 1\n", "x.n")
    for older_first in (True, False):
        fixes = [put(home, target, {"x.n": value}, fix=f"f{value}-{older_first}") for value in (5, 6)]
        for applied in fixes if older_first else reversed(fixes):
            target.revert(applied)
        assert (home / "a.yaml").read_text() == "x:\n  a: 1\n"


# --- LiteLLM


PROXY = 'model_list: []\nrouter_settings:\n  num_retries: 1   # few\n  fallbacks: [{"main": ["old"]}]\n'
LITELLM = Config(
    targets=[Target(file="l.yaml", type="litellm", source="app")],
    sources={"app": SourceConfig(fallbacks=["backup", "old"])},
)


@pytest.fixture
def proxy(home):
    (home / "l.yaml").write_text(PROXY)
    return resolve("litellm:l.yaml", home, LITELLM)


def test_litellms_settings_are_edited_together_and_go_back(home, proxy):
    after = {"router_settings.num_retries": 3, "router_settings.timeout": 30.0,
             "router_settings.fallbacks": [{"main": ["backup"]}]}  # fmt: skip
    applied = put(home, proxy, after)
    assert (home / "l.yaml").read_text() == (
        "model_list: []\nrouter_settings:\n  timeout: 30.0\n  num_retries: 3   # few\n"
        '  fallbacks: [{"main": ["backup"]}]\n'
    )
    assert proxy.revert(applied).how == "bytes"
    assert (home / "l.yaml").read_text() == PROXY


def test_of_several_settings_those_that_the_user_changed_stay(home, proxy):
    applied = put(home, proxy, {"router_settings.num_retries": 3, "router_settings.timeout": 30.0})
    (home / "l.yaml").write_text((home / "l.yaml").read_text().replace("num_retries: 3", "num_retries: 2"))
    said = proxy.revert(applied)
    assert "router_settings.num_retries stays" in said.says
    assert (home / "l.yaml").read_text() == PROXY.replace("num_retries: 1", "num_retries: 2")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"router_settings.num_retries": 6}, "above max"),
        ({"router_settings.timeout": 601.0}, "above max"),
        ({"router_settings.timeout": 0.0}, "below min"),
        ({"router_settings.retry_after": 1.5}, "no int"),
        ({"general_settings.master_key": "x"}, "no setting"),
        ({"model_list": []}, "no setting"),
        ({"router_settings.fallbacks": [{"main": ["evil"]}]}, "no declared fallback"),
        ({"router_settings.fallbacks": ["backup"]}, "chains"),
        ({"router_settings.default_fallbacks": ["backup"] * 6}, "1 to 5"),
        ({"router_settings.default_fallbacks": ["evil"]}, "no declared fallback"),
    ],
)
def test_litellm_settings_have_limits_of_their_own(proxy, after, said):
    with pytest.raises(TargetRefusedError, match=said):
        proxy.make(after)


def test_a_key_declared_by_itself_narrows_litellms_limits(home):
    (home / "l.yaml").write_text(PROXY)
    narrow = Target(file="l.yaml", key="router_settings.num_retries", type="int", min=0, max=2)
    config = Config(targets=[Target(file="l.yaml", type="litellm"), narrow])
    with pytest.raises(TargetRefusedError, match="above max"):
        resolve("litellm:l.yaml", home, config).make({"router_settings.num_retries": 3})


# --- from knobs, and rsi.yaml


def test_a_knob_finds_the_keys_that_turn_it_in_its_scope():
    config = Config(
        targets=[
            Target(file="a.yaml", key="n", type="int", min=0, max=3, knob="retry", unit="retries", source="app"),
            Target(file="a.yaml", key="t", type="int", min=1, max=90_000, knob="timeout_s", unit="ms", task="search"),
            Target(file="a.yaml", key="x", type="int", min=1, max=9),
            Target(file="l.yaml", type="litellm"),
        ]
    )
    found = turns(config, "app", "search", "retry", {"max_attempts": 6, "initial_s": 0.5})
    assert [(one.target, one.after) for one in found] == [
        ("file:a.yaml#n", {"n": 3}),
        ("litellm:l.yaml", {"router_settings.num_retries": 5, "router_settings.retry_after": 1}),
    ]
    assert [one.after for one in turns(config, "b", "search", "timeout_s", 30)] == [
        {"t": 30_000},
        {"router_settings.timeout": 30},
    ]
    assert turns(config, "b", "other", "reask", {"max": 1}) == []


def test_tries_and_timeouts_are_never_turned_down_nor_concurrency_up():
    assert worth("retry", {"n": 2}, {"n": 3})
    assert not worth("retry", {"n": 5}, {"n": 3})
    assert worth("max_concurrency", {"n": 5}, {"n": 3})
    assert not worth("max_concurrency", {"n": 2}, {"n": 3})
    assert worth("timeout_s", {"n": None}, {"n": 3})


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"file": "a.yaml", "type": "int"}, "needs a key"),
        ({"file": "a.yaml", "type": "litellm", "key": "x"}, "takes no key"),
        ({"file": "a.yaml", "key": "x", "type": "int", "min": 3, "max": 1}, "above max"),
        ({"file": "a.yaml", "key": "x", "knob": "stop"}, "stop"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused_when_the_settings_are_read(target, said):
    with pytest.raises(ConfigError, match=said):
        parse_config({"targets": [target]})


def test_key_paths_quote_what_is_not_bare():
    from rsi.fix.targets.keypath import parse, shown

    assert parse('a."b.c".0') == ("a", "b.c", "0")
    assert shown(("a", "b.c", "ü")) == 'a."b.c"."\\u00fc"'
    assert parse(shown(("a", 'q"', ""))) == ("a", 'q"', "")
    for bad in ("", ".", "a.", "a b", '"a', "@file", ".".join("a" * 33)):
        with pytest.raises(InvalidInputError):
            parse(bad)
