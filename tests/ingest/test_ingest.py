"""One batch in, one receipt out: what is stored, what is refused, and where each message points."""

from __future__ import annotations

import contextlib
import json
import math

import msgspec
import pytest

from rsi import clock
from rsi.config import Config, Limits, RedactConfig
from rsi.errors import InvalidInputError, StoreError, TooLargeError
from rsi.ingest import Ingest
from rsi.ingest.parse import parse
from rsi.model import Batch, Outcome
from rsi.store import Store, outcomes, rejects

NOW = 1_800_000_000.0
OK = {"id": "x", "task": "t", "success": True, "source": "s"}


class Fixed:
    """A clock that stands still."""

    def now(self):
        return NOW

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        raise AssertionError

    def asleep(self, seconds):
        raise AssertionError


class Bench:
    def __init__(self, path, config=None, on_stored=None):
        self.store = Store.open(path / "rsi.db")
        self.ingest = Ingest(self.store, config or Config(), on_stored=on_stored)

    def send(self, body, *, ndjson=False, prefix=None):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ingest.submit(Batch(door="test", body=raw, ndjson=ndjson, id_prefix=prefix)).result()

    def one(self, **fields) -> Outcome:
        """Send one outcome; what was stored."""
        item = {**OK, **fields}
        receipt = self.send(item)
        assert not receipt.rejected, receipt.rejected
        with self.store.read() as conn:
            found = outcomes.get(conn, item["source"], receipt.ids[0])
        assert found is not None
        return found.outcome

    def why(self, **fields) -> str:
        """Send one that is refused; why."""
        receipt = self.send({**OK, **fields})
        assert len(receipt.rejected) == 1, receipt
        return receipt.rejected[0].error

    def kept(self):
        self.store.write(lambda conn: None)
        with self.store.read() as conn:
            return rejects.tail(conn, 1000)


@pytest.fixture
def bench(tmp_path):
    clock.install(Fixed())
    made = Bench(tmp_path)
    with contextlib.closing(made.store):
        yield made
    clock.install(None)


def test_a_full_outcome_is_kept_field_by_field(bench):
    given = {
        "ts": NOW - 5, "error": "boom", "error_type": "E", "kind": "tool", "model": "m", "provider": "p",
        "duration_ms": 1.5, "tokens_in": 1, "tokens_out": 2, "cost_usd": 0.5, "quality": 4, "session": "se", "run": "r",
        "parent": "pa", "attempt": 2, "user": "u", "release": "1", "env": "prod", "policy_version": 3,
        "tags": ["a", "b"], "metadata": {"k": [1, {"z": None}]}, "input": "in", "output": "out",
        "fixes": [{"id": "f1", "arm": "fixed", "f": 0.5, "stage": 2, "enforced": False, "later": 1}], "success": False,
    }  # fmt: skip
    found = msgspec.to_builtins(bench.one(**given))
    assert found["status"] == "failed"
    for name in given.keys() - {"success", "fixes"}:
        assert (list(found[name]) if name == "tags" else found[name]) == given[name], name
    assert list(found["fixes"]) == [{"id": "f1", "arm": "fixed", "f": 0.5, "stage": 2, "enforced": False}]


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("timestamp", "ts", NOW - 9), ("error_message", "error", "e"), ("error_msg", "error", "e"),
        ("session_id", "session", "1"), ("run_id", "run", "2"), ("parent_id", "parent", "3"), ("user_id", "user", "4"),
    ],
)  # fmt: skip
def test_aliases_are_taken(bench, alias, name, value):
    assert getattr(bench.one(**{alias: value}), name) == value


def test_task_type_is_a_task_and_whole_numbers_are_keys(bench):
    receipt = bench.send({"task_type": "x", "success": True, "session": 7, "id": "i", "source": "s"})
    assert receipt.ids == ["i"]
    with bench.store.read() as conn:
        found = outcomes.get(conn, "s", "i").outcome
    assert (found.task, found.session) == ("x", "7")


def test_a_null_field_is_an_absent_one(bench):
    assert bench.one(error=None, tags=None, metadata=None, model=None).metadata == {}


