"""Similarity alone never merges; whatever tells two faults apart keeps them apart, and each decision says why."""

from __future__ import annotations

import itertools

import pytest

from rsi.analyze.cluster import MERGE_AT, RELATED_AT, Candidate, Item, decide, kept_codes, quoted_names

BASE = Item("i1", "provider_5xx", "Error code: 502 from 'gateway' for <id>", "httpx.HTTPStatusError")


def like(item: Item, **changes: str | None) -> Item:
    fields = {"id": "i3", "category": item.category, "template": item.template, "error_type": item.error_type}
    return Item(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_same_in_everything_and_near_enough_merges_and_says_why():
    found = decide(BASE, [Candidate(like(BASE, template="Error code: 502 out of 'gateway' for <id>"), 0.97)])
    assert found.merge is not None
    assert found.merge.id == "i3"
    assert found.merge.why == found.why == "0.97 to i3, same category, class, codes and names"
    assert found.related == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"category": "overloaded"}, "category provider_5xx not overloaded"),
        ({"error_type": "TimeoutError"}, "class HTTPStatusError not TimeoutError"),
        ({"error_type": None}, "class HTTPStatusError not none"),
        ({"template": BASE.template.replace("502", "504")}, "codes 502 not 504"),
        ({"template": BASE.template.replace("gateway", "proxy")}, "names gateway not proxy"),
        ({"template": BASE.template.replace("from", "not from")}, "one of them says not"),
        ({"template": BASE.template + " insufficient_quota"}, "codes none not insufficient_quota"),
    ],
)
def test_any_difference_that_matters_forbids_a_merge_even_at_cosine_one(changes: dict, reason: str):
    found = decide(BASE, [Candidate(like(BASE, **changes), 1.0)])
    assert found.merge is None
    assert [link.id for link in found.related] == ["i3"]
    assert reason in found.related[0].why
    assert found.why.startswith("new: nearest is 1.00 to i3")


def test_the_module_of_a_class_is_no_difference():
    assert decide(BASE, [Candidate(like(BASE, error_type="HTTPStatusError"), 0.96)]).merge


@pytest.mark.parametrize(
    ("cosine", "merges", "related"),
    [(MERGE_AT, True, 0), (MERGE_AT - 1e-6, False, 1), (RELATED_AT, False, 1), (RELATED_AT - 1e-6, False, 0)],
)
def test_thresholds_are_where_they_say(cosine: float, merges: bool, related: int):
    found = decide(BASE, [Candidate(like(BASE), cosine)])
    assert (found.merge is not None, len(found.related)) == (merges, related)


def test_what_a_person_split_never_merges_and_is_not_suggested_again():
    found = decide(BASE, [Candidate(like(BASE), 0.99)], split=lambda a, b: {a, b} == {"i1", "i3"})
    assert found.merge is None
    assert found.related == ()
    assert found.why == "new: a person parted it from everything near"


def test_the_order_of_candidates_does_not_matter():
    known = [
        Candidate(like(BASE, id=name), cosine) for name, cosine in [("a", 0.97), ("b", 0.97), ("c", 0.6), ("d", 0.1)]
    ]
    decisions = {decide(BASE, order) for order in itertools.permutations(known)}
    assert len(decisions) == 1
    (found,) = decisions
    assert found.merge
    assert found.merge.id == "a"
    assert [link.id for link in found.related] == ["b", "c"]


def test_it_is_never_its_own_candidate():
    assert decide(BASE, [Candidate(BASE, 1.0)]).merge is None


def test_nothing_known_is_said():
    assert decide(BASE, []).why == "new: nothing is known yet"
    assert decide(BASE, [Candidate(like(BASE), 0.2)]).why == "new: nearest is 0.20 to i3, too far"


def test_codes_are_what_masking_kept():
    assert kept_codes("Error code: 429 for gpt-4o, ECONNRESET, rate_limit_exceeded <num> [redacted:aws-4]") == {
        "429", "gpt-4o", "ECONNRESET", "rate_limit_exceeded",
    }  # fmt: skip
    assert kept_codes("nothing to keep") == frozenset()
    assert kept_codes("exit code 1") != kept_codes("exit code 137")


def test_quoted_names_are_not_placeholders_nor_apostrophes():
    assert quoted_names("No module named 'pandas' in \"site\" or `x`, don't mind '<path>'") == {"pandas", "site", "x"}


def test_what_is_only_rather_similar_does_not_merge():
    """Measured: "was / was not created" has .973, exit codes 1 and 137 .89, other causes up to .94."""
    assert decide(BASE, [Candidate(like(BASE), 0.94)]).merge is None
