"""Spans → outcomes: which span is what, what failed and where it began."""

from __future__ import annotations

import pytest
from otel_kit import agent, chain, chat, serving, span, tool

from rsi import clock


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("otel") / "home") as served:
        yield served


@pytest.fixture
def otel(shared):
    return shared.fresh()


def test_a_run_is_a_task_with_what_is_inside_it(otel):
    root = agent("support", gen_ai__conversation__id="conv-1")
    call = chat(
        root, gen_ai__provider__name="openai", gen_ai__response__model="gpt-x-2026",
        gen_ai__usage__input_tokens=12, gen_ai__usage__output_tokens=4, gen_ai__response__finish_reasons=["stop"],
    )  # fmt: skip
    otel.send(call, tool("search", root), root, service__version="1.4", deployment__environment__name="prod")
    assert otel.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok"), ("tool", "search", "ok")]
    told = otel.told()
    task, model, used = told["support"], told["chat gpt-x"], told["search"]
    assert (task.id, task.parent, task.run) == (f"otel:{root['traceId']}:{root['spanId']}", None, root["traceId"])
    assert model.parent == used.parent == task.id
    assert {outcome.session for outcome in told.values()} == {"conv-1"}
    assert {outcome.source for outcome in told.values()} == {otel.service}
    assert (model.model, model.provider, model.tokens_in, model.tokens_out) == ("gpt-x-2026", "openai", 12, 4)
    assert (task.tokens_in, task.tokens_out) == (12, 4)
    assert task.duration_ms == pytest.approx(1000)
    assert (task.release, task.env) == ("1.4", "prod")


def test_the_older_names_say_the_same(otel):
    otel.send(
        span(
            "chat",
            gen_ai__system="azure",
            gen_ai__request__model="m",
            gen_ai__usage__prompt_tokens=7,
            gen_ai__usage__completion_tokens=2,
        )
    )
    told = otel.told()["chat"]
    assert (told.kind, told.provider, told.model, told.tokens_in, told.tokens_out) == ("task", "azure", "m", 7, 2)


def test_openinference_says_the_same(otel):
    root = chain("demo_graph", session__id="s-9", user__id="u-1")
    call = chain(
        "ChatOpenAI",
        root,
        kind="LLM",
        llm__model_name="m",
        llm__provider="openai",
        llm__token_count__prompt=5,
        llm__token_count__completion=2,
        llm__cost__total=0.25,
    )
    docs = chain("Retriever", root, kind="RETRIEVER")
    used = chain("lookup", root, kind="TOOL", tool__name="find")
    otel.send(call, docs, used, root)
    assert otel.brief() == [
        ("llm", "ChatOpenAI", "ok"), ("step", "Retriever", "ok"), ("task", "demo_graph", "ok"), ("tool", "find", "ok"),
    ]  # fmt: skip
    task = otel.told()["demo_graph"]
    assert (task.session, task.user, task.tokens_in, task.cost_usd) == ("s-9", "u-1", 5, 0.25)


def test_an_error_is_told_where_it_began_and_by_the_task(otel):
    raised = {"raised": ("ValueError", "tool boom")}
    root = chain("graph", **raised)
    node = chain("n2", root, **raised)
    otel.send(chain("bad", node, kind="TOOL", **raised), node, root)
    assert otel.brief() == [("task", "graph", "failed"), ("tool", "bad", "failed")]
    told = otel.told()
    assert told["bad"].parent == told["graph"].id, "what lies between has no outcome"
    assert (told["bad"].error, told["bad"].error_type) == ("tool boom", "ValueError")
    assert told["bad"].stack


def test_an_error_that_another_wraps_began_inside(otel):
    outer = ("app.NodeError", "node failed")
    root = chain("graph", raised=outer)
    node = chain("n", root, raised=outer)
    node["events"][0]["attributes"][2]["value"]["stringValue"] = (
        "ValueError: inner\n\nThe above exception was the direct cause of\napp.NodeError: node failed"
    )
    otel.send(chain("bad", node, kind="TOOL", raised=("ValueError", "inner")), node, root)
    assert otel.brief() == [("task", "graph", "failed"), ("tool", "bad", "failed")]


