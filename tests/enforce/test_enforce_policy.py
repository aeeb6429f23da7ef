"""guard acts on the policy: for its unit, within bounds and budget, visibly, and only as far as it was told it may."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from agent_kit import Daemon, FakeClock, Flaky, HTTPError, World, policy_of, trial, wait_for

import rsi
from rsi.enforce import CircuitOpenError, guard, step
from rsi.policy import arm

RETRY = {
    "max_attempts": 4,
    "initial_s": 1.0,
    "multiplier": 2.0,
    "max_s": 20.0,
    "jitter": False,
    "on": ["rate_limit", "overloaded"],
}


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "rsi"):
        yield


@pytest.fixture(autouse=True)
def _no_foreign_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsi.enforce.repeating._REPEATING_CLIENTS", {})


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.INFO]


def rate_limits(number: int, **headers: str) -> Flaky:
    return Flaky(*(HTTPError(429, "Too Many Requests", **headers) for _ in range(number)))


def test_a_retried_call_is_one_ok_task_with_failed_steps(world: World, fake: FakeClock, caplog: Any) -> None:
    world.policy(retry=RETRY)
    flaky = rate_limits(2)
    assert guard("search", idempotent=True, client=world.client)(flaky)() == "done"
    task = world.one(kind="task")
    assert task.items() >= {"status": "ok", "attempt": 3, "policy_version": 1}.items()
    steps = world.reported(kind="step")
    assert [(item["attempt"], item["status"], item["parent"], item["task"]) for item in steps] == [
        (1, "failed", task["id"], "search"),
        (2, "failed", task["id"], "search"),
    ]
    assert steps[0]["error"]["status"] == 429
    assert fake.slept == [1.0, 2.0]
    assert task["duration_ms"] == pytest.approx(3000)
    assert lines(caplog) == ["retry 2/4 search (person)", "retry 3/4 search (person)"]


def test_async_calls_and_streams_before_their_first_item_are_retried_too(world: World, fake: FakeClock) -> None:
    world.policy(retry=RETRY)
    flaky, first, later = rate_limits(2), rate_limits(1), rate_limits(1)

    @guard("async", idempotent=True, client=world.client)
    async def call() -> str:
        return flaky()

    @guard("stream", idempotent=True, client=world.client)
    def stream() -> Any:
        first()
        yield 1
        later()

    @guard("async stream", idempotent=True, client=world.client)
    async def async_stream() -> Any:
        if not other.errors:
            yield 1
        other()

    other = rate_limits(1)

    async def main() -> list[Any]:
        assert await call() == "done"
        return [item async for item in async_stream()]

    assert asyncio.run(main()) == [1]
    it = stream()
    assert next(it) == 1
    with pytest.raises(HTTPError):
        next(it)
    assert (
        world.one(task="async", kind="task")["attempt"],
        world.one(task="async stream", kind="task")["attempt"],
    ) == (3, 2)
    assert world.one(task="stream", kind="task").items() >= {"status": "failed", "attempt": 2}.items()
    assert (first.calls, later.calls) == (2, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_4xx_is_never_retried_whatever_it_is_called(world: World, status: int) -> None:
    world.policy(
        retry={**RETRY, "on": ["rate_limit", "overloaded", "connection", "auth", "invalid_request", "unknown"]}
    )
    flaky = Flaky(HTTPError(status, "rate limit exceeded, overloaded, connection reset"))
    with pytest.raises(HTTPError):
        guard("t", idempotent=True, client=world.client)(flaky)()
    assert flaky.calls == 1


def test_other_categories_and_what_is_not_idempotent_are_not_retried(world: World, fake: FakeClock) -> None:
    world.policy(retry=RETRY)
    for error, idempotent in ((ValueError("x"), True), (HTTPError(500), True), (HTTPError(429), False)):
        flaky = Flaky(error)
        with pytest.raises(type(error)):
            guard("t", idempotent=idempotent, client=world.client)(flaky)()
        assert flaky.calls == 1


def test_going_away_is_not_retried_also_while_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.policy(retry=RETRY)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rsi.clock.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guard("t", idempotent=True, client=world.client)(rate_limits(2))()
    assert world.one(kind="task")["status"] == "cancelled"


@pytest.mark.parametrize(
    ("error", "waited"),
    [
        (HTTPError(429, retry_after="7"), 7.0),
        (HTTPError(429, Retry_After="7"), 7.0),
        (HTTPError(429, retry_after_ms="7000"), 7.0),
        (HTTPError(429, retry_after="900"), 20.0),  # capped at max_s
        (HTTPError(429, retry_after="0.2"), 1.0),  # never sooner than the backoff
        (HTTPError(429, retry_after="soon"), 1.0),
        (HTTPError(429), 1.0),
    ],
)
def test_retry_after_is_honoured_up_to_max_s(world: World, fake: FakeClock, error: HTTPError, waited: float) -> None:
    world.policy(retry=RETRY)
    guard("t", idempotent=True, client=world.client)(Flaky(error))()
    assert fake.slept == [waited]


def test_retry_after_may_sit_on_the_error_or_its_response_and_be_a_date(world: World, fake: FakeClock) -> None:
    world.policy(retry=RETRY)
    fake.time = 1_800_000_000.0
    direct, nested = HTTPError(429), HTTPError(429)
    direct.retry_after = 5  # type: ignore[attr-defined]
    nested.response = HTTPError(429, Retry_After="Fri, 15 Jan 2027 08:00:09 GMT")  # type: ignore[attr-defined]
    guard("t", idempotent=True, client=world.client)(Flaky(direct))()
    fake.time = 1_800_000_000.0
    guard("t", idempotent=True, client=world.client)(Flaky(nested))()
    assert fake.slept == [5.0, 9.0]


def test_jitter_spreads_the_waits_and_ignoring_retry_after_can_be_said(world: World, fake: FakeClock) -> None:
    world.policy(retry={**RETRY, "jitter": 0.5, "honour_retry_after": False})
    for _ in range(8):
        guard("t", idempotent=True, client=world.client)(rate_limits(1, retry_after="9"))()
    assert all(0.5 <= wait <= 1.0 for wait in fake.slept)
    assert len(set(fake.slept)) == 8


def test_the_budget_lets_a_fifth_more_calls_and_a_reserve_pass(world: World, fake: FakeClock) -> None:
    world.policy(retry={**RETRY, "initial_s": 0.0})
    calls = 0

    @guard("t", idempotent=True, client=world.client)
    def work() -> None:
        nonlocal calls
        calls += 1
        raise HTTPError(429)

    for _ in range(100):
        with pytest.raises(HTTPError):
            work()
    assert calls - 100 == 30  # 0.2 of 100 calls, and 10
    fake.time += 10
    with pytest.raises(HTTPError):
        work()
    assert calls - 101 == 33  # the window has passed: the reserve is back
    assert world.client.status()["retries_refused"] > 0


def test_a_policy_can_shrink_the_budget_and_not_enlarge_it(world: World, fake: FakeClock) -> None:
    for budget, extra in (({"ratio": 0.0, "reserve": 2}, 2), ({"ratio": 1.0, "reserve": 999}, 12)):
        world.policy(retry={**RETRY, "max_attempts": 20, "initial_s": 0.0, "budget": budget})
        fake.time += 100
        flaky = rate_limits(1000)
        for _ in range(10):
            with pytest.raises(HTTPError):
                guard("t", idempotent=True, client=world.client)(flaky)()
        assert flaky.calls - 10 == extra


def test_each_provider_has_its_own_budget(world: World, fake: FakeClock) -> None:
    world.policy(retry={**RETRY, "initial_s": 0.0, "budget": {"ratio": 0.0, "reserve": 2}})
    for provider, expected in (("a", 3), ("a", 1), ("b", 3)):
        flaky = rate_limits(9)
        with pytest.raises(HTTPError):
            guard("t", idempotent=True, provider=provider, client=world.client)(flaky)()
        assert flaky.calls == expected


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("inner", "loaded", "tries"),
    [(None, {}, 6), (None, {"json": 2}, 3), (None, {"json": 2, "os": 3, "not.there": 6}, 2), (0, {"json": 2}, 6),
     (1, {}, 6), (3, {}, 2), (9, {}, 1)],
)  # fmt: skip
def test_planned_times_inner_never_exceeds_the_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch, inner: int | None, loaded: dict[str, int], tries: int
) -> None:
    monkeypatch.setattr("rsi.enforce.repeating._REPEATING_CLIENTS", loaded)
    world.policy(retry={**RETRY, "max_attempts": 20})
    flaky = rate_limits(50)
    with pytest.raises(HTTPError):
        guard("t", idempotent=True, inner_retries=inner, client=world.client)(flaky)()
    assert flaky.calls == tries


def test_the_outermost_enforcer_owns_the_retries(world: World, fake: FakeClock) -> None:
    world.policy(retry=RETRY)
    flaky = rate_limits(99)
    inner = guard("inner", idempotent=True, client=world.client)(flaky)

    with pytest.raises(HTTPError):
        guard("outer", idempotent=True, client=world.client)(inner)()
    assert flaky.calls == 4
    flaky.calls = 0
    with pytest.raises(HTTPError):
        guard("agent", client=world.client)(inner)()  # not idempotent: it repeats nothing, so the inner one may
    assert flaky.calls == 4
    flaky.calls = 0
    with step("plan", client=world.client), pytest.raises(HTTPError):
        inner()
    assert flaky.calls == 4


def test_ownership_crosses_processes(world: World, fake: FakeClock) -> None:
    world.policy(retry=RETRY)
    flaky = rate_limits(99)
    inner = guard("inner", idempotent=True, client=world.client)(flaky)
    headers = guard("outer", idempotent=True, client=world.client)(rsi.inject)()
    with rsi.extract(headers), pytest.raises(HTTPError):
        inner()
    assert flaky.calls == 1


def test_both_arms_are_what_the_hash_says_and_only_fixed_acts(world: World, fake: FakeClock) -> None:
    world.policy(trial(patch={"retry": RETRY}, task="t"))
    for _ in range(60):
        flaky = rate_limits(1)
        call = guard("t", idempotent=True, client=world.client)(flaky)
        try:
            call()
        except HTTPError:
            assert flaky.calls == 1
        else:
            assert flaky.calls == 2
        fake.time += 5
    tasks = [item for item in world.reported(kind="task") if item["status"] != "started"]
    assert len(tasks) == 60
    for item in tasks:
        ref = {"id": "f1", "arm": arm("salt-f1", item["id"], 0.5), "f": 0.5, "stage": 1, "enforced": True}
        assert item["fixes"] == [ref]
        assert item["status"] == ("ok" if ref["arm"] == "fixed" else "failed")
    assert {item["status"] for item in tasks} == {"ok", "failed"}


def test_every_unit_that_enters_is_announced_once(world: World) -> None:
    world.policy(trial(patch={"retry": RETRY}, task="t"))
    by_session = guard("t", idempotent=True, session="who", client=world.client)(lambda who=None: None)
    for session in ("s1", "s1", "s2", None, None):
        by_session(session)
    started = world.reported(status="started")
    final = world.reported(status="ok")
    units = [item.get("session") or item["run"] for item in started]
    assert sorted(units) == sorted({item.get("session") or item["id"] for item in final})
    assert len(units) == 4
    assert all("success" not in item and item["kind"] == "task" and item["task"] == "t" for item in started)
    assert {item["id"] for item in started}.isdisjoint(item["id"] for item in final)
    arms = {unit: item["fixes"][0]["arm"] for unit, item in zip(units, started, strict=True)}
    assert arms == {unit: arm("salt-f1", unit, 0.5) for unit in units}


def test_a_client_that_cannot_act_says_so_in_both_arms(world: World) -> None:
    world.policy(trial(patch={"retry": RETRY}, task="t"))
    for _ in range(20):
        guard("t", client=world.client)(lambda: None)()
    refs = [item["fixes"][0] for item in world.reported(kind="task")]
    assert {ref["enforced"] for ref in refs} == {False}
    assert {ref["arm"] for ref in refs} == {"fixed", "control"}
    assert world.reported(status="started") == []


def test_inside_a_run_the_outer_tasks_fix_acts_in_the_outer_units_arm(world: World, fake: FakeClock) -> None:
    world.policy(trial(patch={"retry": RETRY}, task="plan"))
    for _ in range(20):
        with step("plan", client=world.client) as plan:
            flaky = rate_limits(1)
            try:
                guard("search", idempotent=True, client=world.client)(flaky)()
            except HTTPError as error:
                plan.fail(error)
        fake.time += 10
    plans = [item for item in world.reported(task="plan") if item["status"] != "started"]
    assert len(plans) == 20
    for item in plans:
        assert [ref["arm"] for ref in item["fixes"]] == [arm("salt-f1", item["id"], 0.5)]
        assert item["success"] == (item["fixes"][0]["arm"] == "fixed")
        assert item["policy_version"] == 1
    assert len(world.reported(status="started", task="plan")) == 20


def test_a_fix_goes_live_and_is_rolled_back_between_two_calls(
    daemon: Daemon, make_client: Any, fake: FakeClock, caplog: Any
) -> None:
    client = make_client(url=daemon.url)

    def tries() -> int:
        flaky = rate_limits(9)
        with pytest.raises(HTTPError):
            guard("search", idempotent=True, client=client)(flaky)()
        fake.time += 20
        return flaky.calls

    assert tries() == 1
    daemon.set_policy("app", 1, experiments=[trial("f12", patch={"retry": RETRY}, fraction=1.0, task="search")])
    policy_of(client, "app", 1)
    assert tries() == 4
    assert lines(caplog)[0] == "retry 2/4 search (fix f12, fixed)"
    daemon.set_policy("app", 2)
    policy_of(client, "app", 2)
    assert tries() == 1


def test_observing_only_enforces_nothing(daemon: Daemon, make_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSI_OBSERVE_ONLY", "1")
    world = World(make_client(url=daemon.url), daemon)
    world.policy(trial(patch={"retry": RETRY}, fraction=1.0), timeout_s=0.001)
    flaky = rate_limits(9)
    with pytest.raises(HTTPError):
        guard("t", idempotent=True, client=world.client)(flaky)()
    assert flaky.calls == 1
    assert "fixes" not in world.one(task="t")


def test_an_async_call_is_cut_at_timeout_s(world: World, caplog: Any) -> None:
    world.policy(timeout_s=0.01)

    @guard("slow", client=world.client)
    async def slow() -> None:
        await asyncio.sleep(60)

    @guard("own", client=world.client)
    async def own() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match=r"slow timed out after 0.01 s"):
        asyncio.run(slow())
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(own())
    assert world.one(task="slow")["error"]["type"] == "TimeoutError"
    assert lines(caplog) == ["timeout_s 0.01 slow (person)"]


def test_a_sync_call_is_given_its_timeout_by_the_named_argument(world: World, caplog: Any) -> None:
    world.policy(timeout_s=2, max_output_tokens=64, lessons=["be brief"])

    @guard("t", timeout_arg="timeout", tokens_arg="tokens", lessons_arg="lessons", client=world.client)
    def work(query: str, timeout: float = 9, tokens: int = 1, *, lessons: Any = ()) -> Any:
        return query, timeout, tokens, lessons

    assert work("q") == work("q", 7) == work("q", timeout=7, tokens=3) == ("q", 2.0, 64, ["be brief"])
    assert "timeout_s 2 t (person)" in lines(caplog)
    assert guard("u", client=world.client)(lambda timeout=9: timeout)() == 9


def test_fallbacks_are_declared_callables_in_the_policys_order(world: World, caplog: Any) -> None:
    world.policy(fallbacks=["unknown", "b", "c"])
    bad, good = Flaky(HTTPError(503)), Flaky()
    call = guard("ask", fallbacks={"c": good, "b": bad}, client=world.client)(Flaky(HTTPError(503, "overloaded")))
    assert call("q") == "done"
    assert (bad.calls, good.calls) == (1, 1)
    assert lines(caplog) == ["fallback b ask (person)", "fallback c ask (person)"]
    assert world.one(kind="task")["attempt"] == 3
    mistake = guard("ask", fallbacks={"b": Flaky()}, client=world.client)(
        Flaky(HTTPError(400, "invalid request: bad parameter"))
    )
    with pytest.raises(HTTPError):
        mistake()


def test_retries_come_before_fallbacks(world: World, fake: FakeClock) -> None:
    world.policy(fallbacks=["b"], retry={**RETRY, "max_attempts": 3})
    flaky, backup = rate_limits(9), Flaky()

    @guard("ask", idempotent=True, fallbacks={"b": backup}, client=world.client)
    async def ask() -> str:
        return flaky()

    assert asyncio.run(ask()) == "done"
    assert (flaky.calls, backup.calls) == (3, 1)


def test_reask_is_called_in_place_of_the_function_with_the_error(world: World, caplog: Any) -> None:
    world.policy(reask={"on": ["output_parse"], "max": 2})
    error = json.JSONDecodeError("Expecting value", "doc", 0)
    told: list[Any] = []

    def ask(query: str) -> str:
        raise error

    def again(problem: Exception, query: str) -> str:
        told.append((problem, query))
        if len(told) == 1:
            raise json.JSONDecodeError("Expecting value", "doc", 0)
        return "better"

    assert guard("ask", reask=again, client=world.client)(ask)("q") == "better"
    assert told[0] == (error, "q")
    assert lines(caplog) == ["reask 1/2 ask (person)", "reask 2/2 ask (person)"]
    assert world.one(kind="task")["attempt"] == 3


def test_the_breaker_opens_lets_one_try_and_closes(world: World, fake: FakeClock, caplog: Any) -> None:
    world.policy(breaker={"failures": 3, "reset_s": 30})
    flaky = Flaky(*(HTTPError(503, "Service Unavailable") for _ in range(4)))
    call = guard("t", client=world.client)(flaky)
    for _ in range(3):
        with pytest.raises(HTTPError):
            call()
    with pytest.raises(CircuitOpenError, match=r"t: circuit open after 3 failures in a row, next try in 30 s"):
        call()
    assert flaky.calls == 3
    fake.time += 31
    with pytest.raises(HTTPError):
        call()
    with pytest.raises(CircuitOpenError):
        call()
    fake.time += 31
    assert call() == "done"
    assert call() == "done"
    assert lines(caplog) == ["breaker open t (person)"] * 2
    assert [item["status"] for item in world.reported(kind="task")].count("ok") == 2


def test_the_callers_own_mistakes_open_no_breaker(world: World) -> None:
    world.policy(breaker={"failures": 1, "reset_s": 30})
    call = guard("t", client=world.client)(Flaky(ValueError("x"), ValueError("x")))
    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            call()
    assert call() == "done"


def test_an_open_breaker_turns_to_a_fallback(world: World, fake: FakeClock) -> None:
    world.policy(breaker={"failures": 1, "reset_s": 30}, fallbacks=["b"])
    backup = Flaky()
    call = guard("t", fallbacks={"b": backup}, client=world.client)(Flaky(HTTPError(503)))
    assert (call(), call(), backup.calls) == ("done", "done", 2)


def test_max_concurrency_holds_threads_back(world: World) -> None:
    world.policy(max_concurrency=2)
    inside, most, gate = 0, 0, threading.Semaphore(0)
    lock = threading.Lock()

    @guard("t", client=world.client)
    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate.acquire()
        with lock:
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: inside == 2)
    for _ in threads:
        gate.release()
    for thread in threads:
        thread.join(10)
    assert (most, inside) == (2, 0)


def test_max_concurrency_holds_tasks_back_and_a_cancelled_waiter_gives_its_turn_away(world: World) -> None:
    world.policy(max_concurrency=1)
    most = inside = 0

    @guard("t", client=world.client)
    async def work(until: asyncio.Event) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await until.wait()
        inside -= 1

    async def main() -> None:
        until = asyncio.Event()
        tasks = [asyncio.create_task(work(until)) for _ in range(4)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        until.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(it) for it in found] == [type(None), asyncio.CancelledError, type(None), type(None)]

    asyncio.run(main())
    assert (most, inside) == (1, 0)


def test_a_guard_inside_itself_does_not_wait_for_itself(world: World) -> None:
    world.policy(max_concurrency=1)

    @guard("t", client=world.client)
    def countdown(n: int) -> int:
        return n if n == 0 else countdown(n - 1)

    assert countdown(3) == 0


def test_a_session_keeps_its_arm_through_a_ramp_and_loses_it_with_the_fix(world: World) -> None:
    session = next(f"s{n}" for n in range(99) if arm("salt-f1", f"s{n}", 0.5) == "control")
    call = guard("t", idempotent=True, session="who", client=world.client)(lambda who: None)
    world.policy(trial(patch={"retry": RETRY}))
    call(session)
    world.policy(trial(patch={"retry": RETRY}, stage=2, salt="other", fraction=1.0))
    call(session)
    world.policy()
    call(session)
    tasks = world.reported(status="ok")
    assert [[(ref["stage"], ref["arm"]) for ref in item.get("fixes", [])] for item in tasks] == [
        [(1, "control")]
    ] * 2 + [[]]


def test_a_broken_classifier_leaves_the_hosts_error_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("rules")

    monkeypatch.setattr("rsi.classify.classify", broken)
    world.policy(retry=RETRY)
    with pytest.raises(HTTPError):
        guard("t", idempotent=True, client=world.client)(rate_limits(1))()
    assert world.client.status()["classify_errors"] == 1


def test_first_calls_of_many_threads_share_one_state(world: World) -> None:
    from rsi.enforce.guarded import Guarded

    call = guard("t", client=world.client)(lambda: None)
    guarded = next(cell.cell_contents for cell in call.__closure__ or () if isinstance(cell.cell_contents, Guarded))
    start = threading.Barrier(8)
    seen = []

    def first() -> None:
        start.wait()
        call()
        seen.append(guarded.state)

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(map(id, seen))) == 1
