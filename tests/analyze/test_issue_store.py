"""Reading, merging and splitting issues."""

from __future__ import annotations

import msgspec
import pytest
from analyze_world import BEGIN, DAY, HOUR, World

from rsi.analyze.observe import write
from rsi.errors import ConflictError, InvalidInputError, NotFoundError
from rsi.model import Change
from rsi.store import decisions, fingerprints, fixes, health, issue_rows, merges, outcomes
from rsi.store import issues as stored
from rsi.store.health import HealthRow
from rsi.store.impact import SEVERITY_WEIGHT

ALPHA, BETA, GAMMA = "alpha ran into a wall", "beta fell off the table", "gamma was eaten by the cat"


def stored_health(world: World) -> HealthRow:
    with world.store.read() as conn:
        return health.load(conn)["app", "search"]


def three(world: World) -> None:
    for text, times in ((ALPHA, 4), (BETA, 2), (GAMMA, 1)):
        for _ in range(times):
            world.add(error=text)
    world.cycle()


def merge(world: World, a: str, b: str) -> str:
    return world.store.write(lambda conn: stored.merge(conn, a, b, "person:test"))


def split(world: World, ref: str, fingerprint: int | None = None) -> stored.Split:
    return world.store.write(lambda conn: stored.split(conn, ref, "person:test", fingerprint))


def auto(world: World, new: int, into: int) -> bool:
    return world.store.write(lambda conn: stored.auto_merge(conn, new, into, "0.97 to i1, same class and codes"))


def hours(world: World, issue: int) -> tuple[int, int]:
    with world.store.read() as conn:
        rows = issue_rows.hours(conn, [issue], 0)
    return sum(row.n for row in rows), sum(row.unrecovered for row in rows)


def test_worst_first_and_page_by_page(world: World):
    three(world)
    whole = [one.id for one in world.issues()]
    assert [one.frequency for one in world.issues()] == [4, 2, 1]
    pages, cursor = [], None
    while True:
        with world.store.read() as conn:
            page, cursor = stored.list_issues(conn, limit=1, cursor=cursor)
        pages += [one.id for one in page]
        if cursor is None:
            break
    assert pages == whole


def test_filters_find_what_they_name(world: World):
    world.add(error="429 Too Many Requests", source="a", task="plan")
    world.add(error="Connection refused", source="b", task="act")
    world.cycle()
    for filters, category in (
        ({"source": "a"}, "rate_limit"),
        ({"task": "act"}, "connection"),
        ({"category": "connection"}, "connection"),
        ({"q": "too MANY"}, "rate_limit"),
        ({"source": "a", "task": "plan", "state": "new"}, "rate_limit"),
    ):
        assert [one.category for one in world.issues(**filters)] == [category]
    for nothing in ({"source": "a", "task": "act"}, {"q": "100%"}, {"q": "4_9"}, {"state": "resolved"}):
        assert world.issues(**nothing) == []


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 5000}, {"state": "open"}, {"cursor": "i7"}])
def test_a_wrong_filter_is_refused_by_name(world: World, wrong: dict[str, object]):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        world.issues(**wrong)


@pytest.mark.parametrize("ref", ["i1", "f1", "", "i", "1e9", "i99999999999999999999"])
def test_an_id_that_is_none_is_not_found(world: World, ref: str):
    with pytest.raises(NotFoundError):
        world.issue(ref)


def test_the_older_id_stays_and_the_other_redirects(world: World):
    three(world)
    young, old = world.issues(q="gamma")[0].id, world.issues(q="alpha")[0].id
    keep, gone = sorted((young, old))
    assert merge(world, young, old) == keep
    found = world.issue(gone)
    assert (found.id, found.frequency, found.unrecovered, found.why) == (keep, 5, 5, "merged by a person")
    assert hours(world, int(keep[1:])) == (5, 5)
    assert len(world.issues()) == 2


def test_later_failures_of_a_merged_template_go_to_the_older_issue(world: World):
    three(world)
    keep = merge(world, "i1", "i2")
    before = world.issue(keep).frequency
    world.fail(ALPHA)
    world.fail(BETA)
    world.fail(GAMMA)
    assert world.issue(keep).frequency >= before + 2 - (keep == "i3")


def test_a_chain_of_merges_redirects_all_the_way(world: World):
    three(world)
    merge(world, "i2", "i3")
    merge(world, "i1", "i2")
    assert {world.issue(ref).id for ref in ("i1", "i2", "i3")} == {"i1"}
    assert world.only().frequency == 7


