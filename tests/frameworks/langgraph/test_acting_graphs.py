"""`apply_to_graph`: the tries of a node follow the policy of the unit at hand, and everything can be taken back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from agent_kit import HTTPError, trial
from conftest import NEW
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy, Send, interrupt
from scripted import Failing, State, busy, chain_of

import rsi.client
from rsi.enforce import guard
from rsi_adapters.langgraph import apply_to_graph

QUICK = {"max_attempts": 3, "initial_s": 0.001}


class Threads:
    """A node's work that fails the first `n` times in each thread of conversation."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.tries: dict[str, int] = {}
        self._lock = threading.Lock()
        self.__name__ = "work"

    def __call__(self, state: State, config: RunnableConfig) -> dict[str, int]:
        thread = config["configurable"]["thread_id"]
        with self._lock:
            self.tries[thread] = tried = self.tries.get(thread, 0) + 1
        if tried <= self.n:
            raise busy(1)[0]
        return {"x": 1}


def invoke(graph: Any, thread: str = "t") -> Any:
    return graph.invoke({"x": 0}, {"configurable": {"thread_id": thread}})


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_a_node_is_tried_again_as_the_policy_says(world, how):
    from test_observed_graphs import run

    world.policy(retry=QUICK)
    work = Failing(*busy(2))
    graph = chain_of(work)
    apply_to_graph(graph)
    run(graph, how)
    assert work.tries == 3
    assert [(i["status"], i.get("attempt", 1)) for i in world.sent(kind="step")] == [
        ("failed", 1),
        ("failed", 2),
        ("ok", 3),
    ]
    root = world.sent(kind="task")[0]
    assert (root["status"], root["policy_version"], root["attempt"]) == ("ok", 1, 3)


def test_retry_exhausted(world):
    world.policy(retry=QUICK)
    work = Failing(*busy(9))
    graph = chain_of(work)
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert work.tries == 3
    assert world.brief() == [("step", "work", "failed", "HTTPError")] * 3 + [("task", "app", "failed", "HTTPError")]


def test_what_cannot_go_better_is_not_tried_again(world):
    world.policy(retry=QUICK)
    work = Failing(HTTPError(400), HTTPError(400))
    graph = chain_of(work)
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert work.tries == 1


def test_without_a_policy_nothing_changes(world):
    work = Failing(*busy(1))
    graph = chain_of(work)
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert work.tries == 1
    assert "policy_version" not in world.sent(kind="task")[0]


@pytest.mark.parametrize("how", ["sync", "async", "threads"])
def test_both_arms_in_one_process(world, how):
    world.policy(trial(patch={"retry": QUICK}))
    work = Threads(1)
    graph = chain_of(work)
    apply_to_graph(graph)
    threads = [f"t{n}" for n in range(24)]

    def one(thread: str) -> None:
        with contextlib.suppress(HTTPError):
            invoke(graph, thread)

    async def later(thread: str) -> None:
        with contextlib.suppress(HTTPError):
            await graph.ainvoke({"x": 0}, {"configurable": {"thread_id": thread}})

    async def all_of_them() -> None:
        await asyncio.gather(*map(later, threads))

    if how == "async":
        asyncio.run(all_of_them())
    elif how == "threads":
        workers = [threading.Thread(target=one, args=(thread,)) for thread in threads]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
    else:
        [one(thread) for thread in threads]
    arms = {i["session"]: i["fixes"][0]["arm"] for i in world.sent(kind="task")}
    assert len(arms) == 24
    assert set(arms.values()) == {"fixed", "control"}
    for item in world.sent(kind="task"):
        (fix,) = item["fixes"]
        assert (fix["id"], fix["f"], fix["enforced"]) == ("f1", 0.5, True)
        assert item["status"] == ("ok" if fix["arm"] == "fixed" else "failed")
        assert work.tries[item["session"]] == (2 if fix["arm"] == "fixed" else 1)
    assert sorted(i["session"] for i in world.sent(status="started")) == sorted(threads)


def test_a_unit_that_never_fails_is_in_the_experiment_too(world):
    world.policy(trial(patch={"retry": QUICK}))
    graph = chain_of(Failing())
    apply_to_graph(graph)
    invoke(graph)
    assert len(world.sent(kind="task", status="ok")[0]["fixes"]) == 1


def test_a_rollback_holds_without_a_restart(world):
    graph = chain_of(Threads(1))
    apply_to_graph(graph)
    world.policy(retry=QUICK)
    assert invoke(graph, "a") == {"x": 1}
    world.version += 1
    world.daemon.set_policy("app", world.version)
    from agent_kit import policy_of

    policy_of(world.client, "app", world.version)
    with pytest.raises(HTTPError):
        invoke(graph, "b")


