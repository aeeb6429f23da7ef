"""Contract §2: what is taken, what it becomes, and what is refused."""

import pytest

DAY_S = 86_400.0
FINAL = {"task": "a", "success": True}


def test_every_alias_is_the_field_it_stands_for(home):
    home.post(
        {
            "id": "x", "task_type": "search", "success": False, "error_message": "boom", "error_type": "E",
            "timestamp": home_now(home) - 60, "session_id": 7, "run_id": "r", "parent_id": "p", "user_id": 8,
        }
    )  # fmt: skip
    found = home.stored("x")
    assert (found.task, found.error, found.error_type) == ("search", "boom", "E")
    assert (found.session, found.run, found.parent, found.user) == ("7", "r", "p", "8")
    assert found.ts == pytest.approx(home_now(home) - 60)


def home_now(_home):
    from rsi import clock

    return clock.now()


def test_the_third_name_of_error_and_the_object_form(home):
    home.post(
        {**FINAL, "id": "x", "success": False, "error_msg": "boom"},
        {**FINAL, "id": "y", "success": False, "error": {"type": "E", "message": "m", "stack": "s", "status": 503}},
    )
    assert home.stored("x").error == "boom"
    found = home.stored("y")
    assert (found.error_type, found.error, found.stack, found.error_status) == ("E", "m", "s", 503)


def test_unknown_fields_are_kept_under_metadata(home):
    home.post({**FINAL, "id": "x", "colour": "red", "metadata": {"a": 1}})
    assert home.stored("x").metadata == {"a": 1, "colour": "red"}


@pytest.mark.parametrize("success", ["true", 1, 0, None, "yes"])
def test_success_is_true_or_false_and_never_a_guess(home, success):
    answer = home.post({"task": "a", "success": success})
    assert (answer.status_code, answer.json()["field"]) == (422, "success")
    assert home.rows() == []


def test_only_started_may_leave_success_out(home):
    assert home.post({"task": "a", "status": "started"}).status_code == 202
    for status in ("ok", "failed", "paused", "cancelled"):
        assert home.post({"task": "a", "status": status}).status_code == 422
    assert [row[4] for row in home.rows()] == ["started"]


def test_status_follows_success_and_must_not_contradict_it(home):
    home.post(FINAL, {**FINAL, "success": False}, {**FINAL, "status": "paused"}, {**FINAL, "status": "cancelled"})
    assert [row[4] for row in home.rows()] == ["ok", "failed", "paused", "cancelled"]
    assert home.post({**FINAL, "status": "failed"}).status_code == 422
    assert home.post({**FINAL, "success": False, "status": "ok"}).status_code == 422


def test_paused_cancelled_and_started_are_neither_in_health_nor_failures(home):
    home.post(
        {**FINAL, "source": "s", "success": False, "status": "paused"},
        {**FINAL, "source": "s", "success": False, "status": "cancelled"},
        {"task": "a", "source": "s", "status": "started"},
    )
    home.pipeline.cycle()
    assert home.get("/health")["n"] == 0
    assert home.get("/v1/issues")["issues"] == []


def test_times_are_iso_or_epoch_in_seconds_or_milliseconds_and_naive_is_utc(home):
    now = home_now(home)
    home.post(
        {**FINAL, "id": "s", "ts": now - 5},
        {**FINAL, "id": "ms", "ts": (now - 5) * 1000},
        {**FINAL, "id": "iso", "ts": "2027-01-15T07:59:55+00:00"},
        {**FINAL, "id": "naive", "ts": "2027-01-15T07:59:55"},
        {**FINAL, "id": "none"},
        {**FINAL, "id": "soon", "ts": now + 299},
        {**FINAL, "id": "future", "ts": now + 301},
    )
    for ident in ("s", "ms", "iso", "naive"):
        assert home.stored(ident).ts == pytest.approx(now - 5)
    assert home.stored("none").ts == now
    assert (home.stored("soon").ts, home.stored("soon").flags) == (now + 299, ())
    assert (home.stored("future").ts, home.stored("future").flags) == (now, ("future_ts",))
    assert home.post({**FINAL, "ts": "yesterday"}).status_code == 422


def test_older_than_a_day_at_arrival_is_backfill(home):
    now = home_now(home)
    home.post({**FINAL, "id": "new", "ts": now - DAY_S + 1}, {**FINAL, "id": "old", "ts": now - DAY_S - 1})
    assert [bool(row[5]) for row in home.rows()] == [False, True]


