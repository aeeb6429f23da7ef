"""OpenAI Agents, MCP, pydantic-ai and LiteLLM: classes built as these packages build them; tools and limits really run."""

from __future__ import annotations

import asyncio
import json

import agents
from agents import exceptions
from template import template


def guardrail(kind: str):
    def check(*args):
        return agents.GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    decorate = agents.input_guardrail if kind == "input" else agents.output_guardrail
    return decorate(check)


def run(coroutine):
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


@template("agents.max_turns", "no_progress", "openai-agents")
def _(s):
    return exceptions.MaxTurnsExceeded(f"Max turns ({s.n(5, 60)}) exceeded")


@template("agents.no_tool", "tool_unknown", "openai-agents")
def _(s):
    return exceptions.ModelBehaviorError(f"Tool {s.tool()}_v{s.n(2, 9)} not found in agent {s.name()}")


@template("agents.tool_json", "tool_args", "openai-agents", also=("output_parse",))
def _(s):
    from agents.tool_context import ToolContext

    def run_query(limit: int) -> str:
        """Runs."""
        return str(limit)

    tool = agents.function_tool(run_query, failure_error_function=None)
    args = '{"limit": ' + s.word()
    run(
        tool.on_invoke_tool(
            ToolContext(context=None, tool_name="run_query", tool_call_id="c", tool_arguments=args), args
        )
    )


@template("agents.tool_validation", "tool_args", "openai-agents", also=("schema_validation",))
def _(s):
    from agents.tool_context import ToolContext

    def run_query(limit: int) -> str:
        """Runs."""
        return str(limit)

    tool = agents.function_tool(run_query, failure_error_function=None)
    args = json.dumps({"limit": s.word()})
    run(
        tool.on_invoke_tool(
            ToolContext(context=None, tool_name="run_query", tool_call_id="c", tool_arguments=args), args
        )
    )


@template("agents.output_json", "output_parse", "openai-agents", also=("schema_validation",))
def _(s):
    from pydantic import create_model

    agents.AgentOutputSchema(create_model("Plan", steps=(list[str], ...))).validate_json(f"I will {s.word()} it")


@template("agents.refusal", "refusal", "openai-agents")
def _(s):
    return exceptions.ModelRefusalError(
        s.pick(
            "I'm sorry, but I can't help with that.",
            "I can't assist with this request.",
            f"I cannot produce this {s.word()}.",
        )
    )


@template("agents.model_timeout", "timeout_model", "openai-agents")
def _(s):
    return exceptions.ModelTimeoutError(float(s.n(5, 600)))


@template("agents.tool_timeout", "timeout_tool", "openai-agents")
def _(s):
    return exceptions.ToolTimeoutError(s.tool(), float(s.n(5, 600)))


@template("agents.input_guardrail", "quality", "openai-agents")
def _(s):
    from agents.guardrail import InputGuardrailResult

    return exceptions.InputGuardrailTripwireTriggered(
        InputGuardrailResult(guardrail("input"), agents.GuardrailFunctionOutput(None, True))
    )


@template("agents.output_guardrail", "quality", "openai-agents")
def _(s):
    from agents.guardrail import OutputGuardrailResult

    agent = agents.Agent(name=s.name())
    return exceptions.OutputGuardrailTripwireTriggered(
        OutputGuardrailResult(guardrail("output"), s.word(), agent, agents.GuardrailFunctionOutput(None, True))
    )


@template("agents.no_final", "empty_response", "openai-agents")
def _(s):
    return exceptions.ModelBehaviorError("Model did not produce a final response!")


@template("agents.tool_failed", "tool_execution", "openai-agents")
def _(s):
    return exceptions.UserError(
        f"Error running tool {s.tool()}: {s.pick('row', 'page', 'order')} {s.n()} came back in a state that the tool cannot handle"
    )


@template("agents.server_not_connected", "mcp_transport", "openai-agents", context="mcp", also=("code_bug",))
def _(s):
    return exceptions.UserError("Server not initialized. Make sure you call `connect()` first.")


@template("agents.mcp_cancelled", "mcp_transport", "openai-agents", also=("not_a_failure",))
def _(s):
    return exceptions.MCPToolCancellationError(
        f"Failed to call tool '{s.tool()}' on MCP server '{s.name()}': tool execution was cancelled."
    )


@template("agents.reused_call_id", "chat_history_invalid", "openai-agents", also=("tool_args",))
def _(s):
    return exceptions.ModelBehaviorError(
        "Model reused a tool call ID for a different invocation. Use a unique call ID for each tool invocation."
    )


