"""What others' tables say to the same texts. JSONL in, JSONL out: `{engine: [categories that its label may mean]}`.

    python peers.py litellm pydantic_ai rsi_loop drain3 < texts.jsonl      # in the main environment
    python peers.py crewai < texts.jsonl                                   # in CrewAI's

Their labels are fewer than our categories. A label counts as right for *every* category it can mean (the tables below), so
these figures are upper bounds. Tables that want an exception, a status or a provider's code get them from the fields of the
text, else from its words.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

logging.disable(logging.CRITICAL)
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true"}

LITELLM = {
    "RateLimitError": ["rate_limit"], "ContextWindowExceededError": ["context_overflow"], "ContentPolicyViolationError": ["refusal"],
    "AuthenticationError": ["auth"], "PermissionDeniedError": ["permission"], "NotFoundError": ["model_not_found", "missing_resource"],
    "BadRequestError": ["invalid_request", "chat_history_invalid"], "UnprocessableEntityError": ["invalid_request", "schema_validation"],
    "Timeout": ["timeout_model", "timeout_tool"], "ServiceUnavailableError": ["overloaded"], "BadGatewayError": ["provider_5xx"],
    "InternalServerError": ["provider_5xx", "overloaded"], "APIConnectionError": ["connection"], "APIError": ["provider_5xx"],
    "BudgetExceededError": ["budget_exceeded"], "JSONSchemaValidationError": ["schema_validation"], "UnsupportedParamsError": ["invalid_request"],
}  # fmt: skip
PYDANTIC_AI = {
    "ModelRateLimitError": ["rate_limit"], "ModelQuotaExceededError": ["quota_exhausted"], "ModelOverloadedError": ["overloaded"],
    "ModelUnavailableError": ["overloaded"], "ModelServerError": ["provider_5xx", "timeout_model"], "ModelRequestRejectedError": ["invalid_request", "chat_history_invalid", "refusal"],
    "ModelAuthenticationError": ["auth", "permission"], "ModelNotFoundError": ["model_not_found", "missing_resource"], "ModelContextWindowExceededError": ["context_overflow"],
    "ModelConnectionError": ["connection"], "ModelTimeoutError": ["timeout_model", "timeout_tool"],
    "UsageLimitExceeded": ["budget_exceeded", "no_progress"], "IncompleteToolCall": ["output_truncated"], "ContentFilterError": ["refusal"], "ApprovalRequired": ["not_a_failure"],
}  # fmt: skip
RSI_LOOP = {
    "rate_limit": ["rate_limit"], "timeout": ["timeout_model", "timeout_tool"], "empty_response": ["empty_response"], "context_loss": ["context_overflow"],
    "session_reset": ["context_lost"], "model_fallback": ["model_not_found"], "tool_error": ["permission", "auth", "connection", "tool_execution"],
    "missing_tool": ["tool_unknown", "missing_resource", "model_not_found"], "other": [],
}  # fmt: skip
CLASS = re.compile(r"\b(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Exceeded|Timeout|Refused|Required|Call))\b")
STATUS = re.compile(r"(?:Error code: |HTTP |status(?:_code)?[\"']?[:= ]+|[\"']code[\"']: ?\"?|^)(4\d\d|5\d\d)\b")
GOOGLE = re.compile(
    r"\b(RESOURCE_EXHAUSTED|FAILED_PRECONDITION|UNAVAILABLE|INTERNAL|INVALID_ARGUMENT|UNAUTHENTICATED|PERMISSION_DENIED|NOT_FOUND)\b"
)
WORD = r"[\"']%s[\"']: ?[\"']([^\"']*)"


class Facts:
    """What a table can be asked with."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.text: str = row["text"]
        found = CLASS.findall(row.get("error_type") or "") or CLASS.findall(self.text)
        self.kind = found[-1] if found else "Exception"
        status = STATUS.search(self.text)
        self.status = row.get("status") or (int(status[1]) if status else None)
        self.code, self.type = self._word("code"), self._word("type")
        self.provider = row.get("provider")

    def _word(self, name: str) -> str | None:
        found = re.findall(WORD % name, self.text)
        return found[-1] if found else None

    def body(self) -> Any:
        """A provider's body, if the text holds one whole."""
        start = self.text.find("{")
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                return read(self.text[start : self.text.rfind("}") + 1]) if start >= 0 else None
        return None

    def error(self) -> Exception:
        """An exception of that name, with what the SDKs would have set on it."""
        made: Any = type(self.kind, (Exception,), {})(self.text)
        if self.status:
            made.status_code = self.status
        if self.code:
            made.code = self.code
        made.message = self.text
        return made


