"""httpx, requests, urllib3: closed ports, names that do not resolve, full queues, bad certificates, broken answers."""

# ruff: noqa: A002 - `id` and `type` are the fields' names
from __future__ import annotations

from typing import Any

import httpx
import requests
import urllib3
from server import LOOPBACK, WAIT_S
from slots import Slots
from template import Template, add, template

POOL = urllib3.PoolManager(retries=False)
RETRYING = urllib3.PoolManager(retries=urllib3.Retry(2, backoff_factor=0))


def refused() -> str:
    return f"http://127.0.0.1:{LOOPBACK.closed}"


def where(s: Slots) -> str:
    return f"/v1/{s.word()}s/{s.n()}"


# --- httpx
@template("httpx.refused", "connection", "httpx")
def _(s):
    httpx.get(refused() + where(s))


@template("httpx.dns", "connection", "httpx")
def _(s):
    httpx.get(f"http://nosuchhost.invalid{where(s)}")


@template("httpx.connect_timeout", "connection", "httpx", bare=False, also=("timeout_tool", "timeout_model"))
def _(s):
    httpx.get(f"http://127.0.0.1:{LOOPBACK.full}", timeout=WAIT_S)


@template("httpx.read_timeout_model", "timeout_model", "httpx", context="model", also=("connection",))
def _(s):
    s.to_model()
    httpx.post(LOOPBACK.answer(mode="hang") + "/v1/chat/completions", timeout=WAIT_S)


@template("httpx.read_timeout_tool", "timeout_tool", "httpx", context="tool", also=("connection",))
def _(s):
    httpx.get(LOOPBACK.answer(mode="hang") + where(s), timeout=WAIT_S)


@template("httpx.disconnected", "connection", "httpx")
def _(s):
    httpx.get(LOOPBACK.answer(mode="drop") + where(s))


@template("httpx.reset", "connection", "httpx")
def _(s):
    httpx.get(LOOPBACK.answer(mode="reset") + where(s))


@template("httpx.cut", "connection", "httpx")
def _(s):
    httpx.get(LOOPBACK.answer(mode="cut") + where(s))


@template("httpx.self_signed", "connection", "httpx", cause="http.self_signed")
def _(s):
    httpx.get(LOOPBACK.tls("selfsigned"))


@template("httpx.not_tls", "connection", "httpx")
def _(s):
    LOOPBACK.answer(200, {})
    httpx.get(f"https://127.0.0.1:{LOOPBACK.port}")


def raised(
    id: str, category: str, status: int, package: str = "httpx", model: bool = False, also: tuple[str, ...] = ()
) -> None:
    def make(s: Slots) -> Any:
        if model:
            s.to_model()
        url = LOOPBACK.answer(status, {"detail": "see status"}) + ("/v1/chat/completions" if model else where(s))
        (httpx if package == "httpx" else requests).get(url).raise_for_status()

    add(Template(id, package, category, make, also=also))


raised("httpx.401", "auth", 401)
raised("httpx.404", "missing_resource", 404)
raised("httpx.409", "state_conflict", 409)
raised("httpx.422", "invalid_request", 422, also=("tool_args", "schema_validation"))
raised("httpx.429", "rate_limit", 429, model=True)
raised("httpx.500", "provider_5xx", 500, model=True)
raised("requests.403", "permission", 403, "requests")
raised("requests.429", "rate_limit", 429, "requests")
raised("requests.502", "provider_5xx", 502, "requests", model=True)
raised("requests.503", "overloaded", 503, "requests", model=True)
raised("requests.504", "timeout_model", 504, "requests", model=True)
raised("requests.402", "quota_exhausted", 402, "requests", model=True)


# --- requests
@template("requests.refused", "connection", "requests")
def _(s):
    requests.get(refused() + where(s))


@template("requests.dns", "connection", "requests")
def _(s):
    requests.get(f"http://nosuchhost.invalid{where(s)}")