def test_an_error_object_is_taken_apart(bench):
    found = bench.one(success=False, error={"type": "T", "message": "m", "stack": "s", "status": 503, "body": "x"})
    assert (found.error, found.error_type, found.error_status, found.stack) == ("m", "T", 503, "s")
    assert found.metadata == {"error": {"body": "x"}}
    assert bench.one(id="2", success=False, error={"type": "T"}).error == "T"
    assert bench.one(id="3", success=False, error={"type": "T"}, error_type="U").error_type == "U"


def test_unknown_fields_go_under_metadata_and_do_not_overwrite(bench):
    found = bench.one(notes="n", k=1, metadata={"k": 2})
    assert found.metadata == {"k": 2, "notes": "n", "field.k": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration_ms": "fast"}, 'outcome.duration_ms: expected a number ≥ 0, got "fast"'),
        ({"duration_ms": -1}, "outcome.duration_ms: expected a number ≥ 0, got -1"),
        ({"success": "false"}, 'outcome.success: expected true or false, got "false"'),
        ({"success": 1}, "outcome.success: expected true or false, got 1"),
        ({"success": None}, "outcome.success: expected true or false, got nothing"),
        ({"task": {"a": 1}}, "outcome.task: expected text, got an object"),
        ({"task": ""}, 'outcome.task: expected text, got ""'),
        ({"task": None}, "outcome.task: expected text, got nothing"),
        ({"quality": "bad"}, 'outcome.quality: expected a number from 1 to 5, got "bad"'),
        ({"quality": 9}, "outcome.quality: expected a number from 1 to 5, got 9"),
        ({"issues": "rate_limit"}, 'outcome.issues: expected a list of texts, like ["a", "b"], got "rate_limit"'),
        ({"tags": "a"}, 'outcome.tags: expected a list of texts, like ["a", "b"], got "a"'),
        ({"tags": ["a", 5]}, "outcome.tags[1]: expected text, got 5"),
        ({"error": 5}, "outcome.error: expected text, or an object {type, message, stack, status}, got 5"),
        ({"error": ["a"]}, "outcome.error: expected text, or an object {type, message, stack, status}, got a list"),
        ({"error": {"status": "x"}}, 'outcome.error.status: expected a whole number from 0 to 999, got "x"'),
        ({"kind": "wish"}, 'outcome.kind: expected one of task, step, tool, llm, got "wish"'),
        ({"status": "done"}, 'outcome.status: expected one of ok, failed, paused, cancelled, started, got "done"'),
        ({"status": "failed"}, 'outcome.status: "failed" contradicts success: true; drop one'),
        ({"status": "ok", "success": False}, 'outcome.status: "ok" contradicts success: false; drop one'),
        ({"ts": "yesterday"}, 'outcome.ts: expected an ISO 8601 time or epoch seconds, got "yesterday"'),
        ({"ts": -5}, "outcome.ts: expected an ISO 8601 time or epoch seconds, got -5.0"),
        ({"ts": True}, "outcome.ts: expected an ISO 8601 time or epoch seconds, got true"),
        ({"ts": "0001-01-01T00:00:00"}, 'outcome.ts: expected an ISO 8601 time or epoch seconds, got "0001-01-01T00:00:00"'),
        ({"id": ""}, 'outcome.id: expected text of 1 to 128 characters, got ""'),
        ({"id": 7}, "outcome.id: expected text of 1 to 128 characters, got 7"),
        ({"id": "a\nb"}, "outcome.id: expected printable text"),
        ({"session": 1.5}, "outcome.session: expected text or a whole number, got 1.5"),
        ({"attempt": 1.5}, "outcome.attempt: expected a whole number from 0 to 1000000, got 1.5"),
        ({"metadata": [1]}, "outcome.metadata: expected an object, got a list"),
        ({"fixes": [{"id": "f1", "arm": "maybe", "f": 0.5}]}, 'outcome.fixes[0].arm: expected one of fixed, control, got "maybe"'),
        ({"fixes": [{"id": "f1", "arm": "fixed"}]}, "outcome.fixes[0].f: is missing"),
        ({"fixes": [{"id": "f1", "arm": "fixed", "f": 2}]}, "outcome.fixes[0].f: expected a number from 0 to 1, got 2"),
    ],
)  # fmt: skip
def test_a_refusal_says_where_and_what_was_expected(bench, fields, message):
    assert bench.why(**fields) == message
    assert bench.kept()[-1].reason == message


