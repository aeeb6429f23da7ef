"""CrewAI, in an environment of its own: parsers, tools and converters really run, the rest built as the package does."""

from __future__ import annotations

from crewai.agents.parser import parse
from crewai.tools.structured_tool import CrewStructuredTool
from crewai.utilities.errors import AgentRepositoryError, DatabaseError, DatabaseOperationError
from crewai.utilities.i18n import I18N_DEFAULT
from template import template


@template("crewai.context", "context_overflow", "crewai")
def _(s):
    from crewai.utilities.exceptions.context_window_exceeding_exception import LLMContextLengthExceededError

    return LLMContextLengthExceededError(s.pick(
        f"This model's maximum context length is 128000 tokens, you asked for {s.n(128_001, 300_000)}", f"Input is too long: {s.n(200_001, 300_000)} tokens"))  # fmt: skip


@template("crewai.context_no_summary", "context_overflow", "crewai")
def _(s):
    return SystemExit(
        "Context length exceeded and user opted not to summarize. Consider using smaller text or RAG tools from crewai_tools."
    )


@template("crewai.missing_action", "output_parse", "crewai")
def _(s):
    parse(f"Thought: I should look at the {s.word()} first\nand then do it")


@template("crewai.missing_input", "output_parse", "crewai")
def _(s):
    parse(f"Thought: now\nAction: {s.tool()}\nObservation: {s.word()}")


def structured(**more):
    def lookup(order: int) -> str:
        """Looks an order up."""
        return str(order)

    return CrewStructuredTool.from_function(lookup, **more)


@template("crewai.usage_limit", "budget_exceeded", "crewai", also=("no_progress", "tool_execution"))
def _(s):
    tool = structured(name=s.tool())
    tool.max_usage_count = tool.current_usage_count = s.n(2, 9)
    tool.invoke({"order": 1})


@template("crewai.tool_args", "tool_args", "crewai", also=("schema_validation",))
def _(s):
    structured(name=s.tool()).invoke({"order": s.word()})


@template("crewai.tool_args_text", "tool_args", "crewai", also=("output_parse",))
def _(s):
    from crewai.tools.tool_usage import ToolUsageError

    return ToolUsageError(I18N_DEFAULT.errors("tool_arguments_error"))


@template("crewai.wrong_tool", "tool_unknown", "crewai")
def _(s):
    return I18N_DEFAULT.errors("wrong_tool_name").format(tool=f"{s.tool()}_now", tools=f"{s.tool()}, {s.tool()}")


@template("crewai.coworker", "tool_unknown", "crewai", also=("tool_args",))
def _(s):
    return I18N_DEFAULT.errors("agent_tool_unexisting_coworker").format(coworkers=f"- {s.name()}\n- {s.name()}")


@template("crewai.tool_exception", "tool_execution", "crewai")
def _(s):
    return I18N_DEFAULT.errors("tool_usage_exception").format(
        error=f"warehouse {s.n(1, 40)} answered with state {s.word()!r}",
        tool=s.tool(),
        tool_inputs="{'order': {'type': 'int'}}",
    )


@template("crewai.tool_failed", "tool_execution", "crewai")
def _(s):
    from crewai.tools.tool_failure import ToolExecutionFailedError, ToolFailure, ToolFailureRecord

    failure = ToolFailure(message=f"channel {s.word()} is archived", code="is_archived")
    return ToolExecutionFailedError(ToolFailureRecord(tool_name=s.tool(), failure=failure, task_name=s.word()))


@template("crewai.mcp_timeout", "mcp_transport", "crewai", also=("timeout_tool", "connection"))
def _(s):
    from crewai.mcp.exceptions import MCPConnectionError

    return MCPConnectionError(
        f"MCP connection timed out after {s.n(5, 60)} seconds. The server may be slow or unreachable."
    )


@template("crewai.mcp_failed", "mcp_transport", "crewai")
def _(s):
    from crewai.mcp.exceptions import MCPConnectionError

    return MCPConnectionError(
        f"Failed to connect to MCP server: {s.pick('All connection attempts failed', 'unhandled errors in a TaskGroup (1 sub-exception)')}"
    )


@template("crewai.mcp_auth", "auth", "crewai", also=("mcp_transport",))
def _(s):
    from crewai.mcp.exceptions import error_for_status

    return error_for_status(401, s.pick(None, "token expired"))


