"""How it is hooked and unhooked, and that the host never notices."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from scripted import State, chain_of

import rsi.client
from rsi_adapters.langgraph import RSICallbackHandler, install, uninstall
from rsi_adapters.langgraph.adapter import LangGraphAdapter
from rsi_adapters.langgraph.table import TABLE


def add(state: State) -> dict[str, int]:
    return {"x": 1}


ONCE = [("step", "add", "ok", None), ("task", "app", "ok", None)]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_handler_for_one_call(world, how):
    uninstall()
    graph, config = chain_of(add), {"callbacks": [RSICallbackHandler()]}
    graph.invoke({"x": 0}, config) if how == "invoke" else asyncio.run(graph.ainvoke({"x": 0}, config))
    assert world.brief() == ONCE


def test_a_handler_for_one_call_beside_the_one_for_all_tells_nothing_twice(world):
    chain_of(add).invoke({"x": 0}, {"callbacks": [RSICallbackHandler(source="mine"), RSICallbackHandler()]})
    assert world.brief() == ONCE
    assert {i["source"] for i in world.sent()} == {"mine"}


def test_installing_twice_tells_nothing_twice_and_can_be_undone(world):
    adapter = LangGraphAdapter()
    assert adapter.available()
    assert adapter.install() == adapter.install()
    chain_of(add).invoke({"x": 0})
    assert world.brief() == ONCE
    adapter.uninstall()
    chain_of(add).invoke({"x": 0})
    assert world.brief() == ONCE


def test_switched_off_nothing_is_hooked(daemon, monkeypatch):
    monkeypatch.setenv("RSI_DISABLE", "1")
    rsi.client.configure(url=daemon.url, source="app")
    assert not install()
    chain_of(add).invoke({"x": 0}, {"callbacks": [RSICallbackHandler()]})
    assert rsi.client.flush()
    assert daemon.requests == []


def test_a_handler_that_breaks_breaks_nothing(world, monkeypatch, caplog):
    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("our own mistake")

    monkeypatch.setattr(TABLE, "begin", broken)
    with caplog.at_level(logging.WARNING):
        assert chain_of(add).invoke({"x": 0}) == {"x": 1}
        assert asyncio.run(chain_of(add).ainvoke({"x": 0})) == {"x": 1}
    assert world.client.status()["adapter_errors"] == 4
    assert [record.message for record in caplog.records if "our own mistake" in record.message] != []
    assert world.sent() == []


def test_a_graph_that_is_never_read_to_its_end_does_not_fill_the_memory(world, monkeypatch):
    from rsi_adapters.langgraph import table

    monkeypatch.setattr(table, "MAX_OPEN", 5)
    streams = [chain_of(add).stream({"x": 0}) for _ in range(20)]
    for stream in streams:
        next(stream)
    assert len(TABLE) <= 6
    for stream in streams:
        stream.close()


def test_plain_chains_are_tasks_named_by_run_name_or_module(world):
    RunnableLambda(lambda x: x).with_config(run_name="clean 12345").invoke(1)
    RunnableLambda(lambda x: x).invoke(1)
    assert [line[:3] for line in world.brief()] == [("task", "clean <n>", "ok"), ("task", "test_hooking", "ok")]


def run(program: str, tmp_path: Path, **env: str) -> str:
    """In a process of its own, with what this one can import."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program), encoding="utf-8")
    paths = [p for p in sys.path if p and not Path(p).is_relative_to(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        env={"PYTHONPATH": ":".join(paths), "XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_the_framework_is_loaded_before_it_is_used(tmp_path):
    said = run(
        """
        import sys
        import rsi_adapters.langgraph
        print([name for name in sys.modules if name.startswith(("langchain", "langgraph"))])
        """,
        tmp_path,
    )
    assert said == "[]\n"


def test_a_missing_framework_names_the_extra(tmp_path):
    said = run(
        """
        import sys
        sys.modules["langchain_core"] = None
        from rsi.errors import RSIError
        try:
            from rsi_adapters.langgraph import RSICallbackHandler
        except (RSIError, ImportError) as error:
            print(type(error).__name__, error)
        """,
        tmp_path,
    )
    assert "rsi[langgraph]" in said


def test_one_line_in_the_module_of_a_graph(tmp_path, daemon):
    """As a server loads it: the module is imported, its graph copied with another checkpointer, and run."""
    (tmp_path / "agent.py").write_text(
        textwrap.dedent(
            """
            from typing import TypedDict
            from langgraph.graph import START, StateGraph
            from rsi_adapters.langgraph import apply_to_graph

            class State(TypedDict):
                x: int

            graph = StateGraph(State).add_node("a", lambda s: {"x": 1}).add_edge(START, "a").compile()
            apply_to_graph(graph)
            """
        ),
        encoding="utf-8",
    )
    run(
        """
        import sys
        sys.path.insert(0, sys.argv[0].rpartition("/")[0])
        import agent
        from langgraph.checkpoint.memory import InMemorySaver
        copied = agent.graph.copy(update={"checkpointer": InMemorySaver()})
        copied.invoke({"x": 0}, {"configurable": {"thread_id": "t"}, "metadata": {"graph_id": "helper"}})
        """,
        tmp_path,
        RSI_URL=daemon.url,
        RSI_SOURCE="served",
    )
    items = [(i["kind"], i["task"], i["status"]) for i in daemon.items(source="served")]
    assert items == [("step", "a", "ok"), ("task", "helper", "ok")]


@pytest.mark.parametrize("first", ["rsi.auto", "langgraph.graph"])
def test_one_import_hooks_it_whichever_comes_first(tmp_path, daemon, first):
    second = {"rsi.auto": "langgraph.graph", "langgraph.graph": "rsi.auto"}[first]
    said = run(
        f"""
        import warnings
        warnings.simplefilter("error", RuntimeWarning)
        import {first}
        import {second}
        from typing import TypedDict
        from langgraph.graph import START, StateGraph
        import rsi.auto

        class State(TypedDict):
            x: int

        graph = StateGraph(State).add_node("a", lambda s: {{"x": 1}}).add_edge(START, "a").compile(name="app")
        graph.invoke({{"x": 0}})
        print(rsi.auto.report()["langgraph"])
        """,
        tmp_path,
        RSI_URL=daemon.url,
        RSI_SOURCE="auto",
    )
    assert said.startswith("hooked: langgraph: every graph")
    items = [(i["kind"], i["task"], i["status"]) for i in daemon.items(source="auto")]
    assert items == [("step", "a", "ok"), ("task", "app", "ok")]


def test_the_entry_point_and_the_built_in_name_are_the_same():
    from importlib.metadata import entry_points

    from rsi.auto.adapters import BUILT_IN

    (declared,) = entry_points(group="rsi.adapters", name="langgraph")
    (built_in,) = [each for each in BUILT_IN if each.name == "langgraph"]
    assert declared.value == built_in.target
    assert isinstance(built_in.load(), LangGraphAdapter)


@pytest.mark.parametrize("there", [True, False])
def test_the_hosts_thread_neither_reads_nor_writes_nor_connects(tmp_path, daemon, there):
    """With the daemon there, and away: Python itself tells of every file, socket and process that a thread asks for."""
    said = run(
        """
        import sys, threading
        from typing import TypedDict
        from langgraph.graph import START, StateGraph
        import rsi
        from rsi_adapters.langgraph import apply_to_graph, install

        class State(TypedDict):
            x: int

        def work(state):
            if state["x"]:
                raise ValueError("no")
            return {"x": 1}

        install()
        graph = StateGraph(State).add_node("work", work).add_edge(START, "work").compile(name="app")
        apply_to_graph(graph)

        def both():
            graph.invoke({"x": 0})
            try:
                graph.invoke({"x": 1})
            except ValueError:
                pass

        both()  # loads what is loaded once
        host, heard, listening = threading.get_ident(), [], True
        PREFIXES = ("open", "os.", "socket.", "subprocess.", "shutil.", "sqlite3.", "urllib.", "http.", "time.sleep", "import")

        def hook(event, args):
            if listening and threading.get_ident() == host and event.startswith(PREFIXES):
                heard.append((event, str(args)[:80]))

        sys.addaudithook(hook)
        for _ in range(50):
            both()
        listening = False
        rsi.flush(10)
        print(heard)
        """,
        tmp_path,
        RSI_URL=daemon.url if there else "http://127.0.0.1:9",
        RSI_SOURCE="quiet",
    )
    assert said == "[]\n"
    assert len(daemon.items(source="quiet", kind="task")) == (102 if there else 0)