def test_one_id_of_one_source_is_one_outcome_and_of_another_source_another(home):
    first = home.post({**FINAL, "id": "x", "source": "a"}).json()
    again = home.post({**FINAL, "id": "x", "source": "a", "success": False}).json()
    other = home.post({**FINAL, "id": "x", "source": "b"}).json()
    assert [(one["accepted"], one["duplicates"], one["ids"]) for one in (first, again, other)] == [
        (1, 0, ["x"]), (0, 1, ["x"]), (1, 0, ["x"]),
    ]  # fmt: skip
    assert [row[1] for row in home.rows()] == ["a", "b"]


def test_an_id_is_text_of_at_most_128(home):
    assert home.post({**FINAL, "id": "x" * 128}).status_code == 202
    for bad in ("x" * 129, "", 5):
        assert home.post({**FINAL, "id": bad}).status_code == 422


def test_beyond_200_tasks_a_source_has_other_and_the_status_says_so(home):
    home.post(
        *(
            {**FINAL, "task": f"t{'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10 % 10]}{'uvw'[n // 100]}"}
            for n in range(205)
        )
    )
    names = [row[2] for row in home.rows()]
    assert len(set(names)) == 201
    assert names[200:] == ["other"] * 5
    assert home.pipeline.status()["ingest"]["sources_with_too_many_tasks"] == ["generic"]


def test_ids_and_numbers_in_a_task_are_masked(home):
    home.post({**FINAL, "task": "order 12345"}, {**FINAL, "task": "order 67890"})
    assert {row[2] for row in home.rows()} == {"order <n>"}


def test_limits_are_named_and_what_is_over_them_is_refused(home):
    deep: object = 1
    for _ in range(40):
        deep = {"a": deep}
    assert "32" in home.post({**FINAL, "metadata": deep}).json()["error"]
    large = home.post({**FINAL, "tags": ["x" * 1_100_000]})
    assert large.status_code in (413, 422)
    assert "1048576" in large.json()["error"]
    home.post({**FINAL, "id": "cut", "input": "x" * 20_000})
    assert (len(home.stored("cut").input), home.stored("cut").flags) == (16_384, ("truncated",))


def test_the_older_word_issues_is_kept_as_the_agents_claim_beside_what_we_find(home):
    home.post({**FINAL, "id": "x", "success": False, "error": "401 Incorrect API key", "issues": ["rate_limit"]})
    home.pipeline.cycle()
    assert home.stored("x").claimed == ("rate_limit",)
    assert [one["category"] for one in home.get("/patterns")["patterns"]] == ["auth"]


def test_a_guarded_call_that_failed_twice_and_then_worked_is_one_ok_task(home):
    step = {"source": "s", "task": "search", "kind": "step", "success": False, "error": "429 Too Many Requests"}
    home.post(
        {**step, "id": "t1-1", "parent": "t1", "attempt": 1},
        {**step, "id": "t1-2", "parent": "t1", "attempt": 2},
        {"source": "s", "task": "search", "id": "t1", "success": True, "attempt": 3},
    )
    home.pipeline.cycle()
    (issue,) = home.get("/v1/issues")["issues"]
    assert (issue["frequency"], issue["unrecovered"], issue["failure_rate"], issue["impact_score"]) == (2, 0, 0.0, 0.0)
    assert home.get("/health")["n"] == pytest.approx(1, abs=0.01)
    assert home.fixes() == []


def test_recovered_failures_alone_plan_nothing_however_many(home):
    home.client()
    for n in range(30):
        home.send(
            home.item(category="rate_limit", kind="step", parent=f"t{n}"),
            {"id": f"t{n}", "source": "app", "task": "search", "success": True, "attempt": 2},
        )
    home.pipeline.cycle()
    assert home.fixes() == []


def test_secrets_never_reach_the_store_the_issue_or_the_answer(home):
    key = "sk-ant-api03-" + "a1B2" * 20
    answer = home.post(
        {**FINAL, "success": False, "error": f"401 invalid key {key}", "tags": [key], "colour": key},
        {**FINAL, "quality": key},
    )
    home.pipeline.cycle()
    assert key not in answer.text
    assert key not in home.ask("GET", "/v1/issues").text
    assert key.encode() not in b"".join(row[0] for row in home.rows("CAST(body AS BLOB)"))