def test_it_can_be_taken_back(world):
    world.policy(retry=QUICK)
    graph = chain_of(Threads(1))
    before = [(node.retry_policy, node.metadata) for node in graph.nodes.values()]
    with apply_to_graph(graph) as applied:
        assert applied.nodes == ["work"]
        assert apply_to_graph(graph).nodes == []
        invoke(graph, "a")
    assert [(node.retry_policy, node.metadata) for node in graph.nodes.values()] == before
    with pytest.raises(HTTPError):
        invoke(graph, "b")


@pytest.mark.parametrize(("theirs", "ours", "tries"), [(2, 3, 3), (4, 2, 4)])
def test_a_policy_of_the_nodes_own_is_not_multiplied(world, theirs, ours, tries):
    world.policy(retry={**QUICK, "max_attempts": ours})
    work = Failing(*busy(20))
    own = RetryPolicy(max_attempts=theirs, initial_interval=0.001, jitter=False, retry_on=HTTPError)
    graph = chain_of(work, retry_policy=own)
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert work.tries == tries
    assert [i.get("attempt", 1) for i in world.sent(kind="step")] == list(range(1, tries + 1))


def test_in_the_control_arm_a_nodes_own_policy_is_what_it_was(world):
    world.policy(trial(patch={"retry": {**QUICK, "max_attempts": 3}}, fraction=0.0))
    work = Failing(*busy(20))
    graph = chain_of(work, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.001, retry_on=HTTPError))
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert work.tries == 2
    assert world.sent(kind="task")[0]["fixes"][0]["arm"] == "control"


def test_with_retry_is_an_inner_layer(world):
    world.policy(retry={**QUICK, "max_attempts": 6})
    work = Failing(*busy(50))
    patient = RunnableLambda(work).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    graph = StateGraph(State).add_node("work", patient).add_edge(START, "work").compile(name="app")
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert work.tries == 6
    assert world.brief()[-1] == ("task", "app", "failed", "HTTPError")


def test_nested_graphs_are_tried_where_it_failed(world):
    world.policy(retry=QUICK)
    first, work = Failing(name="first"), Failing(*busy(2))
    inner = chain_of(first, work, name="inner")
    graph = StateGraph(State).add_node("outer", inner).add_edge(START, "outer").compile(name="app")
    assert apply_to_graph(graph).nodes == ["outer/first", "outer/work"]
    graph.invoke({"x": 0})
    assert (first.tries, work.tries) == (1, 3)
    assert world.brief()[-1] == ("task", "app", "ok", None)


def test_only_the_named_nodes(world):
    world.policy(retry=QUICK)
    pay, work = Failing(*busy(1), name="pay"), Failing()
    graph = chain_of(work, pay)
    with pytest.raises(ValueError, match="no node send; it has work, pay"):
        apply_to_graph(graph, nodes=["send"])
    assert apply_to_graph(graph, nodes=["work"]).nodes == ["work"]
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert pay.tries == 1


def test_tool_nodes_are_left_alone(world):
    from langchain_core.tools import tool
    from langgraph.graph import MessagesState
    from langgraph.prebuilt import ToolNode

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        return "paid"

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([pay])).add_edge(START, "tools")
    graph = builder.compile()
    assert apply_to_graph(graph).nodes == []
    assert apply_to_graph(graph, nodes=["tools"]).nodes == ["tools"]


def test_branches_of_one_unit_are_counted_apart(world):
    world.policy(retry=QUICK)
    tries: dict[int, int] = {}

    def fan(state: State) -> Any:
        return [Send("work", {"x": n}) for n in range(3)]

    def work(state: State) -> dict[str, int]:
        tries[state["x"]] = tries.get(state["x"], 0) + 1
        if tries[state["x"]] < 3:
            raise busy(1)[0]
        return {"x": 1}

    graph = StateGraph(State).add_node("work", work).add_conditional_edges(START, fan, ["work"]).compile(name="app")
    apply_to_graph(graph)
    assert graph.invoke({"x": 0}) == {"x": 3}
    assert tries == {0: 3, 1: 3, 2: 3}
    assert world.brief()[-1] == ("task", "app", "ok", None)


def test_a_branch_that_begins_after_another_failed_is_its_own_first_try(world):
    tries: dict[int, int] = {}

    def fan(state: State) -> Any:
        return [Send("work", {"x": n}) for n in range(3)]

    async def work(state: State) -> dict[str, int]:
        n = state["x"]
        tries[n] = tries.get(n, 0) + 1
        if n == 0 and tries[n] == 1:
            raise busy(1)[0]
        await asyncio.sleep(0.02)
        return {"x": 1}

    again = RetryPolicy(max_attempts=2, initial_interval=0.2, jitter=False, retry_on=HTTPError)
    builder = StateGraph(State).add_node("work", work, retry_policy=again)
    graph = builder.add_conditional_edges(START, fan, ["work"]).compile(name="app")
    asyncio.run(graph.ainvoke({"x": 0}, {"max_concurrency": 2}))
    assert tries == {0: 2, 1: 1, 2: 1}
    told = [(item["status"], item.get("attempt", 1)) for item in world.sent(kind="step") if item["task"] == "work"]
    assert told == [("failed", 1), ("ok", 1), ("ok", 1), ("ok", 2)]