def test_issues_of_different_categories_are_never_one(world: World):
    world.add(error="429 Too Many Requests")
    world.add(error="Connection refused")
    world.cycle()
    with pytest.raises(InvalidInputError, match="different categories"):
        merge(world, "i1", "i2")
    assert not auto(world, 2, 1)


def test_merging_an_issue_with_itself_is_refused(world: World):
    three(world)
    merge(world, "i1", "i2")
    with pytest.raises(InvalidInputError, match="same issue already"):
        merge(world, "i1", "i2")


def test_a_waiting_step_moves_with_its_issue(world: World):
    world.fail(ALPHA)
    world.fail(BETA, kind="tool", parent="run")
    merge(world, "i1", "i2")
    world.add(id="run", error=ALPHA)
    world.cycle()
    assert (world.only().frequency, world.only().unrecovered) == (3, 3)


def test_a_merge_between_reading_and_writing_loses_nothing(world: World):
    world.fail(ALPHA)
    world.fail(BETA, kind="tool", parent="run")
    world.add(id="run", error=ALPHA)
    world.add(error=BETA)
    with world.store.read() as conn:
        delta = world.observer.observe(conn, outcomes.since(conn, 2, 10), world.at, world.config)
    merge(world, "i1", "i2")
    world.store.write(lambda conn: write(conn, delta))
    assert (world.only().frequency, world.only().unrecovered) == (4, 4)
    assert hours(world, 1) == (4, 4)


def test_splitting_keeps_the_first_template_and_divides_the_counts(world: World):
    three(world)
    world.at += HOUR
    world.fail(BETA, times=3)
    merge(world, "i1", "i2")
    merge(world, "i1", "i3")
    before = world.only()
    made = split(world, "i1")
    kept, new = world.issue(made.kept), world.issue(made.made)
    assert kept.frequency + new.frequency == before.frequency == 10
    with world.store.read() as conn:
        first = fingerprints.of_cluster(conn, 1)
    assert len(first) == 1
    assert kept.frequency == first[0].n
    assert kept.title != new.title
    assert new.why == "split off i1 by a person"
    assert new.sample_errors
    assert set(new.sample_errors).isdisjoint(kept.sample_errors)
    assert hours(world, 1)[0] == kept.frequency


def test_one_template_can_be_split_off_alone(world: World):
    three(world)
    merge(world, "i1", "i2")
    merge(world, "i1", "i3")
    with world.store.read() as conn:
        target = next(one for one in fingerprints.of_cluster(conn, 1) if "beta" in one.template)
    made = split(world, "i1", target.id)
    assert "beta" in world.issue(made.made).title
    assert world.issue(made.made).frequency == 2
    with pytest.raises(NotFoundError, match="is not in i1"):
        split(world, "i1", target.id)


def test_what_cannot_be_split_says_so(world: World):
    three(world)
    with pytest.raises(ConflictError, match="one template only"):
        split(world, "i1")


def test_unrecovered_steps_leave_by_their_share(world: World):
    for n, ok in enumerate((True, True, False, False)):
        world.add(kind="tool", parent=f"run{n}", error=BETA, task="fetch")
        world.add(id=f"run{n}", error=None if ok else ALPHA, status="ok" if ok else "failed")
    world.cycle()
    merge(world, "i1", "i2")
    whole = world.only()
    made = split(world, "i1")
    parts = [world.issue(made.kept), world.issue(made.made)]
    assert sum(one.frequency for one in parts) == whole.frequency == 6
    assert sum(one.unrecovered for one in parts) == whole.unrecovered == 4
    assert sorted((one.frequency, one.unrecovered) for one in parts) == [(2, 2), (4, 2)]


def test_what_a_person_split_is_never_merged_by_similarity_again(world: World):
    three(world)
    merge(world, "i1", "i2")
    made = split(world, "i1")
    new = int(made.made[1:])
    assert not auto(world, new, 1)
    assert auto(world, 3, 1)
    assert not auto(world, new, 1)
    merge(world, made.made, "i1")  # a person may change their mind
    assert world.issue(made.made).id == "i1"


def test_similarity_merges_into_the_older_issue_and_says_why(world: World):
    three(world)
    assert auto(world, 1, 3)
    assert world.issue("i3").id == "i1"
    assert world.issue("i1").why == "0.97 to i1, same class and codes"
    assert not auto(world, 3, 1)
    assert not auto(world, 77, 1)