@template("crewai.mcp_http", "mcp_transport", "crewai", also=("provider_5xx",))
def _(s):
    from crewai.mcp.exceptions import error_for_status

    return error_for_status(s.pick(500, 502), None)


@template("crewai.feedback", "not_a_failure", "crewai")
def _(s):
    from crewai.flow.async_feedback.types import HumanFeedbackPending, PendingFeedbackContext

    return HumanFeedbackPending(
        context=PendingFeedbackContext(
            flow_id=s.uuid(),
            flow_class="flows.Review",
            method_name="review",
            method_output=s.word(),
            message="Please review",
        )
    )


@template("crewai.hook_aborted", "not_a_failure", "crewai")
def _(s):
    from crewai.hooks.dispatch import HookAborted

    return HookAborted(
        s.pick("operator declined the tool call", "approval denied by user", "user cancelled the run"), source=s.name()
    )


@template("crewai.converter", "schema_validation", "crewai", also=("output_parse",))
def _(s):
    from crewai.utilities.converter import ConverterError
    from pydantic import create_model

    try:
        create_model("Report", score=(int, ...)).model_validate({"score": s.word()})
    except ValueError as error:
        return ConverterError(f"Failed to convert text into a Pydantic model due to validation error: {error}")


@template("crewai.empty", "empty_response", "crewai")
def _(s):
    return ValueError("Invalid response from LLM call - None or empty.")


@template("crewai.empty_stream", "empty_response", "crewai")
def _(s):
    return Exception("No content received from streaming response. Received empty chunks or failed to extract content.")


@template("crewai.optional", "missing_resource", "crewai")
def _(s):
    from crewai.utilities.import_utils import require

    require(f"crewai_{s.word()}_missing", purpose=f"The {s.word()} tool")


@template("crewai.repository", "missing_resource", "crewai")
def _(s):
    return AgentRepositoryError(
        f"Agent {s.name()}-{s.n(1, 99)} does not exist, make sure the name is correct or the agent is available on your organization."
    )


@template("crewai.database", "state_conflict", "crewai")
def _(s):
    return DatabaseOperationError(DatabaseError.format_error(DatabaseError.SAVE_ERROR, Exception("database is locked")))


@template("crewai.key", "auth", "crewai")
def _(s):
    return ValueError(f"{s.pick('OPENAI', 'ANTHROPIC')}_API_KEY is required")


@template("crewai.guardrail", "quality", "crewai", cause="crewai.guardrail")
def _(s):
    return Exception(
        f"Task failed guardrail validation after {s.n(2, 6)} retries. Last error: the {s.word()} cites no source"
    )


@template("crewai.guardrail_numbered", "quality", "crewai", cause="crewai.guardrail")
def _(s):
    return Exception(
        f"Task failed guardrail 0 validation after {s.n(2, 6)} retries. Last error: {s.n(3, 90)} words where at most 2 are allowed"
    )


@template("a2a.rate", "rate_limit", "crewai")
def _(s):
    from crewai.a2a.errors import RateLimitExceededError

    return RateLimitExceededError(retry_after=s.n(2, 90))


@template("a2a.timeout", "timeout_tool", "crewai", also=("timeout_model",))
def _(s):
    from crewai.a2a.errors import TaskTimeoutError

    return TaskTimeoutError(task_id=s.uuid(), timeout_seconds=float(s.n(5, 300)))


@template("a2a.context", "context_lost", "crewai")
def _(s):
    from crewai.a2a.errors import ContextNotFoundError

    return ContextNotFoundError(context_id=s.uuid())


@template("a2a.auth", "auth", "crewai")
def _(s):
    from crewai.a2a.errors import AuthenticationRequiredError

    return AuthenticationRequiredError()


@template("a2a.scope", "permission", "crewai")
def _(s):
    from crewai.a2a.errors import AuthorizationFailedError

    return AuthorizationFailedError(required_scope=f"{s.word()}:write")


@template("crewai.dimension", "context_lost", "crewai", also=("invalid_request", "state_conflict", "code_bug"))
def _(s):
    from crewai.memory.storage.backend import EmbeddingDimensionMismatchError

    return EmbeddingDimensionMismatchError(1536, 3072)