def test_a_person_who_is_asked_is_no_reason_to_try_again(world):
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    world.policy(retry=QUICK)
    tries: list[int] = []

    def ask(state: State) -> dict[str, int]:
        tries.append(1)
        found = interrupt("ok?")
        if len(tries) == 2:
            raise busy(1)[0]
        return {"x": found}

    graph = chain_of(ask, compiled={"checkpointer": InMemorySaver()})
    apply_to_graph(graph)
    thread = {"configurable": {"thread_id": "t"}}
    graph.invoke({"x": 0}, thread)
    if NEW:
        assert graph.invoke(Command(resume=5), thread) == {"x": 5}
    else:  # a second try would ask the person a second time
        with pytest.raises(HTTPError):
            graph.invoke(Command(resume=5), thread)
    assert len(tries) == (3 if NEW else 2)
    assert [i["status"] for i in world.sent(kind="task")] == ["paused", "ok" if NEW else "failed"]


def test_a_guard_around_owns_the_tries(world):
    world.policy(retry={**QUICK, "max_attempts": 2})
    work = Failing(*busy(9))
    graph = chain_of(work)
    apply_to_graph(graph)

    @guard("answer", idempotent=True, inner_retries=1)
    def answer() -> Any:
        return graph.invoke({"x": 0})

    with pytest.raises(HTTPError):
        answer()
    assert work.tries == 2


def test_a_guard_inside_only_observes(world):
    world.policy(retry={**QUICK, "max_attempts": 2})
    tries: list[int] = []

    @guard("lookup", idempotent=True)
    def lookup() -> int:
        tries.append(1)
        raise busy(1)[0]

    def work(state: State) -> dict[str, int]:
        return {"x": lookup()}

    graph = chain_of(work)
    apply_to_graph(graph)
    with pytest.raises(HTTPError):
        graph.invoke({"x": 0})
    assert len(tries) == 2


def test_streams_that_are_read_in_turns_keep_their_arms(world):
    world.policy(trial(patch={"retry": QUICK}))
    work = Threads(1)
    graph = chain_of(Failing(name="first"), work)
    apply_to_graph(graph)
    streams = {f"t{n}": graph.stream({"x": 0}, {"configurable": {"thread_id": f"t{n}"}}) for n in range(16)}
    for stream in streams.values():
        next(stream)
    for stream in streams.values():
        with contextlib.suppress(HTTPError):
            list(stream)
    for item in world.sent(kind="task"):
        assert item["status"] == ("ok" if item["fixes"][0]["arm"] == "fixed" else "failed")
    assert {i["fixes"][0]["arm"] for i in world.sent(kind="task")} == {"fixed", "control"}


@pytest.mark.skipif(not NEW, reason="nodes have timeouts since langgraph 1.2")
def test_a_node_that_timed_out_is_tried_again(world):
    world.policy(retry={**QUICK, "on": ["timeout_tool", "timeout_model"]})
    tries: list[int] = []

    async def slow(state: State) -> dict[str, int]:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.Event().wait()
        return {"x": 1}

    graph = chain_of(slow, timeout=0.05)
    apply_to_graph(graph)
    asyncio.run(graph.ainvoke({"x": 0}))
    assert world.brief() == [
        ("step", "slow", "failed", "NodeTimeoutError"),
        ("step", "slow", "ok", None),
        ("task", "app", "ok", None),
    ]


def test_only_observing_changes_no_graph(daemon, monkeypatch):
    monkeypatch.setenv("RSI_OBSERVE_ONLY", "1")
    client = rsi.client.configure(url=daemon.url, source="app", enabled=True)
    graph = chain_of(Failing())
    assert apply_to_graph(graph).nodes == []
    assert graph.nodes["work"].metadata is None
    graph.invoke({"x": 0})
    assert client.flush(5)
    assert [(i["task"], i["status"]) for i in daemon.items()] == [("work", "ok"), ("app", "ok")]


def test_what_the_layer_can_do_is_told_to_the_daemon(world):
    graph = chain_of(Failing())
    apply_to_graph(graph)
    graph.invoke({"x": 0})
    world.sent()
    offered = {query.get("task"): query.get("enforces") for query in world.daemon.policy_queries}
    assert (offered["app"], offered["work"]) == ("retry", "retry")


def test_the_log_says_what_was_done(world, caplog):
    caplog.set_level("INFO", logger="rsi")
    world.policy(retry=QUICK)
    graph = chain_of(Failing(*busy(1)))
    apply_to_graph(graph)
    graph.invoke({"x": 0})
    assert "retry 2/3 work (person)" in caplog.text
