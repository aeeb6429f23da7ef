"""OpenAI and Azure OpenAI: the SDK's own exceptions over a loopback server that answers in the documented shapes."""

# ruff: noqa: A002 - `id` and `type` are the fields' names
from __future__ import annotations

import functools
from typing import Any

import openai
from server import LOOPBACK, WAIT_S
from slots import Slots
from template import Template, add, template

MESSAGES = [{"role": "user", "content": "hi"}]


@functools.lru_cache(maxsize=8)  # making one takes 50 ms
def client(url: str | None = None, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key="k-test", base_url=(url or LOOPBACK.url) + "/v1", max_retries=0, **more)


def ask(s: Slots, **more: Any) -> Any:
    return client().chat.completions.create(model="m", messages=MESSAGES, **more)


def error(
    message: str, type: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def api(id: str, category: str, status: int, body: Any, provider: str = "openai", also: tuple[str, ...] = ()) -> None:
    """A status answer; `body` makes the JSON (or HTML) from the slots."""

    def make(s: Slots) -> Any:
        s.to_model()
        make.body = body(s)  # type: ignore[attr-defined]
        LOOPBACK.answer(status, make.body)  # type: ignore[attr-defined]
        ask(s)

    add(Template(id, "openai", category, make, provider, also, body=lambda s: make.body))  # type: ignore[attr-defined]


def html(status: int, title: str) -> str:
    return f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>"


# --- limits, money, load
api("openai.rate_tpm", "rate_limit", 429, lambda s: error(
    f"Rate limit reached for {s.model()} in organization {s.org()} on tokens per min (TPM): Limit {s.n(10_000, 90_000)}, Used {s.n(9_000, 80_000)}, Requested {s.n(500, 9_000)}. Please try again in {s.secs()}s. Visit https://platform.openai.com/account/rate-limits to learn more.", "tokens", "rate_limit_exceeded"))  # fmt: skip
api("openai.rate_rpm", "rate_limit", 429, lambda s: error(
    f"Rate limit reached for {s.model()} in organization {s.org()} on requests per min (RPM): Limit {s.n(3, 500)}, Used {s.n(3, 500)}, Requested 1. Please try again in {s.n(20, 900)}ms.", "requests", "rate_limit_exceeded"))  # fmt: skip
api("openai.quota", "quota_exhausted", 429, lambda s: error(
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.", "insufficient_quota", "insufficient_quota"))  # fmt: skip
api(
    "openai.hard_limit",
    "quota_exhausted",
    429,
    lambda s: error("Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached"),
)
api("openai.spend_limit", "quota_exhausted", 429, lambda s: error(
    f"Project proj_{s.mixed(16)} has reached its monthly spend limit of ${s.n(20, 900)}.00. Raise the limit in your project settings to continue.", "insufficient_quota", "project_spend_limit_exceeded"))  # fmt: skip
api(
    "openai.overloaded",
    "overloaded",
    503,
    lambda s: error("The engine is currently overloaded, please try again later", "server_error"),
)
api(
    "openai.slow_down",
    "overloaded",
    503,
    lambda s: error(
        "Slow down: your request rate is affecting the service. Reduce it to its earlier level and raise it gradually.",
        "service_unavailable_error",
        "slow_down",
    ),
)
api("openai.html_503", "overloaded", 503, lambda s: html(503, "Service Temporarily Unavailable"))
api("openai.server_error", "provider_5xx", 500, lambda s: error(
    f"The server had an error while processing your request. Sorry about that! Please contact us through our help center at help.openai.com if the error persists. (Please include the request ID {s.req()} in your message.)", "server_error"))  # fmt: skip
api("openai.html_502", "provider_5xx", 502, lambda s: html(502, "Bad Gateway"))
api("openai.gateway_timeout", "timeout_model", 504, lambda s: html(504, "Gateway Time-out"))
# --- who are you, may you
api("openai.bad_key", "auth", 401, lambda s: error(
    f"Incorrect API key provided: sk-proj-{'*' * s.n(6, 20)}{s.mixed(4)}. You can find your API key at https://platform.openai.com/account/api-keys.", "invalid_request_error", "invalid_api_key"))  # fmt: skip
api(
    "openai.no_key_sent",
    "auth",
    401,
    lambda s: error(
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    ),
)
api(
    "openai.org_header",
    "auth",
    401,
    lambda s: error(
        f"OpenAI-Organization header should match organization for API key ({s.org()})", code="mismatched_organization"
    ),
    also=("permission",),
)
api(
    "openai.region",
    "permission",
    403,
    lambda s: error(
        "Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"
    ),
)
api("openai.scopes", "permission", 403, lambda s: error(
    f"You have insufficient permissions for this operation. Missing scopes: {s.pick('model.request', 'api.files.write', 'api.threads.read')}. Check that you have the correct role in your organization ({s.org()})."))  # fmt: skip
api(
    "openai.model_access",
    "permission",
    403,
    lambda s: error(
        f"Project `proj_{s.mixed(14)}` does not have access to model `{s.model()}`", code="model_not_found"
    ),
    also=("model_not_found",),
)
api(
    "openai.model_not_found",
    "model_not_found",
    404,
    lambda s: error(
        f"The model `{s.model()}-{s.n(1000, 9999)}` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
)
# --- what was asked
api("openai.context", "context_overflow", 400, lambda s: error(
    f"This model's maximum context length is {s.pick(8192, 128000, 200000)} tokens. However, your messages resulted in {s.n(128_001, 400_000)} tokens. Please reduce the length of the messages.", code="context_length_exceeded", param="messages"))  # fmt: skip
api(
    "openai.context_input",
    "context_overflow",
    400,
    lambda s: error(
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        code="context_length_exceeded",
        param="input",
    ),
)
api("openai.temperature", "invalid_request", 400, lambda s: error(
    f"Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got {s.n(3, 90)} instead.", param="temperature", code="decimal_above_max_value"))  # fmt: skip
api("openai.unsupported_param", "invalid_request", 400, lambda s: error(
    f"Unsupported parameter: '{s.pick('max_tokens', 'temperature', 'top_p', 'presence_penalty')}' is not supported with this model. Use 'max_completion_tokens' instead.", code="unsupported_parameter"))  # fmt: skip
api("openai.bad_function_schema", "invalid_request", 400, lambda s: error(
    f"Invalid schema for function '{s.tool()}': In context=('properties', '{s.word()}'), array schema missing items.", param="tools[0].function.parameters", code="invalid_function_parameters"))  # fmt: skip
api(
    "openai.json_word",
    "invalid_request",
    400,
    lambda s: error(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        param="messages",
    ),
)
api(
    "openai.unprocessable",
    "invalid_request",
    422,
    lambda s: {
        "detail": [
            {
                "loc": ["body", s.pick("messages", "tools", "model"), s.n(0, 9)],
                "msg": "value is not a valid dict",
                "type": "type_error.dict",
            }
        ]
    },
)
api("openai.tool_results_missing", "chat_history_invalid", 400, lambda s: error(
    f"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_{s.mixed(22)}", param=f"messages.[{s.n(2, 60)}].role"))  # fmt: skip
api("openai.tool_without_call", "chat_history_invalid", 400, lambda s: error(
    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", param=f"messages.[{s.n(2, 60)}].role"))  # fmt: skip
api(
    "openai.no_tool_output",
    "chat_history_invalid",
    400,
    lambda s: error(f"No tool output found for function call call_{s.mixed(22)}.", param="input"),
)
api(
    "openai.previous_response",
    "context_lost",
    400,
    lambda s: error(
        f"Previous response with id 'resp_{s.hex(40)}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    ),
)
api(
    "openai.conversation_gone",
    "context_lost",
    404,
    lambda s: error(f"Conversation with id 'conv_{s.hex(40)}' not found."),
    also=("missing_resource",),
)
api(
    "openai.active_run",
    "state_conflict",
    400,
    lambda s: error(f"Thread thread_{s.mixed(20)} already has an active run run_{s.mixed(20)}."),
)
api(
    "openai.conflict",
    "state_conflict",
    409,
    lambda s: error(
        "The resource was updated by another request at the same time. Fetch it and try again.", "conflict_error"
    ),
)
api("openai.policy_prompt", "refusal", 400, lambda s: error(
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.", code="invalid_prompt"))  # fmt: skip
# --- Azure
api("azure.content_filter", "refusal", 400, lambda s: {"error": {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.", "type": None, "param": "prompt", "code": "content_filter", "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {s.pick("violence", "hate", "self_harm", "sexual"): {"filtered": True, "severity": s.pick("medium", "high")}}}}}, "azure")  # fmt: skip
api(
    "azure.deployment",
    "model_not_found",
    404,
    lambda s: {
        "error": {
            "code": "DeploymentNotFound",
            "message": "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.",
        }
    },
    "azure",
)
api(
    "azure.key",
    "auth",
    401,
    lambda s: {
        "error": {
            "code": "401",
            "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
        }
    },
    "azure",
)
api(
    "azure.rate",
    "rate_limit",
    429,
    lambda s: {
        "error": {
            "code": "429",
            "message": f"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded call rate limit of your current AIServices S0 pricing tier. Please retry after {s.n(2, 60)} seconds.",
        }
    },
    "azure",
)


@template("openai.timeout", "timeout_model", "openai", provider="openai")
def _(s):
    s.to_model()
    LOOPBACK.answer(mode="hang")
    client(timeout=WAIT_S).chat.completions.create(model="m", messages=MESSAGES)


@template("openai.refused", "connection", "openai", provider="openai", cause="openai.connection")
def _(s):
    s.to_model()
    client(f"http://127.0.0.1:{LOOPBACK.closed}").chat.completions.create(model="m", messages=MESSAGES)


@template("openai.dropped", "connection", "openai", provider="openai", cause="openai.connection")
def _(s):
    s.to_model()
    LOOPBACK.answer(mode="drop")
    ask(s)


@template("openai.no_client_key", "auth", "openai", provider="openai")
def _(s):
    openai.OpenAI(api_key=None)


def _choice(finish: str, content: str, s: Slots) -> dict[str, Any]:
    used = {"prompt_tokens": s.n(50, 9000), "completion_tokens": s.n(256, 16_384), "total_tokens": s.n(300, 25_000)}
    message = {"role": "assistant", "content": content}
    return {
        "id": f"chatcmpl-{s.mixed(20)}",
        "object": "chat.completion",
        "created": 1,
        "model": s.model(),
        "usage": used,
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
    }


def _parse(s: Slots, finish: str) -> None:
    from pydantic import BaseModel

    class Plan(BaseModel):
        steps: list[str]

    LOOPBACK.answer(200, _choice(finish, '{"steps": ["' + s.word(), s))
    client().chat.completions.parse(model="m", messages=MESSAGES, response_format=Plan)


@template("openai.length", "output_truncated", "openai", provider="openai")
def _(s):
    _parse(s, "length")


@template("openai.filtered_answer", "refusal", "openai", provider="openai")
def _(s):
    _parse(s, "content_filter")


@template("openai.cut_json", "output_parse", "openai", provider="openai", also=("schema_validation",))
def _(s):
    _parse(s, "stop")