def test_positions_in_an_array_are_named(bench):
    items = [{**OK, "id": str(i)} for i in range(4)]
    items[3]["duration_ms"] = "fast"
    receipt = bench.send(items)
    assert receipt.accepted == 3
    assert [(r.index, r.error) for r in receipt.rejected] == [
        (3, 'outcome[3].duration_ms: expected a number ≥ 0, got "fast"')
    ]


def test_started_needs_no_success_and_paused_takes_either(bench):
    assert bench.one(success=None, status="started").status == "started"
    assert bench.one(id="2", success=False, status="paused").status == "paused"
    assert bench.one(id="3", success=True, status="cancelled").status == "cancelled"


@pytest.mark.parametrize(
    ("given", "ts", "backfill", "flags"),
    [
        (None, NOW, False, ()),
        (NOW - 10, NOW - 10, False, ()),
        ((NOW - 10) * 1000, NOW - 10, False, ()),
        ("2027-01-15T08:00:00Z", NOW, False, ()),
        ("2027-01-15T08:00:00", NOW, False, ()),
        ("2027-01-15T10:00:00+02:00", NOW, False, ()),
        (NOW + 299, NOW + 299, False, ()),
        (NOW + 301, NOW, False, ("future_ts",)),
        ("2999-01-01T00:00:00Z", NOW, False, ("future_ts",)),
        (NOW - 86_399, NOW - 86_399, False, ()),
        (NOW - 86_401, NOW - 86_401, True, ()),
        (123, 123.0, True, ()),
    ],
)
def test_times(bench, given, ts, backfill, flags):
    found = bench.one(ts=given)
    assert (found.ts, found.backfill, found.flags) == (ts, backfill, flags)


def test_ids_are_given_where_missing(bench):
    free = bench.send([{"task": "t", "success": True}] * 2)
    assert len(set(free.ids)) == 2
    named = bench.send(
        [{"task": "t", "success": True}, {**OK, "id": "mine"}, {"task": "t", "success": True}], prefix="p"
    )
    assert named.ids == ["p:0", "mine", "p:2"]
    assert bench.send([{"task": "t", "success": True}], prefix="p").duplicates == 1


def test_ndjson_counts_the_lines_that_are_not_blank(bench):
    body = b'{"task":"t","success":true}\n\n  \r\n{"task":1}\n{"task":"t","success":true}'
    receipt = bench.send(body, ndjson=True)
    assert (receipt.accepted, [r.index for r in receipt.rejected]) == (2, [1])


@pytest.mark.parametrize(
    "bad",
    [
        b'{"quality": NaN}',
        b'{"a": Infinity}',
        b"{'a': 1}",
        b'{"s": "\xff"}',
        b'{"s": "\\ud800"}',
        b"[" * 5000 + b"]" * 5000,
        b"nul",
    ],
)
def test_one_unreadable_element_does_not_take_the_array_with_it(bench, bad):
    good = json.dumps(OK).encode()
    receipt = bench.send(b"[" + good + b", " + bad + b" , " + good.replace(b'"x"', b'"y,]}"') + b"]")
    assert (receipt.accepted, [r.index for r in receipt.rejected]) == (2, [1])
    assert receipt.rejected[0].error.startswith("outcome[1]: ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"[",
        b"nonsense",
        b"[1,",
        b'{"a":1}}',
        b"[oops]",
        b"\x00",
        b"\xff\xfe",
        b'[{"a": 1}] tail',
        b"[" * 200_000,
    ],
)
def test_what_is_not_json_raises_and_is_kept(bench, body):
    with pytest.raises(InvalidInputError, match=r"not JSON|nested"):
        bench.send(body)
    assert len(bench.kept()) == 1