def litellm() -> Callable[[Facts], list[str]]:
    import litellm as package
    from litellm.litellm_core_utils.exception_mapping_utils import ExceptionCheckers, exception_type

    package.suppress_debug_info = True
    names = {"google": "gemini", "aws": "bedrock"}

    def ask(facts: Facts) -> list[str]:
        try:
            exception_type(
                model="m",
                original_exception=facts.error(),
                custom_llm_provider=names.get(facts.provider or "", facts.provider) or "openai",
            )
            kind = "APIConnectionError"
        except Exception as error:
            kind = type(error).__name__
        if (
            kind == "APIConnectionError"
        ):  # what it says when nothing matched: its text checks and the exception's own name go first
            if ExceptionCheckers.is_error_str_context_window_exceeded(facts.text):
                kind = "ContextWindowExceededError"
            elif ExceptionCheckers.is_azure_content_policy_violation_error(facts.text):
                kind = "ContentPolicyViolationError"
            elif ExceptionCheckers.is_error_str_rate_limit(facts.text):
                kind = "RateLimitError"
            else:
                kind = facts.kind if facts.kind in LITELLM else kind
        return LITELLM.get(kind, [])

    return ask


def pydantic_ai() -> Callable[[Facts], list[str]]:
    from pydantic_ai import _model_errors as table

    def ask(facts: Facts) -> list[str]:
        google, aws = GOOGLE.search(facts.text), re.search(r"\((\w+Exception)\)|(\w+Exception)\b", facts.text)
        found: Any = None
        if google:
            found = table.google_status_category(google[1], facts.text, facts.body())
        if found is None and aws:
            found = table.bedrock_code_category(aws[1] or aws[2], facts.text)
        if found is None:
            found = table.openai_compatible_category(facts.status, facts.code, facts.type, facts.text)
        if found is not None:
            return PYDANTIC_AI.get(found.__name__, [])
        if facts.kind in PYDANTIC_AI:
            return PYDANTIC_AI[facts.kind]
        if "Timeout" in facts.kind:
            return PYDANTIC_AI["ModelTimeoutError"]
        return (
            PYDANTIC_AI["ModelConnectionError"]
            if facts.kind
            in {"APIConnectionError", "ConnectError", "EndpointConnectionError", "RemoteProtocolError", "ReadError"}
            else []
        )

    return ask


def crewai() -> Callable[[Facts], list[str]]:
    from crewai.llms.retry import _ThrottlingErrorClassifier
    from crewai.mcp.exceptions import AUTH_STATUS_CODES
    from crewai.utilities.exceptions.context_window_exceeding_exception import LLMContextLengthExceededError

    def ask(facts: Facts) -> list[str]:
        error = facts.error()
        if LLMContextLengthExceededError._is_context_length_exceeded_error(error):
            return ["context_overflow"]
        if _ThrottlingErrorClassifier.is_throttling_error(error):
            return ["rate_limit"]
        if facts.status in AUTH_STATUS_CODES:
            return ["auth", "permission"]
        return []

    return ask


def rsi_loop() -> Callable[[Facts], list[str]]:
    from rsi_loop.observer import Observer

    return lambda facts: [meant for label in Observer._classify_error(facts.text) for meant in RSI_LOOP.get(label, [])]


def drain3() -> Callable[[Facts], list[str]]:
    """Not categories but a cluster's number."""
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    miner = TemplateMiner(config=TemplateMinerConfig())
    return lambda facts: [str(miner.add_log_message(" ".join(facts.text.split()))["cluster_id"])]


ENGINES = {"litellm": litellm, "pydantic_ai": pydantic_ai, "crewai": crewai, "rsi_loop": rsi_loop, "drain3": drain3}


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        engines = {name: ENGINES[name]() for name in sys.argv[1:]}
        rows = [Facts(json.loads(line)) for line in sys.stdin]
        answers = [{name: ask(row) for name, ask in engines.items()} for row in rows]
    sys.stdout.write("".join(json.dumps(answer) + "\n" for answer in answers))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
