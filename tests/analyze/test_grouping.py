"""Templates that differ only where values stand are one group; what tells faults apart is never a value."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.analyze.bucket import MOST, Bucket
from rsi.analyze.cluster import Item
from rsi.analyze.grouping import Grouper, group
from rsi.analyze.template import fingerprint


def item(text: str, error_type: str | None = None, *, key: str = "", category: str = "unknown") -> Item:
    found = fingerprint(text, error_type)
    return Item(key or text[-60:] + (error_type or ""), category, found.template, found.error_type)


def groups(*texts: str) -> int:
    return len(group([item(text, key=str(n)) for n, text in enumerate(texts)]))


@pytest.mark.parametrize(
    "texts",
    [
        ["got no answer from [node_A5]", "got no answer from [node_A6]"],
        ["interface eth0 is down", "interface eth1 is down"],
        [f"cannot resolve {name}admin1 at all" for name in "abcd"],
        [f"session closed for user {name}" for name in ("cyrus", "news", "test")],
        ["connection from 10.0.0.1 () at noon", "connection from 10.0.0.1 (a.b.com) at noon"],
        ["delete blk_12 now", "delete blk_12 blk_13 blk_14 now"],
        ["bad nodes node-1 0x1 <ok>", "bad nodes node-1 0x1 <ok> node-2 0x2 <ok>"],
        ["synchronized to 10.0.0.1, stratum 3", "synchronized to LOCAL(0), stratum 10"],
        ["window moved ready=false, drawn=true", "window moved ready=false, drawn=false"],
        [f"bad password for {name} from 1.2.3.4" for name in ("root", "uucp", "webmaster")],
        [f"cannot read the {noun} of the week now" for noun in ("plan", "order", "draft", "ticket", "budget", "route")],
        ["iar 00104ab0 dear 0245a8fc", "iar 10552064 dear 0245a8fc"],
    ],
)
def test_values_do_not_part(texts: list[str]):
    assert groups(*texts) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ["the file was created", "the file was not created"],
        ["upstream answered HTTP 502", "upstream answered HTTP 504"],
        ["process ended with exit code 1", "process ended with exit code 137"],
        [
            "No module named 'pandas'",
            "No module named 'requests'",
            "No module named 'numpy'",
            "No module named 'torch'",
        ],
        ["open: permission denied", "open: connection refused"],
        [f"Tool {name} failed to answer" for name in ("search", "browse", "mail", "sql", "calc", "maps")],
        ["service started", "service stopped", "service restarted"],
        ["session opened for user root", "session closed for user root"],
        ["node is down", "node was lost", "node has failed", "node not ready"],
        ["backup success", "backup failed", "backup running", "backup pending"],
        ["model gpt-4o overloaded", "model gpt-4 overloaded", "model claude-3-opus overloaded"],
        ["read failed: value too large", "write failed: value too large"],
        ["state=open of the job", "state=closed of the job", "state=broken of the job", "state=stuck of the job"],
        ["sync done success=true of it", "sync done success=false of it"],
        [
            f"cannot {verb} the plan of the week now"
            for verb in ("read", "write", "load", "send", "move", "copy", "sort")
        ],
        [f"{{'type': '{code}', 'note': 'x'}}" for code in ("tokens", "requests", "images", "audio", "video")],
        [
            f"it returned {code} for that"
            for code in ("ECONNRESET", "EPIPE", "ENOENT", "EACCES", "EINVAL", "EIO", "EBUSY")
        ],
        ["boom at a.py:step1", "boom at a.py:step2"],
        ["error TS2304: cannot find it", "error TS2345: cannot find it"],
        ["unknown tool `fetch1`", "unknown tool `fetch2`"],
    ],
)
def test_what_tells_faults_apart_does_not_join(texts: list[str]):
    assert groups(*texts) == len(texts)


@pytest.mark.parametrize(
    "texts",
    [
        [f"unknown argument '{name}' of the search" for name in ("limit", "page", "cursor", "sort")],
        [f"cannot read '{name}' below the inbox" for name in ("report.txt", "plan.md", "notes", "draft.txt")],
        [f"login of user '{name}' was refused" for name in ("alice", "bobby", "carol", "david")],
        [f"the tools are: '{name}' and others" for name in ("search", "browse", "mail", "sql")],
    ],
)
def test_few_names_part_and_many_are_values_but_never_where_the_name_is_the_fault(texts: list[str]):
    items = [item(text, key=str(n), category="tool_args") for n, text in enumerate(texts)]
    assert len(group(items)) == 1
    assert len(group(items[:-1])) == len(texts) - 1
    assert len(group(items, many=None)) == len(texts)
    for category in ("missing_resource", "code_bug", "model_not_found", "unknown"):
        assert len(group([replace(one, category=category) for one in items])) == len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "Tool '{}' timed out after 30 s",
        'server "{}" did not answer',
        "'{}' tool gave up on it",
        "tool name: '{}' gave up on it",
        '{{"function": {{"name": "{}"}}}} gave up on it',
        "function {}() gave up on it",
        "the call of '{}'() gave up on it",
        "message of queue {} was lost",
        "no route to host {} at all today",
        "the {} tool never came back with any answer today",
        "permission '{}' is not given to it",
        "environment variable '{}' is not set here",
        "tool_name='{}' gave up on it",
    ],
)
@pytest.mark.parametrize("category", ["timeout_tool", "overloaded"])
def test_the_name_of_what_failed_is_never_a_value_however_many_there_are(text: str, category: str):
    names = ["search", "billing", "wiretransfer", "mailbox", "planner", "crawler", "printer", "scanner"]
    items = [item(text.format(name), key=str(n), category=category) for n, name in enumerate(names)]
    assert len(group(items)) == len(names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The model {} is overloaded right now", ["gpt-4o", "gpt-4-turbo", "claude-3-opus", "o1-mini", "gpt-4.1"]),
        ("no answer from '{}' today", ["gpt-4o", "gpt-4-turbo", "claude-3-opus", "o1-mini", "gpt-4.1"]),
        ("the payment was refused: {}", ["card_declined", "expired_card", "incorrect_cvc", "processing_error"]),
        ("the payment was refused with '{}'", ["card_declined", "expired_card", "incorrect_cvc", "processing_error"]),
        ("Tool {} gave up on it", ["search1", "fetch2", "mail3", "crawl4", "crawl5"]),
    ],
)
def test_models_and_kept_codes_are_never_values(text: str, names: list[str]):
    items = [item(text.format(name), key=name, category="rate_limit") for name in names]
    assert len(group(items)) == len(names)


def test_neither_another_category_nor_another_class_joins():
    same = "interface eth0 is down", "interface eth1 is down"
    assert len(group([item(same[0], category="connection"), item(same[1], category="overloaded")])) == 2
    assert len(group([item(same[0], "KeyError"), item(same[1], "ValueError")])) == 2


LIMIT = "Rate limit reached for gpt-4o in organization org-abc123 on tokens per min (TPM): Limit 30000, Used 29999, Requested 500. Please try again in 998ms."
BODY = "{'error': {'message': '" + LIMIT + "', 'type': 'tokens', 'param': None, 'code': 'rate_limit_exceeded'}}"


def test_one_fault_in_all_its_spellings_is_one_group():
    spellings = [
        f"Error code: 429 - {BODY}",
        f"openai.RateLimitError: Error code: 429 - {BODY}",
        f'RateLimitError("Error code: 429 - {BODY}")',
        f"failed after 3 attempts: RateLimitError: Error code: 429 - {BODY}",
        BODY.replace("'", '"'),
        LIMIT,
        f"Error code: 429 - {BODY}"[:150],
        f"2026-11-21 04:10:11,123 ERROR [agent] openai.RateLimitError: Error code: 429 - {BODY}",
        json.dumps(
            {"ts": "2026-11-21T04:10:11Z", "level": "ERROR", "error": LIMIT, "error_type": "openai.RateLimitError"}
        ),
        f"LLM call to gpt-4o failed after 3 attempts: {LIMIT}",
        f"giving up on order 4711: openai.RateLimitError: {LIMIT}",
        f'Traceback (most recent call last):\n  File "/app/x.py", line 3, in go\n    z()\nopenai.RateLimitError: Error code: 429 - {BODY}',
    ]
    found = group([item(text, key=f"i{n}") for n, text in enumerate(spellings)])
    assert len(found) == 1
    assert len(found[0].why) == len(spellings) - 1
    assert all(join.why for join in found[0].why)


def test_a_spelling_that_fits_two_faults_joins_neither():
    bare = item("the server closed the connection early", key="bare")
    first = item("the server closed the connection early", "ReadError", key="read")
    second = item("the server closed the connection early", "WriteError", key="write")
    assert len(group([bare, first])) == 1
    assert len(group([bare, first, second])) == 3
    statuses = [
        item(f"Error code: {code} - {{'message': 'please try that again later'}}", key=code) for code in ("502", "504")
    ]
    assert len(group([*statuses, item("please try that again later", key="bare")])) == 3


def test_what_a_person_parted_stays_apart_even_through_others():
    names = [item(f"interface eth{n} is down", key=f"e{n}") for n in range(4)]
    found = group(names, parted=[("e3", "e0")])
    assert len(found) == 2
    assert not any({"e0", "e3"} <= set(one.ids) for one in found)


def test_what_was_parted_from_the_first_goes_together_with_its_own_kind():
    names = [item(f"interface eth{n} is down", key=f"e{n}") for n in range(5)]
    found = group(names, parted=[("e0", f"e{n}") for n in (2, 3, 4)])
    assert [one.ids for one in found] == [("e0", "e1"), ("e2", "e3", "e4")]


def test_what_a_person_parts_later_holds_for_what_is_joined_later():
    grouper = Grouper()
    grouper.add([item("interface eth0 is down", key="e0"), item("cannot reach it at all", key="x")])
    grouper.part([("e0", "e1")])
    assert grouper.add([item("interface eth1 is down", key="e1")]) == []
    grouper.part([])
    assert len(grouper.add([item("interface eth2 is down", key="e2")])) == 1


def test_spellings_of_two_classes_stay_apart_though_a_bare_one_fits_both():
    """The bare text joined the one that came first; its group has a class from then on."""
    grouper = Grouper()
    text = "the server closed the connection early"
    grouper.add([item(text, "ReadError", key="read"), item(text, key="bare")])
    grouper.add([item(f"{text} for eth0", "WriteError", key="write0"), item(f"{text} for eth1", key="bare1")])
    assert grouper.groups() == [("bare", "read"), ("bare1", "write0")]
    assert grouper.add([Item("bare", "unknown", f"{text} for eth9", None)]) == []
    assert grouper.groups() == [("bare", "read"), ("bare1", "write0")]


LONG = "the nightly export of the ledger stopped because its checksum did not match what the bank had sent for"


def test_what_was_cut_off_joins_the_one_message_that_begins_like_it():
    whole = item(f"{LONG} the last day of the month.", key="whole", category="tool_execution")
    cut = item(f"{LONG} the last d", key="cut", category="tool_execution")
    other = item(f"{LONG} the week.", key="other", category="tool_execution")
    assert len(group([cut, whole])) == 1
    assert len(group([cut, whole, other])) == 3
    for order in ([cut, whole], [whole, cut]):
        grouper = Grouper()
        joins = [join for one in order for join in grouper.add([one])]
        assert [join.why.startswith("cut off: ") for join in joins] == [True]


def test_what_was_cut_off_two_faults_joins_neither():
    read, write = (
        item(f"{LONG} the last day of the month.", kind, key=kind, category="tool_execution")
        for kind in ("ReadError", "WriteError")
    )
    cut = item(f"{LONG} the last d", key="cut", category="tool_execution")
    assert [one.ids for one in group([cut, read])] == [("ReadError", "cut")]
    assert len(group([cut, read, write])) == 3


def test_what_was_cut_off_keeps_the_name_of_what_failed():
    def said(name: str, end: str, key: str) -> Item:
        return item(
            f"Tool '{name}' gave no answer: it knows that {LONG} the last{end}", key=key, category="tool_execution"
        )

    assert len(group([said("alpha", " day.", "whole"), said("beta", " d", "cut")])) == 2
    assert len(group([said("alpha", " day.", "whole"), said("alpha", " d", "cut")])) == 1


def test_the_place_tells_bugs_apart_but_not_what_comes_from_outside():
    def raised(place: str, category: str) -> Item:
        text = f'Traceback (most recent call last):\n  File "/a/{place}.py", line 3, in go\n    z()\nValueError: not what was wanted here'
        return item(text, key=place, category=category)

    assert len(group([raised("a", "code_bug"), raised("b", "code_bug")])) == 2
    assert len(group([raised("a", "overloaded"), raised("b", "overloaded")])) == 1


def test_items_of_one_id_are_together_already():
    found = group([item("alpha went wrong", key="i1"), item("beta went wrong", key="i1")])
    assert [one.ids for one in found] == [("i1",)]


PIECES = [
    "interface eth0 is down", "interface eth1 is down", "interface lo9 is down", "interface wlan2 is down", "interface br3 is down",
    "user cyrus left", "user news left", "user test left", "user 12 left", "user is left", "user unknown left",
    "found rdd_1 here", "found blk of 3 here", "found x_<num> here", "found y_<num>_z here", "found 7 here",
    "delete a1 a2 a3", "delete a1", "delete b", "exit code 1", "exit code 2", "was created", "was not created",
    *(f"cannot read the {noun} of the week now" for noun in ("plan", "order", "draft", "ticket", "budget", "route", "map")),
    *(f"cannot read the {noun} of the month now" for noun in ("plan", "order", "draft")),
    *(f"unknown argument '{name}' of it" for name in ("limit", "page", "cursor", "sort", "kind")),
    "conn (a.b.com) lost", "conn () lost", "conn (x) lost", "user=root on h1", "user=guest on h2", "user=a on h3", "user=b on h4",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), unique=True, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_the_set_decides_not_the_order_nor_the_pieces_it_comes_in(texts: list[str], rng: random.Random):
    items = [Item(text, "unknown", fingerprint(text).template) for text in texts]
    wanted = [one.ids for one in group(items)]
    shuffled = rng.sample(items, len(items))
    assert [one.ids for one in group(shuffled)] == wanted
    grouper = Grouper()
    for one in shuffled:
        grouper.add([one])
    assert grouper.groups() == wanted


def test_joins_between_calls_are_exactly_what_makes_the_groups():
    grouper, known = Grouper(), {}
    for n in range(8):
        for join in grouper.add([item(f"cannot resolve {chr(97 + n)}host1 at all", key=f"i{n}")]):
            known.setdefault(join.one, set()).add(join.other)
    assert grouper.groups() == [tuple(f"i{n}" for n in range(8))]
    assert sum(len(others) for others in known.values()) == 7


def test_a_new_template_looks_at_its_own_frame_only(monkeypatch: pytest.MonkeyPatch):
    """Counted, not timed: labels computed for the last template do not grow with the templates of other frames."""
    counted = [0]
    label = Bucket.label

    def counting(bucket, values):
        counted[0] += 1
        return label(bucket, values)

    monkeypatch.setattr(Bucket, "label", counting)

    def last_costs(others: int) -> int:
        grouper = Grouper()
        grouper.add(
            [item(f"kind {chr(97 + n % 26)}{chr(97 + n // 26)} of a fault with x{n}y in it") for n in range(others)]
        )
        counted[0] = 0
        grouper.add([item("interface eth0 is down")])
        return counted[0]

    assert last_costs(10) == last_costs(600)


def test_twenty_thousand_templates_of_one_frame_stay_linear(monkeypatch: pytest.MonkeyPatch):
    counted = [0]
    label = Bucket.label

    def counting(bucket, values):
        counted[0] += 1
        return label(bucket, values)

    monkeypatch.setattr(Bucket, "label", counting)
    names = ["".join(chr(97 + n // 26**k % 26) for k in range(4)) for n in range(20_000)]
    found = group([Item(name, "unknown", f"no route for host {name}x1 today") for name in names])
    assert len(found) == 1
    assert counted[0] < 3 * len(names)


WORDS = ["".join(chr(97 + n // 26**k % 26) for k in range(4)) for n in range(4_000)]
CUT_SHAPES = {
    "one beginning, all cut": lambda n: " ".join(["one two three four five six seven eight", *(WORDS[n * 7 % 4000 + k - 20] for k in range(16))]),
    "one beginning, half of them whole": lambda n: " ".join(["one two three four five six seven eight", *(WORDS[n * 7 % 4000 + k - 20] for k in range(16))]) + "." * (n % 2),
    "cut to many lengths": lambda n: " ".join(["one two three four five six seven eight", *(WORDS[n * 7 % 4000 + k - 60] for k in range(14 + n % 40))]) + "." * (n % 2),
    "many cut where one message names what failed": lambda n: f"{LONG} " + (f"the tool '{WORDS[n]}' ended." if n % 2 else f"{WORDS[n]} {WORDS[n + 1]}"),
    "names of what failed": lambda n: f"Tool '{WORDS[n]}' gave no answer: it knows that {LONG} the last" + (" day." if n % 2 else " d"),
}  # fmt: skip


def work(step) -> int:
    """Function calls that a step makes: the same on every machine."""
    import sys

    calls = 0

    def count(_frame, event, _arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        step()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("shape", list(CUT_SHAPES))
def test_many_templates_with_one_beginning_cost_what_they_are(shape, one_by_one):
    """Counted, not timed: twice as many templates are at most some two and a half times the calls."""

    def grouped(count: int) -> None:
        grouper = Grouper()
        items = [Item(str(n), "tool_execution", CUT_SHAPES[shape](n)) for n in range(count)]
        for some in [[one] for one in items] if one_by_one else [items]:
            grouper.add(some)

    grouped(10)
    assert work(lambda: grouped(400)) < 2.5 * work(lambda: grouped(200))


@pytest.mark.parametrize("messages", [1, 5])
def test_many_spellings_of_one_message_cost_what_they_are(messages):
    def grouped(count: int) -> None:
        grouper = Grouper()
        for n in range(count):
            body = (
                f"{{'error': {{'message': 'the thing {WORDS[n % messages]} went bad here', 'code': 'c_{WORDS[n]}_x'}}}}"
            )
            grouper.add([Item(str(n), "provider_5xx", f"Error code: 500 - {body}", f"K{WORDS[n]}Error")])

    grouped(10)
    size = 4 * MOST * messages
    assert work(lambda: grouped(2 * size)) < 2.5 * work(lambda: grouped(size))


def test_one_split_of_an_issue_of_many_does_not_ask_for_every_pair():
    def grouped(count: int) -> None:
        grouper = Grouper(parted=[("0", str(n)) for n in range(1, count)])
        for n in range(count):
            grouper.add([Item(str(n), "unknown", f"no route for host {WORDS[n]}x1 today")])

    grouped(10)
    assert work(lambda: grouped(600)) < 2.5 * work(lambda: grouped(300))


def test_beyond_so_many_spellings_a_message_joins_none_that_is_new():
    text = "please try that again later"
    many = [item(text, f"K{WORDS[n]}Error", key=str(n)) for n in range(MOST + 1)]
    assert len(group([*many, item(text, key="bare")])) == MOST + 2


def test_of_a_bug_at_many_places_those_that_do_not_say_where_are_one():
    marks = [
        Item(str(n), "code_bug", f"not what was wanted here at {WORDS[n]}.py:go", "ValueError") for n in range(MOST + 5)
    ]
    plain = [
        Item("bare", "code_bug", "not what was wanted here", "ValueError"),
        Item("none", "code_bug", "not what was wanted here"),
    ]
    assert len(group([*marks, *plain])) == MOST + 6
