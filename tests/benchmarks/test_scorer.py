"""The scorer's arithmetic and the corpus's halves; the corpus itself is made by `benchmarks/classify.py`."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def scorer(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "corpus"))
    import classify

    yield classify
    for name in ("classify", "split", "build"):
        sys.modules.pop(name, None)


def line(category, template="t", text="x", **more):
    return {"text": text, "category": category, "template": template, "cause": template, **more}


def test_macro_weighs_categories_alike_and_unknown_is_wrong(scorer):
    rows = [line("auth"), line("auth"), line("auth"), line("refusal")]
    found = scorer.accuracy(rows, [["auth"], ["auth"], ["unknown"], ["unknown"]])
    assert found["micro"] == 0.5
    assert found["macro"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["unknown"] == 0.5


def test_a_second_category_counts_in_the_lenient_figure_only(scorer):
    found = scorer.accuracy([line("tool_args", also=["schema_validation"])], [["schema_validation"]])
    assert (found["macro"], found["lenient_macro"]) == (0.0, 1.0)


def test_retries_are_counted_by_what_a_text_truly_is(scorer):
    rows = [line("quota_exhausted"), line("rate_limit"), line("rate_limit")]
    found = scorer.retries(rows, [["rate_limit"], ["rate_limit"], ["auth"]], lambda category: category == "rate_limit")
    assert found == {"never": {"quota_exhausted": 1}, "wanted": {"rate_limit": 0.5}}


def test_texts_that_two_causes_share_are_left_out_of_the_clusters(scorer):
    rows = [line("auth", "a", "same"), line("auth", "b", "same"), line("auth", "a", "one"), line("auth", "b", "two")]
    found = scorer.clusters(rows, ["1", "1", "1", "2"])
    assert (found["texts"], found["homogeneity"]) == (2, 1.0)


def test_grouping_by_exception_type_takes_the_field_else_the_last_class_named(scorer):
    assert scorer.exception_type({"text": "x", "error_type": "httpx.ReadTimeout"}) == "ReadTimeout"
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nopenai.RateLimitError: Error code: 429'
    assert scorer.exception_type({"text": trace}) == "RateLimitError"


def test_a_cause_stands_in_one_half_and_every_category_in_both(scorer):
    from split import halves

    rows = [line(category, f"{category}.{number}") for category in ("auth", "refusal") for number in range(5)] * 2
    kept = halves(rows)
    tune, unseen = ({row["cause"] for row in kept[half]} for half in ("tune", "unseen"))
    assert not tune & unseen
    assert len(tune | unseen) == 10
    assert all({row["category"] for row in kept[half]} == {"auth", "refusal"} for half in kept)
    assert halves(rows) == kept


def test_both_environments_are_pinned(scorer):
    import build

    found = build.sections()
    assert set(found) == set(build.PARTS)
    assert all("==" in requirement for lines in found.values() for requirement in lines)