def test_a_resolved_issue_that_absorbs_a_fresher_active_one_is_active(world: World):
    three(world)
    world.store.write(lambda conn: stored.set_state(conn, "i1", "resolved", "person:test"))
    world.at += HOUR
    with world.store.read() as conn:
        texts = {one.id: one.template for one in fingerprints.by_id(conn, [1, 2, 3]).values()}
    world.fail(texts[2], times=2)
    merge(world, "i1", "i2")
    assert world.issue("i1").state == "ongoing"


def test_impact_is_the_share_of_tasks_that_failed_by_it(world: World):
    for _ in range(6):
        world.add()
    for text, times in (("429 Too Many Requests", 3), ("Connection refused", 1)):
        for _ in range(times):
            world.add(error=text)
    world.add(source="elsewhere")
    world.cycle()
    found = {one.category: one for one in world.issues()}
    assert found["rate_limit"].impact_score == pytest.approx(0.3)
    assert found["rate_limit"].failure_rate == pytest.approx(0.3)
    assert found["connection"].impact_score == pytest.approx(0.1)
    assert (found["rate_limit"].recurring, found["connection"].recurring) == (True, False)


def test_an_issue_of_steps_is_measured_against_its_sources_tasks(world: World):
    for n in range(10):
        failed = n < 2
        world.add(kind="tool", parent=f"run{n}", task="fetch", error="Connection refused") if failed else None
        world.add(id=f"run{n}", error="KeyError: 'x'" if failed else None, status="failed" if failed else "ok")
    world.cycle()
    (found,) = world.issues(category="connection")
    assert (found.failure_rate, found.impact_score) == (0.0, pytest.approx(0.2))


def test_the_issues_of_a_scope_cost_together_what_its_health_lost(world: World):
    """Each failed task failed by one issue; what is of low severity weighs half, in health as in impact."""
    for text, times in (("429 Too Many Requests", 5), ("Connection refused", 2), ("alpha ran into a wall", 3)):
        world.add_all([{"error": text}] * times)
    world.add_all([{}] * 30)
    world.cycle()
    row = stored_health(world)
    lost = row.failures / (row.failures + row.successes)
    assert sum(one.impact_score for one in world.issues()) == pytest.approx(
        lost, rel=0.1
    )  # health fades, impact does not
    weights = {one.id: SEVERITY_WEIGHT[one.severity] for one in world.issues()}
    blamed = sum(weights[one.id] * one.frequency for one in world.issues())
    assert sum(one.impact_score for one in world.issues()) == pytest.approx(blamed / 40)


def test_steps_cost_no_more_than_what_failed_around_them(world: World):
    """Ten failed calls in one failed task of four are a quarter, not everything; two tools have the tasks once."""
    for tool in ("fetch", "store"):
        world.add_all([{"kind": "tool", "task": tool, "parent": "run", "error": "Connection refused"}] * 10)
    world.add(id="run", error="KeyError: 'x'")
    world.add_all([{}] * 3)
    world.cycle()
    (found,) = world.issues(category="connection")
    assert found.impact_score == pytest.approx(0.25)


def test_an_issue_of_tasks_and_steps_has_the_tasks_around_it_once(world: World):
    world.add(error="Connection refused")
    world.add(kind="tool", task="fetch", error="Connection refused")
    world.add_all([{}] * 3)
    world.cycle()
    assert (world.only().failure_rate, world.only().impact_score) == (0.25, pytest.approx(0.25))


def test_what_lies_outside_the_window_does_not_count(world: World):
    world.fail(times=5)
    world.at = BEGIN + 8 * DAY
    world.succeed(4)
    found = world.only()
    assert (found.recurring, found.impact_score, found.frequency) == (False, 0.0, 5)


