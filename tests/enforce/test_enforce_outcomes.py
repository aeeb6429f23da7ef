"""One call, one outcome: what guard and step report with no policy at all."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest
from agent_kit import HTTPError, World, wait_for

import rsi
from rsi.enforce import guard, step


def test_a_call_is_one_task(world: World) -> None:
    @guard("search", client=world.client, model="m1", provider="openai")
    def search(query: str, *, limit: int = 3) -> str:
        """Doc."""
        return f"{query}{limit}"

    assert search("q", limit=5) == "q5"
    assert (search.__name__, search.__doc__) == ("search", "Doc.")
    item = world.one(task="search")
    assert item.items() >= {"kind": "task", "success": True, "status": "ok", "source": "app", "model": "m1"}.items()
    assert item["provider"] == "openai"
    assert item["duration_ms"] >= 0
    assert not {"attempt", "fixes", "run", "parent", "error", "policy_version"} & item.keys()


def test_an_exception_passes_unchanged_and_tells_its_facts(world: World) -> None:
    error = HTTPError(429, "slow down", retry_after="3")

    @guard("search", client=world.client)
    def search() -> None:
        raise error

    with pytest.raises(HTTPError) as caught:
        search()
    assert caught.value is error
    item = world.one(task="search")
    assert (item["status"], item["success"]) == ("failed", False)
    assert item["error"]["type"] == "agent_kit.HTTPError"
    assert (item["error"]["message"], item["error"]["status"]) == ("slow down", 429)
    assert "in search" in item["error"]["stack"]


def test_what_runs_inside_is_a_tool_or_step_with_its_parent(world: World) -> None:
    @guard("search", client=world.client)
    def search() -> int:
        return 1

    @guard("ask", kind="llm", client=world.client)
    def ask() -> int:
        return search()

    with step("plan", session="s1", user="u1", client=world.client) as plan:
        ask()
        with step("inner", client=world.client):
            search()
    root = world.one(task="plan")
    assert root.items() >= {"kind": "task", "id": plan.id or root["id"], "session": "s1", "user": "u1"}.items()
    asked = world.one(task="ask")
    assert asked.items() >= {"kind": "llm", "parent": root["id"], "run": root["id"], "session": "s1"}.items()
    inner = world.one(task="inner")
    assert (inner["kind"], inner["parent"]) == ("step", root["id"])
    assert {item["parent"] for item in world.reported(task="search", kind="tool")} == {asked["id"], inner["id"]}
    assert {item["run"] for item in world.reported(task="search")} == {root["id"]}


def test_tasks_and_threads_do_not_nest_in_one_another(world: World) -> None:
    @guard("work", client=world.client)
    async def work() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(20)))

    asyncio.run(main())
    assert {item["kind"] for item in world.reported(task="work")} == {"task"}
    assert len(world.reported(task="work")) == 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_going_away_is_cancelled_not_failed(world: World, error: BaseException) -> None:
    @guard("t", client=world.client)
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        work()
    with pytest.raises(type(error)), step("s", client=world.client):
        raise error
    assert [world.one(task=task)["status"] for task in ("t", "s")] == ["cancelled", "cancelled"]


def test_a_cancelled_task_is_cancelled(world: World) -> None:
    @guard("t", client=world.client)
    async def work() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert world.one(task="t")["status"] == "cancelled"


def test_a_frameworks_control_flow_is_no_failure(world: World) -> None:
    bubble = type("GraphBubbleUp", (Exception,), {"__module__": "langgraph.errors"})
    interrupt = type("GraphInterrupt", (bubble,), {"__module__": "langgraph.errors"})

    @guard("t", client=world.client)
    def work(error: Exception) -> None:
        raise error

    for error in (interrupt(), bubble(), StopIteration()):
        with pytest.raises(type(error)):
            work(error)
    assert [item["status"] for item in world.reported(task="t")] == ["paused", "ok", "ok"]


def test_a_step_fails_by_word_or_by_exception(world: World) -> None:
    with step("word", client=world.client) as one:
        one.fail("no such page", error_type="LookupError", status=404)
        one.note(tokens_in=7)
    with pytest.raises(ValueError, match="boom"), step("raised", client=world.client):
        raise ValueError("boom")

    async def main() -> None:
        async with step("async", client=world.client) as three:
            three.fail(TimeoutError("late"))

    asyncio.run(main())
    word = world.one(task="word")
    assert word["error"] == {"message": "no such page", "type": "LookupError", "status": 404}
    assert (word["success"], word["tokens_in"]) == (False, 7)
    assert world.one(task="raised")["error"]["type"] == "ValueError"
    assert world.one(task="async")["error"]["message"] == "late"


def test_methods_and_their_kinds_work(world: World) -> None:
    class Agent:
        @guard("method", client=world.client)
        def method(self, n: int) -> int:
            return n

        @guard("static", client=world.client)
        @staticmethod
        def static(n: int) -> int:
            return n

        @guard("class", client=world.client)
        @classmethod
        def of(cls, n: int) -> str:
            return f"{cls.__name__}{n}"

    agent = Agent()
    assert (agent.method(1), agent.static(2), Agent.static(2), Agent.of(3)) == (1, 2, 2, "Agent3")
    assert len(world.reported()) == 4


def test_kinds_of_functions_stay_what_they_are(world: World) -> None:
    @guard("a", client=world.client)
    async def coroutine() -> None: ...

    @guard("b", client=world.client)
    def generator() -> Any:
        yield 1

    @guard("c", client=world.client)
    async def async_generator() -> Any:
        yield 1

    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)


def test_the_session_is_read_from_the_call(world: World) -> None:
    @guard("by name", session="thread", user="who", client=world.client)
    def by_name(query: str, thread: str | None = None, who: str = "anna") -> None: ...

    @guard("by callable", session=lambda query, **_: f"s-{query}", client=world.client)
    def by_callable(query: str) -> None: ...

    @guard("by broken", session=lambda: "never", client=world.client)
    def by_broken(query: str) -> None: ...

    by_name("q", "t1")
    by_name("q", thread="t2", who="bob")
    by_name("q")
    by_callable("x")
    by_broken("x")
    named = world.reported(task="by name")
    assert [(item.get("session"), item["user"]) for item in named] == [("t1", "anna"), ("t2", "bob"), (None, "anna")]
    assert world.one(task="by callable")["session"] == "s-x"
    assert "session" not in world.one(task="by broken")


@pytest.mark.parametrize("option", ["session", "timeout_arg", "tokens_arg", "lessons_arg"])
def test_an_option_that_names_no_parameter_is_a_mistake_at_decoration(world: World, option: str) -> None:
    with pytest.raises(TypeError, match=r"has no parameter 'nope'; it has a, b"):

        @guard("t", client=world.client, **{option: "nope"})  # type: ignore[arg-type]
        def work(a: int, b: int) -> None: ...


def test_forgetting_the_parentheses_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r'@rsi.guard\("work"\)'):

        @guard  # type: ignore[arg-type]
        def work() -> None: ...


def test_guard_is_only_ever_the_function() -> None:
    import rsi.enforce

    assert inspect.isfunction(rsi.guard)
    assert rsi.guard is rsi.enforce.guard is guard


def test_a_stream_is_one_outcome_and_its_reader_is_not_inside_it(world: World) -> None:
    @guard("inner", client=world.client)
    def inner() -> None: ...

    @guard("stream", client=world.client)
    def stream() -> Any:
        inner()
        got = yield 1
        yield got
        return "end"

    @guard("reader", client=world.client)
    def reader() -> None: ...

    def outer() -> Any:
        return (yield from stream())

    it = outer()
    assert next(it) == 1
    reader()
    assert it.send("sent") == "sent"
    with pytest.raises(StopIteration) as end:
        next(it)
    assert end.value.value == "end"
    whole = world.one(task="stream")
    assert whole["status"] == "ok"
    assert world.one(task="inner")["parent"] == whole["id"]
    assert world.one(task="reader")["kind"] == "task"


def test_a_stream_left_early_is_cancelled_and_closed(world: World) -> None:
    closed = []

    @guard("stream", client=world.client)
    def stream() -> Any:
        try:
            yield from range(5)
        finally:
            closed.append(True)

    it = stream()
    next(it)
    it.close()
    assert closed == [True]
    assert world.one(task="stream")["status"] == "cancelled"


def test_async_streams_pass_values_errors_and_ends(world: World) -> None:
    @guard("stream", client=world.client)
    async def stream(fail: bool) -> Any:
        try:
            got = yield 1
            yield got
        except LookupError:
            yield "caught"
        if fail:
            raise ValueError("late")

    async def main() -> None:
        it = stream(False)
        assert await anext(it) == 1
        assert await it.asend("sent") == "sent"
        assert [item async for item in it] == []
        it = stream(False)
        await anext(it)
        assert await it.athrow(LookupError()) == "caught"
        await it.aclose()
        with pytest.raises(ValueError, match="late"):
            _ = [item async for item in stream(True)]

    asyncio.run(main())
    assert [item["status"] for item in world.reported(task="stream")] == ["ok", "cancelled", "failed"]


def test_a_disabled_client_changes_nothing(make_client: Any) -> None:
    off = make_client(enabled=False)

    @guard("t", client=off)
    async def stream() -> Any:
        got = yield 1
        yield got

    @guard("t", client=off)
    def plain(n: int) -> int:
        return n

    async def main() -> None:
        it = stream()
        assert (await anext(it), await it.asend(5)) == (1, 5)
        await it.aclose()

    asyncio.run(main())
    assert plain(4) == 4


def test_inject_and_extract_carry_unit_and_parent(world: World) -> None:
    @guard("remote tool", client=world.client)
    def tool() -> None: ...

    assert rsi.inject() == {}
    with step("plan", session="s 1,=;ü", client=world.client):
        headers = rsi.inject({"accept": "x", "Baggage": "other=1"})
    assert headers["accept"] == "x"
    assert headers["Baggage"].startswith("other=1,rsi.")
    version, trace, span, flags = headers["traceparent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")

    def other_process() -> None:
        with rsi.extract([(key.upper().encode(), value.encode()) for key, value in headers.items()]):
            tool()
        tool()

    thread = threading.Thread(target=other_process)
    thread.start()
    thread.join()
    root = world.one(task="plan")
    inside, outside = world.reported(task="remote tool")
    assert inside.items() >= {"kind": "tool", "parent": root["id"], "run": root["id"], "session": "s 1,=;ü"}.items()
    assert (outside["kind"], "parent" in outside) == ("task", False)


@pytest.mark.parametrize(
    "headers", [{}, {"baggage": "rsi.run="}, {"baggage": "%%%;;;,,=,rsi.unit"}, [("a",)], None, {"baggage": 5}]
)
def test_foreign_headers_change_nothing(headers: Any) -> None:
    with rsi.extract(headers):
        assert rsi.inject() == {}


def test_a_sick_exception_replaces_nothing(world: World) -> None:
    class Sick(Exception):
        def __str__(self) -> str:
            raise RuntimeError("cannot say")

        @property
        def status_code(self) -> int:
            raise RuntimeError("cannot say either")

    @guard("t", client=world.client)
    def work() -> None:
        raise Sick

    with pytest.raises(Sick):
        work()
    assert world.one(task="t")["error"]["type"].endswith("Sick")


def test_the_daemon_hears_of_a_guard_only_what_it_can_do(world: World) -> None:
    @guard("plain", client=world.client)
    def plain() -> None: ...

    @guard(
        "rich",
        idempotent=True,
        timeout_arg="timeout",
        fallbacks={"b": print},
        reask=print,
        tokens_arg="n",
        client=world.client,
    )
    def rich(timeout: float = 1, n: int = 1) -> None: ...

    @guard("async", client=world.client)
    async def coroutine() -> None: ...

    @guard("stream", idempotent=True, client=world.client)
    def stream() -> Any:
        yield 1

    plain()
    rich()
    asyncio.run(coroutine())
    list(stream())
    wait_for(lambda: len([query for query in world.daemon.policy_queries if "task" in query]) == 4)
    told = {
        query["task"]: set(query["enforces"].split(",")) for query in world.daemon.policy_queries if "task" in query
    }
    assert told == {
        "plain": {"max_concurrency", "breaker"},
        "rich": {"retry", "timeout_s", "fallbacks", "reask", "max_output_tokens", "max_concurrency", "breaker"},
        "async": {"timeout_s", "max_concurrency", "breaker"},
        "stream": {"retry", "breaker"},
    }


def test_rsi_yaml_may_say_what_is_idempotent(home: Any, daemon: Any, make_client: Any) -> None:
    (home / "rsi.yaml").write_text("sources: {app: {idempotent: [search]}}\n")
    client = make_client(url=daemon.url, home=home)

    @guard("search", client=client)
    def search() -> None: ...

    search()
    told = wait_for(lambda: [query for query in daemon.policy_queries if query.get("task") == "search"])
    assert "retry" in told[0]["enforces"].split(",")


def test_ids_in_a_tasks_name_do_not_make_every_call_its_own_task(world: World) -> None:
    with step("order 12345", client=world.client):
        guard("page 17", client=world.client)(lambda: None)()
    assert {item["task"] for item in world.reported()} == {"order <n>", "page <n>"}