@template("requests.connect_timeout", "connection", "requests", also=("timeout_tool", "timeout_model"))
def _(s):
    requests.get(f"http://127.0.0.1:{LOOPBACK.full}{where(s)}", timeout=WAIT_S)


@template("requests.read_timeout_model", "timeout_model", "requests", also=("connection",))
def _(s):
    s.to_model()
    requests.post(LOOPBACK.answer(mode="hang") + "/v1/chat/completions", timeout=WAIT_S)


@template(
    "requests.read_timeout_tool",
    "timeout_tool",
    "requests",
    context="tool",
    also=("connection",),
    cause="http.read_timeout_tool",
)
def _(s):
    requests.get(LOOPBACK.answer(mode="hang") + where(s), timeout=WAIT_S)


@template("requests.disconnected", "connection", "requests", cause="http.disconnected")
def _(s):
    requests.get(LOOPBACK.answer(mode="drop") + where(s))


@template("requests.reset", "connection", "requests")
def _(s):
    requests.get(LOOPBACK.answer(mode="reset") + where(s))


@template("requests.cut", "connection", "requests")
def _(s):
    requests.get(LOOPBACK.answer(mode="cut") + where(s))


@template("requests.cert_expired", "connection", "requests")
def _(s):
    url = LOOPBACK.tls("expired")
    requests.get(url, verify=LOOPBACK._tls["expired"].ca_file)


@template("requests.cert_host", "connection", "requests")
def _(s):
    url = LOOPBACK.tls("host")
    requests.get(url, verify=LOOPBACK._tls["host"].ca_file)


@template("requests.no_scheme", "invalid_request", "requests", also=("tool_args", "code_bug"))
def _(s):
    requests.get(f"{s.host}{where(s)}")


@template("requests.not_json", "output_parse", "requests", also=("tool_execution",), cause="json.empty")
def _(s):
    requests.get(LOOPBACK.answer(200, "<html>welcome</html>")).json()


# --- urllib3
@template("urllib3.refused", "connection", "urllib3")
def _(s):
    RETRYING.request("GET", refused() + where(s))


@template("urllib3.dns", "connection", "urllib3")
def _(s):
    POOL.request("GET", f"http://nosuchhost.invalid{where(s)}")


@template(
    "urllib3.read_timeout_tool",
    "timeout_tool",
    "urllib3",
    context="tool",
    also=("connection",),
    cause="http.read_timeout_tool",
)
def _(s):
    POOL.request("GET", LOOPBACK.answer(mode="hang") + where(s), timeout=WAIT_S)


@template("urllib3.connect_timeout", "connection", "urllib3", also=("timeout_tool", "timeout_model"))
def _(s):
    POOL.request("GET", f"http://127.0.0.1:{LOOPBACK.full}{where(s)}", timeout=WAIT_S)


@template("urllib3.disconnected", "connection", "urllib3", cause="http.disconnected")
def _(s):
    POOL.request("GET", LOOPBACK.answer(mode="drop") + where(s))


@template("urllib3.self_signed", "connection", "urllib3", cause="http.self_signed")
def _(s):
    POOL.request("GET", LOOPBACK.tls("selfsigned"))


@template("urllib3.proxy", "connection", "urllib3")
def _(s):
    urllib3.ProxyManager(refused(), retries=False).request("GET", f"http://{s.host}{where(s)}")


@template("urllib3.too_many_500", "provider_5xx", "urllib3")
def _(s):
    retry = urllib3.Retry(2, status_forcelist=[500, 502], backoff_factor=0)
    urllib3.PoolManager(retries=retry).request("GET", LOOPBACK.answer(500, {}) + where(s))


@template("urllib3.too_many_429", "rate_limit", "urllib3")
def _(s):
    retry = urllib3.Retry(2, status_forcelist=[429], backoff_factor=0)
    urllib3.PoolManager(retries=retry).request("GET", LOOPBACK.answer(429, {}) + where(s))
