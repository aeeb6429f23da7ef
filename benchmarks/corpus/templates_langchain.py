"""LangChain and LangGraph: small chains and graphs really run, with scripted models or the loopback server."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import ToolException, tool
from langgraph.errors import GraphDrained, NodeCancelledError, NodeTimeoutError
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from langgraph.types import Command, interrupt
from pydantic import create_model
from server import LOOPBACK
from template import template


class State(TypedDict, total=False):
    value: str


class Listed(TypedDict, total=False):
    items: Annotated[list, operator.add]


def graph(*nodes, fan=False):
    """Nodes in a row, or all at once."""
    built = StateGraph(State)
    names = [f"{node.__name__}" for node in nodes]
    for name, node in zip(names, nodes, strict=True):
        built.add_node(name, node)
    edges = [(START, name) for name in names] if fan else list(zip([START, *names], [*names, END], strict=True))
    for first, second in edges:
        built.add_edge(first, second)
    return built.compile()


def named(name, result):
    def node(state):
        return result

    node.__name__ = name
    return node


# --- langchain
@template("langchain.json", "output_parse", "langchain")
def _(s):
    JsonOutputParser().parse(f"Sure, here is the {s.word()}: it costs {s.n()}")


@template("langchain.pydantic", "output_parse", "langchain", also=("schema_validation",))
def _(s):
    model = create_model(s.pick("Plan", "Answer", "Route"), **{s.word(): (str, ...)})
    PydanticOutputParser(pydantic_object=model).parse('{"thought": "' + s.word() + '"}')


@template("langchain.missing_variable", "invalid_request", "langchain", also=("code_bug",))
def _(s):
    word, other = s.word(), s.name()
    ChatPromptTemplate.from_messages([("system", "You are {" + other + "}"), ("user", "{" + word + "}")]).invoke(
        {other: "x"}
    )


@template("langchain.coercion", "chat_history_invalid", "langchain", also=("invalid_request", "code_bug"))
def _(s):
    from langchain_core.messages import convert_to_messages

    convert_to_messages([{"role": s.pick("bot", "model", "robot"), "content": s.word()}])


@template("langchain.tool_exception", "tool_execution", "langchain", bare=False)
def _(s):
    @tool
    def look_up(order: int) -> str:
        """Looks up."""
        raise ToolException(f"look_up failed: order {order} has no shipment in warehouse {s.n(1, 40)}")

    look_up.invoke({"order": s.n()})


@template("langchain.tool_args", "tool_args", "langchain", also=("schema_validation",))
def _(s):
    @tool
    def search_orders(limit: int) -> str:
        """Searches."""
        return ""

    search_orders.invoke({"limit": s.pick("ten", "many", "all of them")})


@template("langchain.provider_unknown", "model_not_found", "langchain", also=("invalid_request",))
def _(s):
    from langchain.chat_models import init_chat_model

    init_chat_model(f"{s.name()}-{s.n(1, 9)}b")


@template("langchain.no_package", "missing_resource", "langchain")
def _(s):
    from langchain.chat_models import init_chat_model

    init_chat_model("command-r", model_provider=s.pick("cohere", "mistralai", "fireworks", "ollama"))


@template("langchain.call_limit", "no_progress", "langchain", also=("budget_exceeded",))
def _(s):
    from langchain.agents.middleware.model_call_limit import ModelCallLimitExceededError

    limit = s.n(3, 50)
    return ModelCallLimitExceededError(thread_count=limit, run_count=limit, thread_limit=None, run_limit=limit)


@template("langchain.pii", "quality", "langchain")
def _(s):
    from langchain.agents.middleware._redaction import PIIDetectionError

    kind = s.pick("email", "credit_card", "ip")
    return PIIDetectionError(kind, [{"type": kind, "value": "x", "start": 1, "end": 9}] * s.n(1, 4))


def chat(status, message, code=None, kind="invalid_request_error"):
    from langchain_openai import ChatOpenAI

    url = LOOPBACK.answer(status, {"error": {"message": message, "type": kind, "param": None, "code": code}}) + "/v1"
    ChatOpenAI(model="gpt-4o", api_key="k-test", base_url=url, max_retries=0).invoke("hi")


@template("langchain.openai_context", "context_overflow", "langchain", provider="openai")
def _(s):
    chat(
        400,
        f"This model's maximum context length is 128000 tokens. However, your messages resulted in {s.n(128_001, 300_000)} tokens.",
        "context_length_exceeded",
    )


@template("langchain.openai_rate", "rate_limit", "langchain", provider="openai")
def _(s):
    chat(
        429,
        f"Rate limit reached for {s.model()} in organization {s.org()} on requests per min (RPM): Limit {s.n(3, 500)}, Used {s.n(3, 500)}, Requested 1. Please try again in {s.n(1, 59)}s.",
        "rate_limit_exceeded",
        "requests",
    )


@template("langchain.anthropic_overloaded", "overloaded", "langchain", provider="anthropic")
def _(s):
    from langchain_anthropic import ChatAnthropic

    url = LOOPBACK.answer(
        529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": s.req()}
    )
    ChatAnthropic(model="claude-sonnet-4-5", api_key="k-test", base_url=url, max_retries=0).invoke("hi")


@template("langchain.empty_stream", "empty_response", "langchain")
def _(s):
    from langchain_core.language_models.chat_models import generate_from_stream

    generate_from_stream(iter(()))


@template("langchain.multiple_outputs", "schema_validation", "langchain", also=("output_parse",))
def _(s):
    from langchain.agents.structured_output import MultipleStructuredOutputsError

    return MultipleStructuredOutputsError([s.pick("Plan", "Route"), s.pick("Answer", "Invoice")], AIMessage(""))


@template("langchain.structured_invalid", "schema_validation", "langchain", also=("output_parse",))
def _(s):
    from langchain.agents.structured_output import StructuredOutputValidationError

    try:
        create_model("Plan", score=(int, ...)).model_validate({"score": s.word()})
    except ValueError as error:
        return StructuredOutputValidationError("Plan", error, AIMessage(""))


# --- langgraph
@template("langgraph.recursion", "no_progress", "langgraph")
def _(s):
    built = StateGraph(State)
    built.add_node("again", named("again", {"value": "x"}))
    built.add_edge(START, "again")
    built.add_edge("again", "again")
    built.compile().invoke({"value": ""}, {"recursion_limit": s.n(3, 25)})


@template("langgraph.concurrent", "state_conflict", "langgraph")
def _(s):
    graph(named("writer_a", {"value": "a"}), named("writer_b", {"value": "b"}), fan=True).invoke({"value": ""})


@template("langgraph.return_value", "code_bug", "langgraph", also=("state_conflict",))
def _(s):
    graph(named(s.name(), s.pick(5, "done", 3.5))).invoke({"value": ""})


@template("langgraph.interrupt", "not_a_failure", "langgraph")
def _(s):
    from langgraph.errors import GraphInterrupt
    from langgraph.types import Interrupt

    return GraphInterrupt((Interrupt(value={"question": f"approve {s.tool()}?"}, id=s.hex(32)),))


@template("langgraph.drained", "not_a_failure", "langgraph")
def _(s):
    return GraphDrained(s.pick("shutdown", "SIGTERM", "deploy"))


@template("langgraph.cancelled", "not_a_failure", "langgraph")
def _(s):
    return NodeCancelledError(s.name())


@template("langgraph.parent_command", "not_a_failure", "langgraph")
def _(s):
    from langgraph.errors import ParentCommand

    return ParentCommand(Command(graph=Command.PARENT, goto=s.name(), update={"value": s.word()}))


@template("langgraph.node_timeout", "timeout_tool", "langgraph", also=("timeout_model",))
def _(s):
    limit = s.n(5, 300)
    return NodeTimeoutError(s.tool(), limit + 0.013, kind="run", run_timeout=float(limit))


@template("langgraph.idle_timeout", "timeout_tool", "langgraph", also=("timeout_model", "no_progress"))
def _(s):
    limit = s.n(5, 300)
    return NodeTimeoutError(s.tool(), limit + 0.021, kind="idle", idle_timeout=float(limit))


@template("langgraph.empty_input", "invalid_request", "langgraph", also=("code_bug",))
def _(s):
    graph(named("start_here", {})).invoke(None)


@template("langgraph.thread_id", "invalid_request", "langgraph", also=("code_bug", "context_lost"))
def _(s):
    from langgraph.checkpoint.memory import InMemorySaver

    built = StateGraph(State)
    built.add_node("one", named("one", {}))
    built.add_edge(START, "one")
    built.compile(checkpointer=InMemorySaver()).invoke({"value": ""})


def call(name, **args):
    return {"messages": [AIMessage("", tool_calls=[{"name": name, "args": args, "id": "call_1"}])]}


def ask_tools(message):
    """What a ToolNode answers to the model: its text."""
    from langgraph.graph import MessagesState

    @tool
    def run_sql(limit: int) -> str:
        """Runs."""
        raise ValueError(f"replica {limit} is lagging")

    built = StateGraph(MessagesState)
    built.add_node("tools", ToolNode([run_sql], handle_tool_errors=True))
    built.add_edge(START, "tools")
    return built.compile().invoke(message)["messages"][-1].content


@template("langgraph.tool_name", "tool_unknown", "langgraph")
def _(s):
    return ask_tools(call(s.pick("run_sqll", "query_db", "sql_runner")))


@template("langgraph.tool_error", "tool_execution", "langgraph")
def _(s):
    return ask_tools(call("run_sql", limit=s.n()))


@template("langgraph.tool_args", "tool_args", "langgraph", also=("schema_validation",))
def _(s):
    from langgraph.prebuilt.tool_node import ToolInvocationError

    try:
        create_model("RunSql", limit=(int, ...)).model_validate({"limit": s.word()})
    except ValueError as error:
        return ToolInvocationError(s.tool(), error, {"limit": s.word()})


@template("langgraph.history", "chat_history_invalid", "langgraph")
def _(s):
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    agent = create_react_agent(GenericFakeChatModel(messages=iter(["x"])), tools=[])
    calls = [{"name": s.tool(), "args": {}, "id": f"call_{s.mixed(12)}"}]
    agent.invoke({"messages": [HumanMessage("hi"), AIMessage("", tool_calls=calls), HumanMessage("well?")]})


@template("langgraph.interrupted_run", "not_a_failure", "langgraph")
def _(s):
    from langgraph.checkpoint.memory import InMemorySaver

    def approve(state):
        return {"value": interrupt(f"May I run {s.tool()} on {s.word()} {s.n()}?")}

    built = StateGraph(State)
    built.add_node("approve", approve)
    built.add_edge(START, "approve")
    found = built.compile(checkpointer=InMemorySaver()).invoke({"value": ""}, {"configurable": {"thread_id": s.uuid()}})
    return f"Graph paused, waiting for a person: {found['__interrupt__'][0]!r}"
