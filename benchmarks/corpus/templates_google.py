"""Gemini through google-genai: the SDK's own exceptions over a loopback server in the shape of google.rpc.Status."""

# ruff: noqa: A002 - `id` and `type` are the fields' names
from __future__ import annotations

import functools
from typing import Any

from google import genai
from google.genai import types
from server import LOOPBACK, WAIT_S
from slots import Slots
from template import Template, add, template

TYPE = "type.googleapis.com/google.rpc."


@functools.lru_cache(maxsize=8)  # making one takes 100 ms, and it closes its connections when it is collected
def client(url: str | None, timeout: int | None) -> Any:
    return genai.Client(api_key="k-test", http_options=types.HttpOptions(base_url=url or LOOPBACK.url, timeout=timeout))


def ask(url: str | None = None, timeout: int | None = None) -> Any:
    return client(url, timeout).models.generate_content(model="gemini-2.5-flash", contents="hi")


def api(
    id: str, category: str, code: int, status: str, message: Any, details: Any = None, also: tuple[str, ...] = ()
) -> None:
    kept = not (details and status == "RESOURCE_EXHAUSTED")

    def make(s: Slots) -> Any:
        s.to_model()
        found: dict[str, Any] = {
            "code": code,
            "message": message(s) if callable(message) else message,
            "status": status,
        }
        if details:
            found["details"] = details(s)
        make.body = {"error": found}  # type: ignore[attr-defined]
        LOOPBACK.answer(code, make.body)  # type: ignore[attr-defined]
        ask()

    add(Template(id, "google-genai", category, make, "google", also, cut=kept, body=lambda s: make.body))  # type: ignore[attr-defined]


def quota(window: str) -> Any:
    return lambda s: [
        {"@type": TYPE + "QuotaFailure", "violations": [{"quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests", "quotaId": f"GenerateRequests{window}PerProjectPerModel-FreeTier", "quotaValue": str(s.n(5, 1500))}]},
        {"@type": TYPE + "RetryInfo", "retryDelay": f"{s.n(2, 59)}s"},
    ]  # fmt: skip


def info(reason: str) -> Any:
    return lambda s: [
        {
            "@type": TYPE + "ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
    ]


EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
api("gemini.rate_minute", "rate_limit", 429, "RESOURCE_EXHAUSTED", EXCEEDED, quota("PerMinute"))
api("gemini.quota_day", "quota_exhausted", 429, "RESOURCE_EXHAUSTED", EXCEEDED, quota("PerDay"))
api("gemini.rate_bare", "rate_limit", 429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
api("gemini.overloaded", "overloaded", 503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
api("gemini.unavailable", "overloaded", 503, "UNAVAILABLE", "The service is currently unavailable.")
api(
    "gemini.internal",
    "provider_5xx",
    500,
    "INTERNAL",
    "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
)
api("gemini.deadline", "timeout_model", 504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")
api(
    "gemini.tokens",
    "context_overflow",
    400,
    "INVALID_ARGUMENT",
    lambda s: (
        f"The input token count ({s.n(1_048_577, 3_000_000)}) exceeds the maximum number of tokens allowed (1048576)."
    ),
)
api(
    "gemini.key",
    "auth",
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    info("API_KEY_INVALID"),
)
api(
    "gemini.key_expired",
    "auth",
    400,
    "INVALID_ARGUMENT",
    "API key expired. Please renew the API key.",
    info("API_KEY_INVALID"),
)
api(
    "gemini.unauthenticated",
    "auth",
    401,
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    info("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
)
api(
    "gemini.service_disabled",
    "permission",
    403,
    "PERMISSION_DENIED",
    lambda s: f"Generative Language API has not been used in project {s.n(10**9, 10**10)} before or it is disabled.",
    info("SERVICE_DISABLED"),
)
api("gemini.caller", "permission", 403, "PERMISSION_DENIED", "The caller does not have permission")
api(
    "gemini.location",
    "permission",
    400,
    "FAILED_PRECONDITION",
    "User location is not supported for the API use.",
    also=("invalid_request",),
)
api(
    "gemini.billing",
    "quota_exhausted",
    400,
    "FAILED_PRECONDITION",
    "Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio.",
)
api(
    "gemini.model",
    "model_not_found",
    404,
    "NOT_FOUND",
    lambda s: (
        f"models/gemini-{s.n(1, 4)}.{s.n(0, 9)}-ultra is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models."
    ),
)
api(
    "gemini.cache_gone",
    "context_lost",
    403,
    "PERMISSION_DENIED",
    lambda s: f"CachedContent not found (or permission denied): cachedContents/{s.mixed(12).lower()}",
    also=("permission", "missing_resource"),
)
api(
    "gemini.call_turn",
    "chat_history_invalid",
    400,
    "INVALID_ARGUMENT",
    "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
)
api(
    "gemini.response_parts",
    "chat_history_invalid",
    400,
    "INVALID_ARGUMENT",
    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
)
api("gemini.unknown_field", "invalid_request", 400, "INVALID_ARGUMENT", lambda s: (
    f"Invalid JSON payload received. Unknown name \"{s.pick('additionalProperties', 'strict', 'const')}\" at 'tools[{s.n(0, 9)}].function_declarations[{s.n(0, 9)}].parameters': Cannot find field."),
    lambda s: [{"@type": TYPE + "BadRequest", "fieldViolations": [{"field": f"tools[{s.n(0, 9)}].function_declarations[0].parameters"}]}])  # fmt: skip
api(
    "gemini.temperature",
    "invalid_request",
    400,
    "INVALID_ARGUMENT",
    lambda s: (
        f"Unable to submit request because it has a temperature value of {s.n(3, 20)}.0 but the supported range is from 0 (inclusive) to 2.0000001 (exclusive). Update the value and try again."
    ),
)


@template("gemini.html_502", "provider_5xx", "google-genai", provider="google")
def _(s):
    LOOPBACK.answer(
        502,
        "<!DOCTYPE html><title>Error 502 (Server Error)!!1</title><p>The server encountered a temporary error and could not complete your request.",
    )
    ask()


@template("gemini.read_timeout", "timeout_model", "google-genai", provider="google", context="model")
def _(s):
    s.to_model()
    LOOPBACK.answer(mode="hang")
    ask(timeout=int(WAIT_S * 1000))


@template("gemini.refused", "connection", "google-genai", provider="google", cause="httpx.refused")
def _(s):
    s.to_model()
    ask(f"http://127.0.0.1:{LOOPBACK.closed}")


@template("gemini.no_key", "auth", "google-genai", provider="google")
def _(s):
    genai.Client()


@template("gemini.function_failed", "tool_execution", "google-genai", provider="google")
def _(s):
    from google.genai import _extra_utils

    def look_up(order: str) -> str:
        raise RuntimeError(f"order {order} has no shipments")

    _extra_utils.invoke_function_from_dict_args({"order": str(s.n())}, look_up)