@pytest.mark.parametrize("body", [b"5", b"null", b'"text"', b"true", b"[null, 7]"])
def test_json_that_is_no_object_is_refused_item_by_item(bench, body):
    receipt = bench.send(body)
    assert not receipt.ids
    assert all("expected an object" in r.error for r in receipt.rejected)


def test_limits_are_named_with_their_setting(tmp_path):
    bench = Bench(tmp_path, Config(limits=Limits(outcome_bytes=500, request_bytes=2000, depth=5)))
    with pytest.raises(TooLargeError, match=r"limits\.request_bytes"):
        bench.send(b" " * 2001)
    with pytest.raises(TooLargeError, match=r"limits\.outcome_bytes"):
        bench.send({**OK, "error": "x" * 600})
    receipt = bench.send(
        [
            {**OK, "error": "x" * 600},
            OK,
            {**OK, "metadata": {"a": {"b": {"c": {"d": {}}}}}},
            {**OK, "id": "d5", "metadata": {"a": {"b": {"c": 1}}}},
        ]
    )
    assert (receipt.accepted, [r.index for r in receipt.rejected]) == (2, [0, 2])
    assert "limits.outcome_bytes" in receipt.rejected[0].error
    assert receipt.rejected[1].error == "outcome[2]: nested deeper than 5 (setting limits.depth)"
    assert {kept.reason for kept in bench.kept()} >= {r.error for r in receipt.rejected}
    bench.store.close()


def test_a_flood_of_lines_is_refused_as_one(bench):
    with pytest.raises(TooLargeError, match="250000 items"):
        bench.send(b"1\n" * 300_000, ndjson=True)
    with pytest.raises(TooLargeError, match="250000 items"):
        bench.send(b"[" + b"1," * 1_200_000 + b"1]")


def test_tasks_are_masked(bench):
    assert bench.one(task="order 12345").task == "order <n>"
    assert bench.one(id="2", task="airline:0").task == "airline:<n>"


def test_past_the_limit_a_task_is_other_and_known_ones_stay(tmp_path, caplog):
    config = Config(limits=Limits(tasks_per_source=3))
    bench = Bench(tmp_path, config)
    words = ["a", "b", "c", "d", "e"]
    found = [bench.one(id=word, task=word) for word in words]
    assert [each.task for each in found] == ["a", "b", "c", "other", "other"]
    assert found[3].flags == ("task_other",)
    assert [record.levelname for record in caplog.records if record.name == "rsi.ingest"] == ["WARNING"]
    assert bench.one(id="z", source="second", task="d").task == "d"
    assert bench.ingest.status()["sources_with_too_many_tasks"] == ["s"]
    bench.ingest = Ingest(bench.store, config)  # a restart remembers them
    assert bench.one(id="f", task="f").task == "other"
    assert bench.one(id="g", task="b").task == "b"
    bench.store.close()


def test_long_input_is_cut_and_flagged(bench):
    found = bench.one(input="ä" * 20_000, output="short")
    assert len((found.input or "").encode()) <= 16 * 1024
    assert (found.output, found.flags) == ("short", ("truncated",))


def test_older_words_become_categories(bench):
    found = bench.one(success=False, issues=["rate_limit", "rate_limit", "a word nobody knows"])
    assert found.claimed == ("rate_limit",)
    assert found.metadata["issues"] == ["a word nobody knows"]


KEY = "sk-proj-" + "Ab3dEf6hIj9kLm2nOp5q" * 2


@pytest.mark.parametrize(
    "where",
    ["error", "error_type", "model", "provider", "session", "run", "parent", "user", "release", "env", "input", "output", "task", "source", "unknown_field"],
)  # fmt: skip
def test_a_secret_in_any_text_is_never_stored(tmp_path, where):
    bench = Bench(tmp_path)
    receipt = bench.send({**OK, where: f"see {KEY} there"})
    assert receipt.accepted == 1
    bench.store.close()
    for path in tmp_path.iterdir():
        assert KEY.encode() not in path.read_bytes()