# --- mcp
def mcp(code: int, message: str, data=None):
    from mcp.shared.exceptions import MCPError

    return MCPError(code=code, message=message, data=data)


@template("mcp.closed", "mcp_transport", "mcp", context="mcp")
def _(s):
    return mcp(-32000, "Connection closed")


@template("mcp.terminated", "mcp_transport", "mcp", context="mcp", also=("context_lost",))
def _(s):
    return mcp(32600, "Session terminated")


@template("mcp.request_timeout", "mcp_transport", "mcp", also=("timeout_tool",))
def _(s):
    return mcp(-32001, f"Timed out while waiting for response to ClientRequest. Waited {s.secs()} seconds.")


@template("mcp.unknown_tool", "tool_unknown", "mcp")
def _(s):
    return mcp(-32602, f"Unknown tool: {s.tool()}_{s.n(1, 9)}")


@template("mcp.protocol", "mcp_transport", "mcp", context="mcp", also=("invalid_request",))
def _(s):
    return RuntimeError(f"Unsupported protocol version from the server: 202{s.n(3, 9)}-0{s.n(1, 9)}-18")


# --- pydantic-ai and litellm
@template("pydantic_ai.requests", "budget_exceeded", "pydantic-ai", also=("no_progress",))
def _(s):
    from pydantic_ai.usage import RunUsage, UsageLimits

    limit = s.n(5, 80)
    UsageLimits(request_limit=limit).check_before_request(RunUsage(requests=limit))


@template("pydantic_ai.tokens", "budget_exceeded", "pydantic-ai")
def _(s):
    from pydantic_ai.usage import RunUsage, UsageLimits

    limit = s.n(1000, 50_000)
    UsageLimits(total_tokens_limit=limit).check_tokens(RunUsage(input_tokens=limit, output_tokens=s.n(1, 900)))


@template("pydantic_ai.incomplete_tool", "output_truncated", "pydantic-ai")
def _(s):
    from pydantic_ai.exceptions import IncompleteToolCall

    return IncompleteToolCall(
        f"Model token limit ({s.n(256, 8000)}) exceeded while generating a tool call, resulting in incomplete arguments. Increase the `max_tokens` model setting, or simplify the prompt to result in a shorter response that will fit within the limit."
    )


@template("pydantic_ai.empty", "empty_response", "pydantic-ai")
def _(s):
    from pydantic_ai.exceptions import UnexpectedModelBehavior

    return UnexpectedModelBehavior("Received empty model response")


@template("pydantic_ai.token_limit_no_answer", "output_truncated", "pydantic-ai", also=("empty_response",))
def _(s):
    from pydantic_ai.exceptions import UnexpectedModelBehavior

    return UnexpectedModelBehavior(
        f"Model token limit ({s.n(256, 8000)}) exceeded before any response was generated. Increase the `max_tokens` model setting, or simplify the prompt."
    )


@template("pydantic_ai.content_filter", "refusal", "pydantic-ai")
def _(s):
    from pydantic_ai.exceptions import ContentFilterError

    return ContentFilterError(
        f"Content filter triggered. Finish reason: '{s.pick('SAFETY', 'content_filter', 'PROHIBITED_CONTENT')}'"
    )


@template("pydantic_ai.unknown_tool", "tool_unknown", "pydantic-ai")
def _(s):
    from pydantic_ai.exceptions import ModelRetry

    return ModelRetry(f"Unknown tool name: '{s.tool()}_all'. Available tools: '{s.tool()}', 'final_result'")


@template("pydantic_ai.approval", "not_a_failure", "pydantic-ai", bare=False)
def _(s):
    from pydantic_ai.exceptions import ApprovalRequired

    return ApprovalRequired(metadata={"tool": s.tool(), "reason": "needs a person's yes"})


@template("litellm.budget", "budget_exceeded", "litellm", also=("quota_exhausted",))
def _(s):
    from litellm.exceptions import BudgetExceededError

    limit = s.n(5, 500)
    return BudgetExceededError(current_cost=limit + 0.0137, max_budget=float(limit))


@template("litellm.no_provider", "model_not_found", "litellm", also=("invalid_request",))
def _(s):
    import litellm

    litellm.suppress_debug_info = True
    litellm.get_llm_provider(model=f"{s.name()}-{s.n(2, 70)}b")


@template("litellm.max_tokens_finish", "output_truncated", "litellm")
def _(s):
    return ValueError(
        f"finish_reason='length': the answer of {s.model()} stopped at max_tokens={s.pick(256, 512, 1024, 4096)} before the JSON was complete"
    )