def test_two_errors_are_two(otel):
    root = agent()
    node = chain("n", root, raised=("KeyError", "'b'"))
    otel.send(tool("search", node, raised=("TimeoutError", "t/o")), node, root)
    assert otel.brief() == [("step", "n", "failed"), ("task", "support", "ok"), ("tool", "search", "failed")]


def test_an_exception_event_without_the_status_is_nothing(otel):
    root = agent()
    otel.send(tool("search", root, raised=("ValueError", "handled"), code=1), root)
    assert otel.brief() == [("task", "support", "ok"), ("tool", "search", "ok")]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_waiting_for_a_person_is_paused_all_the_way_up(otel, code):
    interrupt = {"raised": ("langgraph.errors.GraphInterrupt", "(Interrupt(...),)"), "code": code}
    root = chain("graph")
    sub = chain("sub", root, **interrupt)
    otel.send(chain("ask", sub, **interrupt), sub, root)
    assert otel.brief() == [("step", "ask", "paused"), ("step", "sub", "paused"), ("task", "graph", "paused")]


def test_a_command_to_the_parent_graph_is_no_failure(otel):
    root = chain("graph")
    otel.send(chain("n", root, raised=("langgraph.errors.ParentCommand", "goto")), root)
    assert otel.brief() == [("step", "n", "ok"), ("task", "graph", "ok")]


def test_cancelled_is_no_failure(otel):
    cancelled = {"raised": ("CancelledError", "")}
    root = chain("graph", **cancelled)
    otel.send(chain("slow", root, **cancelled), root)
    assert otel.brief() == [("step", "slow", "cancelled"), ("task", "graph", "cancelled")]


def test_a_retry_that_worked_counts_its_tries(otel):
    root, now = chain("graph"), clock.now() - 100
    down = ("ConnectionError", "down")
    tries = [
        chain("n", root, start=now, raised=down),
        chain("n", root, start=now + 2, raised=down),
        chain("n", root, start=now + 4),
    ]
    otel.send(*tries, root)
    found = sorted((o.attempt or 1, o.status) for o in otel.outcomes() if o.task == "n")
    assert found == [(1, "failed"), (2, "failed"), (3, "ok")]
    assert otel.brief()[-1] == ("task", "graph", "ok")


def test_calls_at_the_same_time_are_no_retries(otel):
    root, now = chain("graph"), clock.now() - 100
    otel.send(*[tool("t", root, start=now, raised=("OSError", f"e{i}")) for i in range(3)], root)
    assert [o.attempt for o in otel.outcomes() if o.task == "t"] == [None] * 3


def test_a_span_that_is_no_agents_has_no_outcome(otel):
    root = agent()
    http = span("POST", root, error="429", http__response__status_code=429, url__full="http://x")
    otel.send(chat(http), http, root)
    assert otel.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok")]
    assert otel.told()["chat gpt-x"].parent == otel.told()["support"].id


def test_a_request_around_an_agent_is_the_task(otel):
    request = span("POST /chat", error="", error__type="500", http__response__status_code=500)
    run = agent(
        "support", request, raised=("openai.RateLimitError", "Rate limit reached"), gen_ai__conversation__id="c"
    )
    otel.send(run, request)
    assert otel.brief() == [("step", "support", "failed"), ("task", "POST /chat", "failed")]
    task = otel.told()["POST /chat"]
    assert (task.error, task.error_type, task.session) == ("Rate limit reached", "RateLimitError", "c")


def test_traces_without_an_agent_have_no_outcomes(otel):
    root = span("GET /", http__response__status_code=200)
    otel.send(span("SELECT", root, error="no such table"), root)
    assert otel.outcomes() == []


def test_a_model_call_by_itself_is_a_task(otel):
    otel.send(chat(error="boom", error__type="429"))
    told = otel.told()["chat gpt-x"]
    assert (told.kind, told.status, told.error, told.error_status, told.error_type) == (
        "task",
        "failed",
        "boom",
        429,
        None,
    )


def test_a_model_call_in_a_bare_thread_of_langchain_is_no_task(otel):
    otel.send(chain("ChatOpenAI", kind="LLM"), scope="openinference.instrumentation.langchain")
    assert otel.brief() == [("llm", "ChatOpenAI", "ok")]