def test_scopes_name_where_it_struck(world: World):
    world.fail(times=2)
    world.fail(source="other", task="plan")
    world.succeed(6)
    with world.store.read() as conn:
        found = stored.scopes(conn, 1, int(BEGIN // HOUR))
    assert [tuple(one) for one in found] == [("app", "search", 2, 2, 2, 8), ("other", "plan", 1, 1, 1, 1)]


def row(world: World, ref: str) -> issue_rows.IssueRow:
    with world.store.read() as conn:
        return stored.get_row(conn, ref)


def test_an_ignored_issue_swallows_nothing_by_itself_and_is_swallowed_by_nobody(world: World):
    three(world)
    world.store.write(lambda conn: stored.set_state(conn, "i2", "ignored", "person:test"))
    assert not auto(world, 3, 2)
    assert not auto(world, 2, 1)
    assert auto(world, 3, 1)
    world.store.write(lambda conn: stored.set_state(conn, "i1", "ignored", "person:test"))
    assert auto(world, 2, 1)  # both are ignored
    assert world.issue("i2").state == "ignored"


def test_what_a_person_takes_out_of_an_ignored_issue_is_looked_at(world: World):
    three(world)
    merge(world, "i1", "i2")
    world.store.write(lambda conn: stored.set_state(conn, "i1", "ignored", "person:test"))
    made = split(world, "i1")
    assert (world.issue(made.kept).state, world.issue(made.made).state) == ("ignored", "ongoing")


def test_a_merge_by_a_person_takes_back_that_they_were_parted(world: World):
    three(world)
    merge(world, "i1", "i2")
    merge(world, "i1", "i3")
    made = split(world, "i1", 3)
    with world.store.read() as conn:
        assert merges.parted(conn) == {(1, 3), (2, 3)}
    merge(world, made.made, "i1")
    with world.store.read() as conn:
        assert merges.parted(conn) == set()


def test_a_person_who_merges_an_issue_of_many_means_all_of_them(world: World):
    three(world)
    assert auto(world, 3, 2)
    merge(world, "i1", "i2")
    with world.store.read() as conn:
        hashes = [one.hash for one in fingerprints.of_cluster(conn, 1)]
        tied = decisions.friends(conn, hashes[:1])
    assert {other for _, other in tied} == set(hashes[1:])


def test_what_was_live_is_divided_like_the_rest(world: World):
    three(world)
    merge(world, "i1", "i2")
    before = row(world, "i1").live
    made = split(world, "i1")
    kept, new = row(world, made.kept), row(world, made.made)
    assert 0 < new.live < before
    assert kept.live + new.live == before


def test_a_waiting_step_of_a_merged_issue_counts_also_after_another_merge(world: World):
    world.fail(ALPHA)
    world.fail(BETA)
    world.fail(GAMMA, kind="tool", parent="run")
    merge(world, "i2", "i3")
    merge(world, "i1", "i2")
    world.add(id="run", error=ALPHA)
    world.cycle()
    assert (world.only().frequency, world.only().unrecovered) == (4, 4)


def test_the_full_issue_lists_its_templates_with_the_numbers_that_split_takes(world: World):
    three(world)
    merge(world, "i1", "i2")
    with world.store.read() as conn:
        found = stored.in_full(conn, "i2")
    assert [(one.id, one.n) for one in found.templates] == [
        (1, row(world, "i1").frequency - found.templates[1].n),
        (2, found.templates[1].n),
    ]
    assert found.templates_total == 2
    assert all(one.template for one in found.templates)
    made = split(world, "i1", found.templates[0].id)
    with world.store.read() as conn:
        assert [one.id for one in stored.in_full(conn, made.made).templates] == [1]


def test_fixes_of_a_merged_issue_are_those_of_the_one_that_stays(world: World):
    three(world)
    new = fixes.NewFix(
        dedupe="d", issue=3, rule="r", category="unknown", source="app", task="search", knob="retry", title="t",
        safe=True, change=Change(target="policy:app/search", before={}, after={}, bounds={}), evidence={},
    )  # fmt: skip
    world.store.write(lambda conn: fixes.add(conn, new, world.at))
    merge(world, "i2", "i3")
    merge(world, "i1", "i2")
    with world.store.read() as conn:
        found = {ref: [one.issue for one in fixes.list_fixes(conn, issue=ref)] for ref in ("i1", "i2", "i3", "i9")}
    assert found == {"i1": ["i1"], "i2": ["i1"], "i3": ["i1"], "i9": []}
    late = msgspec.structs.replace(new, dedupe="e")
    assert world.store.write(lambda conn: fixes.add(conn, late, world.at)).issue == 1


def test_what_stands_for_a_merged_issue_is_what_resolved_it(world: World):
    world.fail(ALPHA, times=2)
    world.fail(BETA, times=3)
    new = fixes.NewFix(
        dedupe="d", issue=2, rule="r", category="unknown", source="app", task="search", knob="retry", title="t",
        safe=True, change=Change(target="policy:app/search", before={}, after={}, bounds={}), evidence={},
    )  # fmt: skip
    made = world.store.write(lambda conn: fixes.add(conn, new, world.at))
    world.store.write(lambda conn: fixes.change_to(conn, made.id, world.at, state="verified"))
    merge(world, "i1", "i2")
    for _ in range(4):
        world.at += DAY
        world.succeed(3)
    assert row(world, "i1").state == "resolved"
    assert row(world, "i1").resolved_by == "fix f1"
