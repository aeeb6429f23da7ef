"""The attribute names that are read, first match first. Everything else is skipped, prompts and answers among it.

GenAI names are those of OpenTelemetry's semantic conventions, today's and the older ones; most are still in
development there, so they are spelled here instead of imported. The others are OpenInference's.
"""

from __future__ import annotations

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
KIND: Final = "openinference.span.kind"
WORKFLOW: Final = ("gen_ai.workflow.name",)
AGENT: Final = ("gen_ai.agent.name", "agent.name")
TOOL: Final = ("gen_ai.tool.name", "tool.name", "ai.toolCall.name")
#: What a run is called by who calls it, where the convention has no agents (Vercel's AI SDK).
FUNCTION: Final = ("ai.telemetry.functionId",)
MODEL: Final = (
    "gen_ai.response.model", "gen_ai.request.model",
    "llm.response.model_name", "llm.model_name", "llm.request.model_name",
    "embedding.model_name", "reranker.model_name", "decision.model_name",
)  # fmt: skip
PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "decision.provider")
TOKENS_IN: Final = (
    "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "decision.token_count.input",
)  # fmt: skip
TOKENS_OUT: Final = (
    "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens",
    "llm.token_count.completion", "decision.token_count.output",
)  # fmt: skip
COST: Final = ("llm.cost.total", "gen_ai.usage.cost", "operation.cost")
SESSION: Final = ("gen_ai.conversation.id", "session.id")
USER: Final = ("user.id", "enduser.id")
HTTP_STATUS: Final = ("http.response.status_code", "http.status_code")
ERROR_TYPE: Final = "error.type"
#: Logfire announces a span that has just begun by a second one; the one that counts comes when it has ended.
PENDING: Final = ("logfire.span_type", "pending_span")

EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACK: Final = "exception.stacktrace"

EVALUATION: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
SCORE: Final = "gen_ai.evaluation.score.value"
LABEL: Final = "gen_ai.evaluation.score.label"
RESPONSE_ID: Final = "gen_ai.response.id"
EVENT_NAME: Final = "event.name"

SERVICE: Final = "service.name"
RELEASE: Final = ("service.version",)
ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")
PROJECT: Final = "openinference.project.name"

OF_SPANS: Final = frozenset(
    (OPERATION, KIND, ERROR_TYPE, PENDING[0], *WORKFLOW, *AGENT, *TOOL, *FUNCTION, *MODEL, *PROVIDER, *TOKENS_IN,
     *TOKENS_OUT, *COST, *SESSION, *USER, *HTTP_STATUS)
)  # fmt: skip
OF_EVENTS: Final = frozenset(
    (EXCEPTION_TYPE, EXCEPTION_MESSAGE, EXCEPTION_STACK, EVALUATION_NAME, SCORE, LABEL, RESPONSE_ID, EVENT_NAME,
     ERROR_TYPE, *SESSION)
)  # fmt: skip
OF_RESOURCES: Final = frozenset((SERVICE, *RELEASE, *ENVIRONMENT, PROJECT))
EVENTS: Final = frozenset((EXCEPTION, EVALUATION))