def test_secrets_in_structures_and_refusals_are_never_stored(tmp_path):
    bench = Bench(tmp_path, Config(redact=RedactConfig(extra=["hush-[a-z]+"])))
    bench.send(
        {
            **OK,
            "tags": [KEY],
            "metadata": {"a": [{KEY: 1, "password": "hunter2hunter2"}]},
            "error": {"message": KEY, "stack": KEY, "odd": KEY},
            "success": False,
        }
    )
    bench.send({**OK, "id": "h", "error": "hush-abc", "success": False})
    refused = bench.send(
        [{**OK, "kind": KEY}, {**OK, "id": KEY}, {**OK, "status": "ok", "success": False, "error": KEY}]
    )
    assert not refused.ids
    assert all(KEY not in r.error for r in refused.rejected)
    with pytest.raises(InvalidInputError):
        bench.send(b'{"error": "' + KEY.encode() + b'"')
    bench.store.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (KEY, "hunter2hunter2", "hush-abc"):
        assert secret.encode() not in everything


def test_escapes_do_not_smuggle_a_secret_in(tmp_path):
    bench = Bench(tmp_path)
    body = json.dumps({**OK, "success": False, "error": KEY}).replace("sk-proj", "\\u0073k-pr\\u006fj").encode()
    assert bench.send(body).accepted == 1
    with bench.store.read() as conn:
        assert KEY not in (outcomes.get(conn, "s", "x").outcome.error or "")
    bench.store.close()


def test_decoded_items_are_taken_like_bytes_and_nan_is_refused(bench):
    items = [
        OK,
        {**OK, "id": "n", "quality": math.nan},
        {**OK, "id": "i", "metadata": {"a": [math.inf]}},
        {**OK, "id": "o", "metadata": {"a": object()}},
        {**OK, "id": "s", "error": "\ud800"},
    ]
    loop: list[object] = []
    loop.append(loop)
    receipt = bench.ingest.submit(
        Batch(door="test", items=[*items, {**OK, "id": "l", "metadata": {"loop": loop}}])
    ).result()
    assert receipt.ids == ["x"]
    assert receipt.rejected[0].error == "outcome[1].quality: expected a number from 1 to 5, got nan"
    assert "metadata.a[0]: expected a finite number, got inf" in receipt.rejected[1].error
    assert [r.index for r in receipt.rejected] == [1, 2, 3, 4, 5]


def test_who_listens_hears_of_new_outcomes_once_and_may_fail(tmp_path):
    heard: list[list[str]] = []

    def listen(found: list[Outcome]) -> None:
        heard.append([outcome.id for outcome in found])
        raise ZeroDivisionError

    bench = Bench(tmp_path, on_stored=listen)
    assert bench.send([OK, {**OK, "id": "y"}]).accepted == 2
    assert bench.send([OK, {**OK, "id": "z"}]).accepted == 1
    bench.store.close()
    assert heard == [["x", "y"], ["z"]]
    assert bench.ingest.status()["listener_failures"] == 2


def test_a_flood_of_refusals_is_kept_bounded_and_counted(bench):
    receipt = bench.send([{"task": 5}] * 500)
    assert len(receipt.rejected) == 500
    kept = bench.kept()
    assert len(kept) == 201
    assert kept[-1].reason == "and 300 more refused items of the same batch"


def test_a_closed_store_takes_nothing(bench):
    bench.store.close()
    with pytest.raises(StoreError):
        bench.send(OK)


def test_names_are_printable_and_short(bench):
    found = bench.one(task="a\x00b\n c" + "d" * 300, model="m\x1b[31m")
    assert found.task.startswith("a b cd")
    assert 190 < len(found.task) <= 200
    assert found.model == "m [31m"


def test_a_number_beyond_every_float_is_refused_alone_and_large_ones_are_kept():
    body = b'[{"task":"t","success":true,"metadata":{"a":1e999}},{"task":"t","success":true,"metadata":{"a":1.7e308}}]'
    refused, kept = parse(body, Limits()).items
    assert "out of range" in refused.error
    assert kept.metadata == {"a": 1.7e308}
