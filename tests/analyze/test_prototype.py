"""What is like a category and what is not: a clear lead decides, a tie never does, and some words are the rules' alone."""

import pytest

from rsi.analyze.prototype import COMPARED, LEADS, OVERRULES, SURE, Likeness, decide, open_to, remembered, subject
from rsi.classify import NEVER_RETRIED, retryable
from rsi.model import Category

LEAD, RIGHT = LEADS[0]
TEXT = "the thing went wrong again"


def like(*scores: tuple[str, float]) -> list[Likeness]:
    return [Likeness(category, score, f"a line about {category}") for category, score in scores]


def test_a_clear_lead_names_the_category_with_its_precision_and_says_why():
    found = decide(TEXT, like(("auth", 0.2), ("permission", 0.2 - LEAD - 0.01)))
    assert found is not None
    assert (found.category.name, found.category.by, found.category.confidence) == ("auth", "prototype", RIGHT)
    assert found.why == f"prototype: like 'a line about auth', ahead by {LEAD + 0.01:.2f}"
    assert remembered("auth") == found.category


def test_a_greater_lead_is_surer():
    sure = [decide(TEXT, like(("auth", lead + 0.001), ("permission", 0.0))).category.confidence for lead, _ in LEADS]
    assert sure == [right for _, right in LEADS] == sorted(sure)


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        (TEXT, []),
        (TEXT, like(("auth", 0.6), ("permission", 0.6 - LEAD + 0.01))),
        (TEXT, like(("auth", 0.6), ("not_a_failure", 0.58))),
        ("429 {}", like(("auth", 0.9), ("permission", 0.1))),
        ("", like(("auth", 0.9), ("permission", 0.1))),
    ],
    ids=["nothing", "tied", "nearly an excuse", "no words", "nothing said"],
)
def test_what_is_tied_or_without_words_stays_unknown(text, candidates):
    assert decide(text, candidates) is None


def test_other_languages_are_decided_too():
    sure = like(("auth", 0.9), ("permission", 0.1))
    for text in ("Der Schlüssel wurde nicht angenommen", "キーが無効です", "ключ отклонён", "المفتاح غير صالح"):
        assert decide(text, sure) is not None


def test_a_weak_rule_falls_only_to_a_greater_lead():
    def asked(lead: float) -> object:
        return decide(TEXT, like(("auth", lead), ("permission", 0.0)), ruled="invalid_request")

    assert asked(OVERRULES - 0.01) is None
    assert asked(OVERRULES + 0.01) is not None
    assert decide(TEXT, like(("auth", 1.0), ("permission", 0.0)), ruled="auth") is None


@pytest.mark.parametrize("ruled", sorted(NEVER_RETRIED))
def test_what_forbids_another_try_never_falls_to_what_advises_it(ruled):
    assert not retryable(ruled)
    assert decide(TEXT, like(("rate_limit", 2.0), ("auth", 0.0)), ruled=ruled) is None
    assert decide(TEXT, like(("invalid_request", 2.0), ("rate_limit", 0.0)), ruled=ruled) is not None


def test_what_advises_another_try_falls_easily_to_what_forbids_it():
    lead = like(("quota_exhausted", LEAD + 0.01), ("rate_limit", 0.0))
    assert decide(TEXT, lead, ruled="rate_limit") is not None
    assert decide(TEXT, lead, ruled="invalid_request") is None


def test_what_is_no_failure_is_the_rules_word_alone():
    excuse = like(("not_a_failure", 2.0), ("auth", 0.0))
    assert decide(TEXT, excuse) is not None  # it names the issue, and excuses nothing: tests/pipeline
    assert decide(TEXT, excuse, ruled="connection") is None
    assert decide(TEXT, like(("auth", 2.0), ("code_bug", 0.0)), ruled="not_a_failure") is None


def test_sure_rules_are_not_asked_about():
    assert not open_to(Category("auth", SURE, "rule:x"))
    assert open_to(Category("auth", SURE - 0.01, "rule:x"))
    assert open_to(Category("unknown", 0.0, "none"))
    assert not open_to(Category("not_a_failure", 0.5, "rule:x"))


def test_the_subject_is_the_class_and_the_first_words_without_marks():
    assert subject("<ts> [planner] WARN: it <num> broke", None) == "it broke"
    assert subject("it broke", "LinkError") == "LinkError: it broke"
    assert subject("LinkError: it broke", "LinkError") == "LinkError: it broke"
    assert subject("- key\nfailed " + "word " * 100, None).startswith("key failed word")
    assert len(subject("word " * 100, None)) <= COMPARED
