"""Classification by rules: the traps, the forms in which a text arrives, and what it may cost."""

import json
import subprocess
import sys
import textwrap

import pytest

from rsi.classify import (
    LEGACY,
    MEANINGS,
    Classifier,
    classify,
    legacy,
    retryable,
    severity,
    suggested_action,
    title,
)
from rsi.model import CATEGORIES, Category
from rsi.rules import load
from rsi.rules.signals import HEAD, TAIL, examined
from rsi.rules.statuses import http_statuses

OVERLOADED = "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}"
QUOTA = "Error code: 429 - {'error': {'message': 'You exceeded your current quota, please check your plan and billing details.', 'code': 'insufficient_quota'}}"


@pytest.mark.parametrize(
    ("category", "text", "error_type", "status", "provider"),
    [
        ("quota_exhausted", QUOTA, "openai.RateLimitError", 429, "openai"),
        ("quota_exhausted", "Your credit balance is too low to access the Anthropic API.", "BadRequestError", 400, "anthropic"),
        ("quota_exhausted", "RESOURCE_EXHAUSTED quotaId: GenerateRequestsPerDayPerProjectPerModel", None, 429, "gemini"),
        ("rate_limit", "RESOURCE_EXHAUSTED quotaId: GenerateRequestsPerMinutePerProjectPerModel", None, 429, "gemini"),
        ("overloaded", "Model is not ready", "ModelNotReadyException", 429, "bedrock"),
        ("overloaded", "", None, 503, None),
        ("overloaded", "", None, 529, None),
        ("provider_5xx", "", None, 500, None),
        ("provider_5xx", "", None, 502, None),
        ("provider_5xx", "", None, 424, None),
        ("timeout_model", "", None, 504, None),
        ("timeout_model", "", None, 408, None),
        ("missing_resource", "File not found", None, None, None),
        ("quality", "guardrail tripped", None, None, None),
        ("quality", "the verifier rejected the patch", None, None, None),
        ("quality", "reward=0; database end state differs from ground truth", None, None, None),
        ("refusal", "I'm sorry, but I can't assist with that.", None, None, None),
        ("refusal", "", "openai.ContentFilterFinishReasonError", None, None),
        ("not_a_failure", "", "langgraph.errors.GraphInterrupt", None, None),
        ("not_a_failure", "", "asyncio.exceptions.CancelledError", None, None),
        ("not_a_failure", "the operator cancelled the run", None, None, None),
        ("not_a_failure", "waiting for approval", None, None, None),
        ("rate_limit", "x", "MyRateLimitError, RuntimeError, Exception", None, None),
        ("context_overflow", "too many input tokens in the prompt", None, 400, None),
    ],
)  # fmt: skip
def test_traps(category, text, error_type, status, provider):
    assert classify(text, error_type, status, provider).name == category


@pytest.mark.parametrize(
    "text",
    ["order 42912 failed", "Result: 4290 rows processed", "took 429 ms", "line 429", "see issue #429", "429.5 MB"],
)
def test_a_number_is_not_a_status(text):
    assert classify(text).name not in {"rate_limit", "quota_exhausted"}


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("error code: 429 - {}", {429}),
        ("http/1.1 503", {503}),
        ("(http 402)", {402}),
        ('{"error": {"code": 404}}', {404}),
        ("too many 500 error responses", {500}),
        ("502 bad gateway", {502}),
        ("kept getting 503s", {503}),
        ("exit code 401", set()),
        ("got 429 items", set()),
        ("port=443)", set()),
        ("order 42912", set()),
        ("version 4.29.503", set()),
    ],
)
def test_where_a_number_is_a_status(text, statuses):
    assert http_statuses(text) == statuses


FORMS = {
    "str": "{message}",
    "repr": "APIStatusError({message!r})",
    "qualified": "anthropic.APIStatusError: {message}",
    "wrapped": "failed after 3 attempts: {message}",
    "json": '{{"level": "error", "msg": {json}}}',
    "traceback": 'Traceback (most recent call last):\n  File "/srv/rate_limit.py", line 401, in timeout\n    raise E("user cancelled")\nanthropic.APIStatusError: {message}',
    "chained": 'Traceback (most recent call last):\n  File "a.py", line 1, in x\n    y()\nanthropic.APIStatusError: {message}\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File "b.py", line 2, in z\n    raise RuntimeError("step failed")\nRuntimeError: the step did not work',
    "cut": "{message:.60}",
    "prose": "I called the model and it answered this: {message}",
    "upper": "{upper}",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("message", "category"),
    [(OVERLOADED, "overloaded"), ("prompt is too long: 208310 tokens > 200000 maximum", "context_overflow")],
)
def test_a_text_is_the_same_thing_in_every_form_it_arrives_in(form, message, category):
    text = FORMS[form].format(message=message, json=json.dumps(message), upper=message.upper())
    assert classify(text).name == category


