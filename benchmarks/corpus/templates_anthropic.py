"""Anthropic: the SDK's own exceptions over a loopback server that answers in the documented shapes."""

# ruff: noqa: A002 - `id` and `type` are the fields' names
from __future__ import annotations

import functools
from typing import Any

import anthropic
from server import LOOPBACK, WAIT_S
from slots import Slots
from template import Template, add, template

MESSAGES = [{"role": "user", "content": "hi"}]


@functools.lru_cache(maxsize=8)  # making one takes 50 ms
def client(url: str | None = None, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k-test", base_url=url or LOOPBACK.url, max_retries=0, **more)


def ask(found: anthropic.Anthropic, max_tokens: int = 64) -> Any:
    return found.messages.create(model="m", max_tokens=max_tokens, messages=MESSAGES)


def api(id: str, category: str, status: int, type: str, message: Any, also: tuple[str, ...] = ()) -> None:
    def make(s: Slots) -> Any:
        s.to_model()
        text = message(s) if callable(message) else message
        make.body = {"type": "error", "error": {"type": type, "message": text}, "request_id": s.req()}  # type: ignore[attr-defined]
        LOOPBACK.answer(status, make.body)  # type: ignore[attr-defined]
        ask(client())

    add(Template(id, "anthropic", category, make, "anthropic", also, body=lambda s: make.body))  # type: ignore[attr-defined]


INVALID = "invalid_request_error"
api("anthropic.rate_input", "rate_limit", 429, "rate_limit_error", lambda s: (
    f"This request would exceed your organization's rate limit of {s.n(20, 900)},000 input tokens per minute (org: {s.uuid()}, model: {s.model('anthropic')}). For details, refer to: https://docs.claude.com/en/api/rate-limits. Please reduce the prompt length or the maximum tokens requested, or try again later."))  # fmt: skip
api(
    "anthropic.rate_concurrent",
    "rate_limit",
    429,
    "rate_limit_error",
    "Number of concurrent connections has exceeded your rate limit. Please try again later or contact sales to discuss your options for a rate limit increase.",
)
api(
    "anthropic.acceleration",
    "rate_limit",
    429,
    "rate_limit_error",
    "This request would exceed your account's acceleration limit. Please scale up your usage gradually and try again.",
)
api(
    "anthropic.credit",
    "quota_exhausted",
    400,
    INVALID,
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
)
api(
    "anthropic.billing",
    "quota_exhausted",
    402,
    "billing_error",
    "There is a problem with your payment method. Update it in the Console to go on.",
)
api(
    "anthropic.usage_limit",
    "quota_exhausted",
    400,
    INVALID,
    lambda s: (
        f"You have reached your specified API usage limits. You will regain access on 2026-{s.n(1, 12):02}-01 at 00:00 UTC."
    ),
)
api("anthropic.overloaded", "overloaded", 529, "overloaded_error", "Overloaded")
api("anthropic.unavailable", "overloaded", 503, "api_error", "Service is temporarily unavailable")
api("anthropic.internal", "provider_5xx", 500, "api_error", "Internal server error")
api("anthropic.bad_gateway", "provider_5xx", 502, "api_error", "Upstream returned an invalid answer")
api(
    "anthropic.gateway_timeout",
    "timeout_model",
    504,
    "timeout_error",
    lambda s: f"Request timed out after {s.n(60, 600)} seconds of processing",
)
api("anthropic.request_timeout", "timeout_model", 408, "timeout_error", "The request was not completed in time")
api("anthropic.bad_key", "auth", 401, "authentication_error", "invalid x-api-key")
api(
    "anthropic.oauth",
    "auth",
    401,
    "authentication_error",
    lambda s: f"OAuth token has expired. Please obtain a new token or refresh your existing token. (client {s.hex(6)})",
)
api(
    "anthropic.permission",
    "permission",
    403,
    "permission_error",
    "Your API key does not have permission to use the specified resource.",
)
api(
    "anthropic.workspace",
    "permission",
    403,
    "permission_error",
    lambda s: f"This workspace (wrkspc_{s.mixed(18)}) is not allowed to use {s.model('anthropic')}.",
    also=("model_not_found",),
)
api(
    "anthropic.model",
    "model_not_found",
    404,
    "not_found_error",
    lambda s: f"model: {s.model('anthropic')}-2024{s.n(10, 12)}{s.n(10, 28)}",
)
api(
    "anthropic.prompt_long",
    "context_overflow",
    400,
    INVALID,
    lambda s: f"prompt is too long: {s.n(200_001, 900_000)} tokens > 200000 maximum",
)
api("anthropic.window_sum", "context_overflow", 400, INVALID, lambda s: (
    f"input length and `max_tokens` exceed context limit: {s.n(180_000, 199_000)} + {s.n(20_000, 32_000)} > 200000, decrease input length or `max_tokens` and try again"))  # fmt: skip
api(
    "anthropic.too_large",
    "context_overflow",
    413,
    "request_too_large",
    "Request exceeds the maximum size",
    also=("invalid_request",),
)
api("anthropic.tool_use_open", "chat_history_invalid", 400, INVALID, lambda s: (
    f"messages.{s.n(2, 90)}: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_{s.mixed(22)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."))  # fmt: skip
api("anthropic.tool_result_orphan", "chat_history_invalid", 400, INVALID, lambda s: (
    f"messages.{s.n(2, 90)}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_{s.mixed(22)}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."))  # fmt: skip
api(
    "anthropic.roles",
    "chat_history_invalid",
    400,
    INVALID,
    'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a row',
)
api(
    "anthropic.empty_content",
    "chat_history_invalid",
    400,
    INVALID,
    lambda s: (
        f"messages.{s.n(1, 40)}: all messages must have non-empty content except for the optional final assistant message"
    ),
    also=("invalid_request",),
)
api("anthropic.thinking", "chat_history_invalid", 400, INVALID, lambda s: (
    f"messages.{s.n(1, 40)}.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response."))  # fmt: skip
api("anthropic.max_tokens", "invalid_request", 400, INVALID, lambda s: (
    f"max_tokens: {s.n(70_000, 300_000)} > 64000, which is the maximum allowed number of output tokens for {s.model('anthropic')}"))  # fmt: skip
api(
    "anthropic.extra_input",
    "invalid_request",
    400,
    INVALID,
    lambda s: f"{s.pick('reasoning', 'response_format', 'seed', 'logprobs')}: Extra inputs are not permitted",
)
api(
    "anthropic.tool_schema",
    "invalid_request",
    400,
    INVALID,
    lambda s: (
        f"tools.{s.n(0, 20)}.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12."
    ),
)
api("anthropic.filtered", "refusal", 400, INVALID, "Output blocked by content filtering policy")
api(
    "anthropic.container",
    "context_lost",
    404,
    "not_found_error",
    lambda s: f"Container container_{s.mixed(20)} has expired and its state is gone",
    also=("missing_resource",),
)


@template("anthropic.timeout", "timeout_model", "anthropic", provider="anthropic")
def _(s):
    s.to_model()
    LOOPBACK.answer(mode="hang")
    ask(client(timeout=WAIT_S))


@template("anthropic.dns", "connection", "anthropic", provider="anthropic", cause="anthropic.connection")
def _(s):
    s.to_model()
    ask(client("http://nosuchhost.invalid"))


@template("anthropic.reset", "connection", "anthropic", provider="anthropic", cause="anthropic.connection")
def _(s):
    s.to_model()
    LOOPBACK.answer(mode="reset")
    ask(client())


@template("anthropic.no_key", "auth", "anthropic", provider="anthropic")
def _(s):
    ask(anthropic.Anthropic(api_key=None, base_url=LOOPBACK.url))


@template("anthropic.must_stream", "invalid_request", "anthropic", provider="anthropic")
def _(s):
    ask(client(), max_tokens=s.n(60_000, 128_000))