def test_a_call_that_two_libraries_saw_is_one(otel):
    root = agent()
    call = chain("ChatOpenAI", root, kind="LLM", llm__token_count__prompt=5)
    used = tool("find", root)
    otel.send(chat(call, gen_ai__usage__input_tokens=5), call, tool("find", used), used, root)
    assert otel.brief() == [("llm", "ChatOpenAI", "ok"), ("task", "support", "ok"), ("tool", "find", "ok")]
    assert otel.told()["support"].tokens_in == 5


def test_a_grade_is_the_quality_of_its_span_and_of_the_run(otel):
    root = agent()
    grades = [
        {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.25, "gen_ai.evaluation.score.label": "fail"},
        {"gen_ai.evaluation.name": "fluency", "gen_ai.evaluation.score.value": 1.0},
    ]  # fmt: skip
    otel.send(chat(root, grades=grades), root)
    assert {task: outcome.quality for task, outcome in otel.told().items()} == {"support": 2.0, "chat gpt-x": 2.0}


def test_what_was_said_is_not_stored(otel):
    said = {
        "gen_ai__input__messages": "my secret plan",
        "input__value": "my secret plan",
        "output__value": "my secret plan",
    }
    otel.send(agent(**said))
    assert otel.outcomes()
    files = [path for path in otel.home.state.rglob("*") if path.is_file()]
    assert any(path.name == "otel.db" for path in files)
    assert not [path for path in files if b"my secret plan" in path.read_bytes()]


@pytest.mark.parametrize("cut", [-30, -20, -10, -1, 0, 1, 5, 1_020, 1_024, 1_030])
def test_a_secret_at_the_cut_of_a_long_error_is_in_no_file(otel, cut):
    secret = "postgres://bob:S3cr3tP4ssw0rdXYZ@db/x"
    text = ("word " * 4_000)[: 8_192 + cut - secret.index("@")] + " " + secret + " and more"
    otel.send(agent(error=text, raised=("DbError", text)))
    assert len(otel.told()["support"].error or "") > 7_000
    files = [path for path in otel.home.state.rglob("*") if path.is_file()]
    assert not [path for path in files if b"S3cr3tP" in path.read_bytes()]


def test_a_secret_in_an_error_is_in_no_file(otel):
    key = "sk-proj-" + "Ab3dEf6hIj9kLm2nOp5q" * 2
    otel.send(agent(error=f"bad key {key}", raised=("AuthError", f"bad key {key}")))
    assert "[redacted" in (otel.told()["support"].error or "")
    assert not [path for path in otel.home.state.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_a_sender_without_a_name_is_called_like_the_project(otel):
    otel.service = None
    otel.send(agent("a"))
    otel.service = "unknown_service:python"
    otel.send(agent("b"))
    assert {outcome.task for outcome in otel.outcomes("home")} == {"a", "b"}


def test_an_announcement_is_no_span(otel):
    root = agent()
    otel.send(
        span("invoke_agent support", root, logfire__span_type="pending_span", gen_ai__agent__name="support"), root
    )
    assert otel.brief() == [("task", "support", "ok")]


def test_old_spans_are_backfill(otel):
    otel.send(agent(start=clock.now() - 3 * 86_400))
    assert otel.told()["support"].backfill


def test_an_agent_within_an_agent_is_a_step(otel):
    root = agent("boss")
    inner = agent("worker", root, raised=("ValueError", "x"))
    otel.send(chat(inner, raised=("ValueError", "x")), inner, root)
    assert otel.brief() == [("llm", "chat gpt-x", "failed"), ("task", "boss", "ok")]


def test_the_vercel_sdk_is_read(otel):
    root = span("ai.generateText", ai__telemetry__functionId="summarise", ai__model__id="m")
    call = span(
        "ai.generateText.doGenerate",
        root,
        gen_ai__system="openai.chat",
        gen_ai__request__model="m",
        gen_ai__usage__input_tokens=3,
    )
    otel.send(call, span("ai.toolCall", root, ai__toolCall__name="find"), root)
    assert otel.brief() == [
        ("llm", "ai.generateText.doGenerate", "ok"),
        ("task", "summarise", "ok"),
        ("tool", "find", "ok"),
    ]
    assert otel.told()["summarise"].tokens_in == 3
