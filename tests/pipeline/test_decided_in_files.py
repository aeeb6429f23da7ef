"""What a person writes behind `state:` in a proposal is done, once, and nothing else in the file is."""

import os
import re
import shutil

import pytest
from loop_kit import Loop, advice, hand_clock, rule

from rsi.fix import edited, proposals


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A home with one proposal, made once."""
    path = tmp_path_factory.mktemp("waiting") / "home"
    with hand_clock():
        made = Loop(path)
        made.fail()
        made.pipeline.cycle()
        made.close()
    return path


@pytest.fixture
def loop(waiting, tmp_path):
    shutil.copytree(waiting, tmp_path / "home", symlinks=True)
    with hand_clock():
        made = Loop(tmp_path / "home")
        made.calls = 1_000  # ids that were not used yet
        made.pipeline.cycle()
        yield made
        made.close()


def the_file(loop):
    (path,) = loop.home.proposals.glob("*.md")
    return path


def edit(loop, pattern, new, path=None):
    path = path or the_file(loop)
    text = path.read_bytes().decode("utf-8-sig")
    assert re.search(pattern, text)
    path.write_text(re.sub(pattern, new, text, count=1), newline="")


def state(loop, new, path=None):
    edit(loop, r'(?m)^state: "proposed"', f"state: {new}", path)


def said(loop):
    return edited.parse(the_file(loop).read_text())


def journal(loop):
    return [(one["who"], one["what"]) for one in loop.fix().journal]


def wrong(loop):
    return [one for one in loop.pipeline.status()["troubles"] if one.startswith("proposals/")]


@pytest.mark.parametrize("word", ["approved", "approve", '"approved"', "'Approve'", "approved   # yes, please"])
def test_approved_in_the_file_is_approved_by_who_wrote_it(loop, word):
    state(loop, word)
    loop.pipeline.cycle()
    assert loop.fix().state == "approved"
    assert ("person:proposal file", "fix.approved") in journal(loop)
    assert loop.fix().evidence["approved"] == {"by": "person:proposal file", "now": False}
    assert said(loop).state == "approved"
    assert wrong(loop) == []


@pytest.mark.parametrize("word", ["rejected", "reject", '"REJECTED"'])
def test_rejected_in_the_file_is_rejected_for_good(loop, word):
    state(loop, word)
    loop.pipeline.cycle()
    assert loop.fix().state == "rejected"
    loop.pipeline.cycle()
    loop.restart()
    loop.pipeline.cycle()
    assert [what for who, what in journal(loop) if who.startswith("person")] == ["fix.rejected"]
    assert wrong(loop) == []


def test_windows_line_ends_and_a_mark_of_byte_order_are_read(loop):
    path = the_file(loop)
    text = path.read_text().replace('state: "proposed"', "state: approved").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    loop.pipeline.cycle()
    assert loop.fix().state == "approved"


def test_an_editor_that_replaces_the_file_and_keeps_its_time_is_noticed(loop):
    path = the_file(loop)
    loop.pipeline.cycle()
    before = path.stat()
    fresh = path.with_suffix(".new")
    fresh.write_text(path.read_text().replace('state: "proposed"', 'state: "approved"'))
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.replace(path)
    loop.pipeline.cycle()
    assert loop.fix().state == "approved"


def test_what_was_decided_while_the_daemon_was_away_is_done_after_its_start(loop):
    loop.close()
    state(loop, "approved")
    loop.open()
    loop.pipeline.cycle()
    assert loop.fix().state == "approved"


def test_a_decision_survives_news_that_would_have_rewritten_the_file(loop):
    state(loop, "approved")
    row = next(iter(loop.pipeline._proposed._written.values()))
    assert not proposals.write(loop.home.proposals, row, proposals.Background(why="news"))
    loop.pipeline.cycle()
    assert loop.fix().state == "approved"


def test_a_word_that_decides_nothing_is_answered_in_the_file_once_it_stands_still(loop):
    state(loop, "aproved")
    loop.pipeline.cycle()
    assert "write approved or rejected" in wrong(loop)[0]
    assert said(loop).state == "aproved"  # it may be half typed
    loop.pipeline.cycle()
    text = the_file(loop).read_text()
    assert said(loop).state == "proposed"
    assert re.search(r"(?m)^note: .*'aproved' decides nothing; write approved or rejected", text)
    assert loop.fix().state == "proposed"
    state(loop, "approved")
    loop.pipeline.cycle()
    assert loop.fix().state == "approved"
    assert wrong(loop) == []
    assert "note:" not in the_file(loop).read_text()


@pytest.mark.parametrize("word", ["verified", "canary", "kept_unverified", "approved now", "!!python/object:os.system"])
def test_a_file_cannot_move_a_fix_where_a_person_cannot(loop, word):
    state(loop, word)
    for _ in range(3):
        loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert not [who for who, _ in journal(loop) if who.startswith("person")]


def test_anything_else_that_was_changed_in_it_is_ignored(loop):
    before = loop.fix().change
    path = the_file(loop)
    text = path.read_text().replace('"max_attempts": 4', '"max_attempts": 6').replace('rule: "', 'rule: "x')
    path.write_text(text.replace('state: "proposed"', "state: approved\nnow: true"))
    loop.client()
    loop.pipeline.cycle()
    assert loop.fix().change == before
    assert (loop.fix().state, loop.fix().evidence["approved"]["now"]) == ("canary", False)
    assert '"max_attempts": 4' in the_file(loop).read_text()


def test_a_decision_about_another_change_is_stale(loop):
    edit(loop, r'(?m)^digest: "\w+"', 'digest: "0123456789abcdef"')
    state(loop, "approved")
    loop.pipeline.cycle()
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert "stale" in the_file(loop).read_text().split("---")[1]


def test_the_text_of_an_older_fix_decides_nothing_about_the_newer_one(loop):
    old = the_file(loop).read_text().replace('state: "proposed"', "state: approved")
    loop.use([rule(value={"max_attempts": 2})])
    loop.fail()
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["superseded", "proposed"]
    the_file(loop).write_text(old)
    loop.pipeline.cycle()
    assert "stale: f1 is superseded" in wrong(loop)[0]
    assert [fix.state for fix in loop.fixes()] == ["superseded", "proposed"]


def test_what_is_past_deciding_is_not_decided_again(loop):
    loop.client()
    loop.pipeline.approve("f1", "person:test")
    assert loop.fix().state == "canary"
    edit(loop, r'(?m)^state: "canary"', "state: rejected")
    loop.pipeline.cycle()
    loop.pipeline.cycle()
    assert loop.fix().state == "canary"
    assert "only what is proposed" in the_file(loop).read_text()


def test_advice_cannot_be_approved_and_says_so_in_its_file(tmp_path):
    with hand_clock():
        loop = Loop(tmp_path, [advice()])
        loop.fail(category="auth")
        loop.pipeline.cycle()
        state(loop, "approved")
        loop.pipeline.cycle()
        loop.pipeline.cycle()
        assert loop.fix().state == "proposed"
        assert "f1 is advice" in the_file(loop).read_text()
        loop.close()


def _link(path):
    target = path.parent.parent / "elsewhere.md"
    path.replace(target)
    path.symlink_to(target)


def _fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (_link, "a plain file"),
        (_fifo, "a plain file"),
        (lambda path: path.write_text(path.read_text() + "x" * edited.MAX_BYTES), "over 256 KiB"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\xff"), "not UTF-8"),
        (lambda path: path.chmod(0o666), "everybody may write"),
        (lambda path: path.write_text(path.read_text().replace("state:", "state: proposed\nstate:")), "there twice"),
    ],
    ids=["link", "fifo", "huge", "bytes", "everybody", "twice"],
)
def test_a_file_that_cannot_be_trusted_is_refused_and_named(loop, attack, why):
    state(loop, "approved")
    attack(the_file(loop))
    loop.pipeline.cycle()
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert len(wrong(loop)) == 1
    assert why in wrong(loop)[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(loop):
    state(loop, "approved")
    os.chown(the_file(loop), 12345, 12345)
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert "another user (uid 12345)" in wrong(loop)[0]


def test_a_copy_under_another_name_is_not_the_file(loop):
    copy = the_file(loop).with_name("copy.md")
    copy.write_text(the_file(loop).read_text().replace('state: "proposed"', "state: approved"))
    (copy.parent / "README.md").write_text("# state: approved\n")
    (copy.parent / "notes.md").write_text("---\nstate: approved\n---\n")
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert len(wrong(loop)) == 1
    assert "copy.md: not the file of f1" in wrong(loop)[0]
    copy.unlink()
    loop.pipeline.cycle()
    assert wrong(loop) == []


def test_half_a_front_matter_decides_nothing(loop):
    text = the_file(loop).read_text().replace('state: "proposed"', "state: approved")
    the_file(loop).write_text(text[: text.index("rule:")])
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"


def test_a_link_in_the_way_is_replaced_and_never_written_through(loop, tmp_path):
    path, victim = the_file(loop), tmp_path / "victim"
    victim.write_text("mine")
    path.unlink()
    path.symlink_to(victim)
    (path.parent / f".{path.name}.tmp").symlink_to(victim)
    loop.pipeline.reject("f1", "person:test")
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert said(loop).state == "rejected"
