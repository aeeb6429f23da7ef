"""What resembles what, by template; what is shown, by issue."""

import pytest

from rsi.errors import NotFoundError
from rsi.store import fingerprints, issue_rows, issues, merges, related
from rsi.store.fingerprints import NewTemplate, intern
from rsi.store.issue_rows import IssueRow
from rsi.store.related import Near
from tests.store.conftest import NOW

CATEGORIES = ("overloaded", "overloaded", "overloaded", "auth")


@pytest.fixture
def four(store):
    """Issues i1 to i4 of one template each, which has the same number; the last is of another category."""

    def job(conn):
        for n, category in enumerate(CATEGORIES, 1):
            made = intern(conn, [NewTemplate(category, f"h{n}", f"thing {n}", None, "rule:x", 1, None, "own")], NOW)
            (one,) = made.values()
            assert (one.id, one.cluster) == (n, n)
            row = IssueRow(id=n, category=category, title=f"title {n}", severity="high", state="new", state_at=NOW,
                           first_seen=NOW, last_seen=NOW, why="own", samples=[])  # fmt: skip
            issue_rows.create(conn, [row])

    store.write(job)
    return store


def put(store, **found):
    """`put(store, t1=[Near(2, .8, "")])`."""
    store.write(lambda conn: related.put(conn, {int(name[1:]): nears for name, nears in found.items()}))


def shown(store, issue, **more):
    with store.read() as conn:
        return [(one.issue, one.cosine, one.why) for one in related.of_issue(conn, issue, **more)]


def test_both_sides_are_shown_what_one_of_them_found_nearest_first(four):
    put(four, t3=[Near(1, 0.6, "other class"), Near(2, 0.8, ""), Near(4, 0.7, "other codes")])
    assert shown(four, "i3") == [
        ("i2", 0.8, "other wording only"), ("i4", 0.7, "other category, other codes"), ("i1", 0.6, "other class"),
    ]  # fmt: skip
    assert shown(four, "i1") == [("i3", 0.6, "other class")]
    assert shown(four, "i4") == [("i3", 0.7, "other category, other codes")]
    assert [one for one, *_ in shown(four, "i3", limit=2)] == ["i2", "i4"]


def test_placed_anew_replaces_what_it_found_and_not_what_others_found(four):
    put(four, t2=[Near(1, 0.6, "")], t3=[Near(2, 0.7, ""), Near(1, 0.9, "")])
    put(four, t3=[Near(4, 0.8, "")])
    assert shown(four, "i3") == [("i4", 0.8, "other category")]
    assert shown(four, "i2") == [("i1", 0.6, "other wording only")]
    put(four, t3=[])
    assert shown(four, "i4") == []


def test_ids_follow_merges_and_one_issue_is_not_related_to_itself(four):
    put(four, t3=[Near(2, 0.8, ""), Near(1, 0.9, "other class")])
    four.write(lambda conn: merges.merge(conn, "i1", "i2", "person:test"))
    assert shown(four, "i3") == [("i1", 0.9, "other class")]
    assert shown(four, "i2") == shown(four, "i1") == [("i3", 0.9, "other class")]
    four.write(lambda conn: merges.merge(conn, "i1", "i3", "person:test"))
    assert shown(four, "i1") == shown(four, "i3") == []


def test_what_a_person_parted_is_not_shown(four):
    four.write(lambda conn: merges.merge(conn, "i1", "i2", "person:test"))
    made = four.write(lambda conn: merges.split(conn, "i1", "person:test")).made
    put(four, t2=[Near(1, 0.99, ""), Near(3, 0.6, "")])
    assert shown(four, made) == [("i3", 0.6, "other wording only")]
    assert shown(four, "i1") == []


def test_a_template_that_left_for_another_issue_takes_its_likeness_along(four):
    put(four, t3=[Near(2, 0.8, "")])
    four.write(lambda conn: fingerprints.move(conn, [2], 4))
    assert shown(four, "i3") == [("i4", 0.8, "other category")]
    assert shown(four, "i2") == []


def test_an_issue_in_full_has_everything_of_the_list_and_what_is_related(four):
    put(four, t1=[Near(2, 0.8, "other names")])
    with four.read() as conn:
        found, plain = issues.in_full(conn, "i1"), issues.get_issue(conn, "i1")
        with pytest.raises(NotFoundError):
            issues.in_full(conn, "i99")
        assert related.of_issue(conn, "i99") == []
    assert all(getattr(found, name) == getattr(plain, name) for name in plain.__struct_fields__)
    (one,) = found.related
    assert (one.issue, one.title, one.category) == ("i2", "title 2", "overloaded")
