"""Pairs become incidents: one per group, with an id that stays and a cause in words."""

from pathlib import Path

import pytest

from rsi.analyze import causes, incidents
from rsi.analyze.causes import About
from rsi.model import CATEGORIES
from rsi.store.correlations import IncidentRow, PairRow

NOW = 1_790_000_000.0
DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "issues.md"


def pair(a, b, since=NOW - 600, until=NOW - 60, **fields):
    known = {"lag": 0, "times": 9, "expected": 0.2, "q": 0.004, "named": False}
    return PairRow(a=a, b=b, since=since, until=until, **{**known, **fields})


def about(issue, category="overloaded", sources=("app",), providers=("openai",), releases=()):
    return About(issue, category, frozenset(sources), frozenset(providers), frozenset(releases))


def abouts(*found):
    return {one.issue: one for one in found}


def there(id_, issues, **fields):
    return IncidentRow(id=id_, started=NOW - 900, last_seen=NOW - 120, issues=issues, **fields)


def test_what_hangs_together_is_one_incident_and_what_does_not_is_another():
    known = abouts(*(about(i, sources=[f"s{i}"]) for i in (1, 2, 3, 7, 8)))
    found = incidents.arrange([], [pair(1, 2), pair(2, 3), pair(7, 8)], known, NOW)
    assert sorted(one.issues for one in found) == [[1, 2, 3], [7, 8]]
    big = max(found, key=lambda one: len(one.issues))
    assert big.title == "3 issues move together across 3 sources"
    assert (big.started, big.last_seen, big.state) == (NOW - 600, NOW - 60, "open")
    assert len(big.links) == 2


def test_an_incident_that_grows_keeps_its_id():
    old = there(4, [1, 2])
    (found,) = incidents.arrange([old], [pair(2, 3)], abouts(about(2), about(3)), NOW)
    assert (found.id, found.issues, found.started) == (4, [1, 2, 3], NOW - 900)


def test_of_two_that_join_the_older_id_stays_and_the_other_redirects():
    found = incidents.arrange([there(4, [1, 2]), there(6, [3, 5])], [pair(2, 3)], abouts(about(2), about(3)), NOW)
    by_id = {one.id: one for one in found}
    assert by_id[4].issues == [1, 2, 3, 5]
    assert (by_id[6].merged_into, by_id[6].state) == (4, "over")


def test_an_incident_is_over_after_an_hour_without_anything_together():
    quiet = there(4, [1, 2])
    quiet.last_seen = NOW - incidents.QUIET_S - 1
    assert [one.state for one in incidents.arrange([quiet], [], {}, NOW)] == ["over"]
    assert incidents.arrange([there(4, [1, 2])], [], {}, NOW) == []


def test_an_incident_that_did_not_change_is_not_written_again():
    known = abouts(about(1), about(2))
    (found,) = incidents.arrange([], [pair(1, 2)], known, NOW)
    found.id = 1
    assert incidents.arrange([found], [pair(1, 2)], known, NOW + 1) == []


def test_evidence_says_the_lag_the_times_and_the_chance():
    (found,) = incidents.arrange(
        [], [pair(1, 2, lag=3, named=True)], abouts(about(1), about(2, "timeout_model")), NOW
    )  # fmt: skip
    assert found.links[0].says == (
        "i2 (timeout_model) follows i1 (overloaded) by 3 min: close together in 9 minutes of the last two days,"
        " 0.2 expected by chance (q 0.004; the taxonomy expects it)"
    )


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (about(1), about(2, "timeout_model"), "provider outage: openai"),
        (about(1), about(2, "connection", providers=()), "provider outage: openai"),
        (about(1, providers=()), about(2, "provider_5xx", providers=()), "provider outage (nobody said which provider)"),
        (about(1, "rate_limit"), about(2, "timeout_model"), "rate limit, and the retries that it brings: openai"),
        (about(1, "auth"), about(2, "permission"), "credentials or access that changed: openai"),
        (about(1, "context_overflow"), about(2, "output_parse"), "contexts that have grown too long (app)"),
        (about(1, "resource_exhausted"), about(2, "timeout_tool"), "machine out of memory, disk or processor time (app)"),
        (about(1, "context_lost"), about(2, "no_progress"), "lost context (app)"),
        (about(1, "refusal"), about(2, "quality"), "something about provider openai, which they share"),
        (about(1, "refusal", providers=(), releases=["2.4"]), about(2, "quality", ["web"], (), ["2.4"]),
         "something about release 2.4, which they share"),
        (about(1, "refusal", providers=()), about(2, "quality", providers=()), "something about source app, which they share"),
        (about(1, "refusal", ["a"], ()), about(2, "quality", ["b"], ()),
         "not known: they share no provider, release or source"),
    ],
)  # fmt: skip
def test_the_likely_cause_in_words(one, other, said):
    assert causes.likely([(one, other)]) == causes.likely([(other, one)]) == said


def test_another_provider_or_another_source_is_no_named_pair():
    assert causes.named(about(1), about(2, "timeout_model", providers=["anthropic"])) is None
    assert causes.named(about(1, "context_lost", ["a"]), about(2, "no_progress", ["b"])) is None
    assert causes.named(about(1), about(2, "timeout_model", ["other"])) is not None


def test_the_table_names_categories_that_exist():
    used = {name for row in causes.TABLE for name in row.leads | row.follows}
    assert used <= set(CATEGORIES)
    assert not used & {"not_a_failure", "unknown"}


def test_the_reference_shows_the_table_that_the_code_runs():
    assert causes.as_markdown() in DOCS.read_text()