def test_the_last_exception_of_a_traceback_decides_before_the_first():
    text = (
        "Traceback (most recent call last):\n  File 'a.py', line 1\nKeyError: 'x'\n\nDuring handling of the above exception, "
        "another exception occurred:\n\nTraceback (most recent call last):\n  File 'b.py', line 1\n"
        "openai.RateLimitError: Error code: 429 - Rate limit reached"
    )
    assert classify(text).name == "rate_limit"


def test_an_exception_group_is_read_through_its_margins():
    text = textwrap.dedent("""\
          + Exception Group Traceback (most recent call last):
          |   File "a.py", line 3, in <module>
          | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
          +-+---------------- 1 ----------------
            | Traceback (most recent call last):
            |   File "a.py", line 1, in f
            | ConnectionRefusedError: [Errno 111] Connection refused
            +------------------------------------
        """)
    assert classify(text).name == "connection"


def test_what_no_rule_decides_is_unknown_with_no_confidence():
    assert classify("the hamster is tired") == Category("unknown", 0.0, "none")
    assert classify("") == Category("unknown", 0.0, "none")


def test_a_verdict_names_its_rule_and_a_probability():
    found = classify("429 Too Many Requests")
    assert found.by.removeprefix("rule:") in {rule.id for rule in load("classify").rules}
    assert 0 < found.confidence <= 1


def test_the_same_error_twice_is_the_same_verdict():
    assert classify(QUOTA) is classify(QUOTA)


def test_a_homes_rules_decide_in_a_classifier_of_their_own(tmp_path):
    folder = tmp_path / "classify"
    folder.mkdir()
    rule = (
        "id: hamster\ncategory: resource_exhausted\nprecedence: 990\nconfidence: 0.8\nseverity: low\ndate: 2026-11-21\n"
    )
    (folder / "hamster.yaml").write_text(rule + "match: {any: [{message: ['hamster is tired']}]}\n")
    mine = Classifier(load("classify", [tmp_path]).rules)
    found = mine("the hamster is tired")
    assert found == Category("resource_exhausted", 0.8, "rule:hamster")
    assert mine.severity(found) == "low"
    assert mine.severity(mine("MemoryError")) == "critical"
    assert classify("the hamster is tired").name == "unknown"


HOSTILE = ["a", " ", "\n", "429 ", "tool ", "model ~ ", "RateLimit", "{'error': ", "not found no such file ", "\\", "\n    at x",
           "Traceback (most recent call last):\n  File x\n", "could not connect to the model context window exceeded ", "請求", "\x00", "\u0130"]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_of_a_megabyte_no_more_is_looked_at_than_of_a_page(piece):
    text = piece * (1_000_000 // len(piece))
    assert len(examined(text)) <= HEAD + TAIL + 1
    assert classify(text).name in CATEGORIES


def test_the_end_of_a_long_text_is_looked_at():
    assert classify("x" * 1_000_000 + "\nopenai.AuthenticationError: Error code: 401").name == "auth"


@pytest.mark.parametrize(
    "text",
    [
        "\ud800",
        "\x00" * 50,
        "🙃" * 500,
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\n  File",
    ],
)
def test_no_text_raises(text):
    assert classify(text).name in CATEGORIES


def test_every_category_has_its_words():
    assert set(MEANINGS) == set(CATEGORIES)
    assert all(title(name) and suggested_action(name) and severity(name) for name in CATEGORIES)


def test_what_only_a_person_can_mend_is_never_retryable():
    assert not any(map(retryable, ("auth", "permission", "quota_exhausted", "refusal", "invalid_request", "unknown")))
    assert all(map(retryable, ("rate_limit", "overloaded", "provider_5xx", "connection", "timeout_model")))


def test_the_older_packages_words_are_categories():
    assert len(LEGACY) == 22
    assert {legacy(word) for word in LEGACY} <= set(CATEGORIES)
    assert [legacy("timeout"), legacy("rate_limit"), legacy("auth"), legacy("nonsense")] == [
        "timeout_model", "rate_limit", "auth", "unknown",
    ]  # fmt: skip


def test_analyze_names_its_public_functions_and_no_others():
    import rsi.analyze

    assert rsi.analyze.classify is classify
    assert set(rsi.analyze.__all__) <= set(dir(rsi.analyze))
    with pytest.raises(AttributeError, match="public are classify, fingerprint"):
        _ = rsi.analyze.nonsense


def test_an_agents_process_loads_nothing_heavy():
    code = (
        "import sys; import rsi.analyze; from rsi.analyze import classify; assert classify('429 Too Many Requests').name == 'rate_limit';"
        "heavy = {'numpy', 'sqlalchemy', 'sklearn', 'torch', 'starlette', 'sentence_transformers', 'alembic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
