"""One occurrence, written down in the ways that logs write it down."""

from __future__ import annotations

import contextlib
import json
import random
import re
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from occurrence import Made, occur
from server import LOOPBACK, WAIT_S
from slots import Slots
from template import Template
from traces import stack, trace_tail

CUT = 300  # characters that many a log or column keeps
SITE = [
    "/usr/local/lib/python3.11/site-packages",
    "/app/.venv/lib/python3.12/site-packages",
    "/opt/venv/lib/python3.11/site-packages",
    "/home/agent/.local/lib/python3.13/site-packages",
]
STDLIB = ["/usr/lib/python3.11", "/usr/local/lib/python3.12", "/opt/python/3.13/lib/python3.13"]
# `{}` is the text. The first list fits anything; the others say what was being done.
ANY = [
    "failed after {n} attempts: {}",
    "Task {word} failed: {}",
    "step {n} of run {id} raised {}",
    "Agent {name} gave up: {}",
    "giving up on order {big}: {}",
    "unhandled error in session {id}: {}",
    "Retry {n}/{n} exhausted, last error: {}",
]
MODEL = [
    "LLM call to {model} failed: {}",
    "Error while calling the model {model}: {}",
    "chat completion with {model} failed after {n} attempts: {}",
]
MCP = [
    "MCP server {name}: {}",
    "Failed to start MCP server {name}: {}",
    "MCP client for {name} gave up after {n} attempts: {}",
]
TOOL = ["Error while calling tool {tool}: {}", "Tool {tool} failed: {}", "tool call {id} ({tool}) raised {}"]
ABOUT = {"model": MODEL, "tool": TOOL, "mcp": MCP}
LEVELS = ["ERROR", "WARNING", "CRITICAL", "error", "ERR"]


def localised(text: str, slots: Slots) -> str:
    """Our machine's address, ports, waits and paths become some other machine's."""
    for port in LOOPBACK.ports():
        text = re.sub(rf"\b{port}\b", str(slots.port), text)
    text = re.sub(r"127\.0\.0\.1|localhost|nosuchhost\.invalid", slots.host, text)
    text = re.sub(rf"\b{WAIT_S}\b|\b0\.04[89]\d+\b", slots.wait, text)
    text = text.replace(sysconfig.get_path("purelib"), slots.rng.choice(SITE))
    text = text.replace(str(Path(sysconfig.get_path("stdlib"))), slots.rng.choice(STDLIB))
    return re.sub(r"0x7f[0-9a-f]{10}", lambda _: "0x7f" + slots.hex(10), text)


def said(made: Made) -> str:
    """str(e); where that leaves open what it was about, in a sentence that tells it."""
    text = made.text.strip()
    if not made.template.bare and made.error is not None:
        text = f"{made.kind}: {text}" if text else str(made.kind)
    return text if not made.template.context else wrap(made, text, [])


def wrap(made: Made, text: str, more: list[str]) -> str:
    rng = made.slots.rng
    fitting = ABOUT.get(made.template.context) or [
        *more,
        *(MODEL if made.template.provider in {"openai", "anthropic", "google", "bedrock", "azure"} else TOOL),
    ]
    frame = rng.choice(fitting)
    words = made.slots.words()
    return re.sub(r"\{(\w*)\}", lambda match: text if not match[1] else str(words[match[1]]), frame)


def qualified(made: Made) -> str:
    text = f"{made.kind}: {made.text}" if made.kind else made.text
    return text if not made.template.context else wrap(made, text, [])


def represented(made: Made) -> str:
    text = repr(made.error) if made.error is not None else made.text
    return text if not made.template.context else wrap(made, text, [])


def json_line(made: Made) -> str:
    rng = made.slots.rng
    event = {
        "ts": made.slots.clock() + "Z",
        "level": rng.choice(LEVELS),
        "logger": rng.choice(["agent", "app.worker", "llm", "crew"]),
        "msg": rng.choice(["step failed", "task failed", "unhandled exception"]),
    }
    if made.template.context:
        event["msg"] = {"tool": "tool call failed", "model": "model call failed", "mcp": "mcp session failed"}[
            made.template.context
        ]
    event |= (
        {"error": made.text, "error_type": made.kind}
        if rng.random() < 0.6 and made.kind
        else {"exception": qualified(made)}
    )
    return json.dumps(event, ensure_ascii=rng.random() < 0.5)


def log_line(made: Made) -> str:
    rng, clock = made.slots.rng, made.slots.clock()
    style = rng.choice(
        [
            "{c},{n3} {l} [{w}] {t}",
            "[{c}] {l}/{w}: {t}",
            "{c}Z {l} {w} run={id} {t}",
            "{l}:{w}:{t}",
            "{w}[{n}]: {l} {t}",
        ]
    )
    text = qualified(made) if rng.random() < 0.6 else said(made)
    return style.format(
        c=clock.replace("T", " "),
        n3=rng.randint(100, 999),
        l=rng.choice(LEVELS),
        w=rng.choice(["agent.runner", "worker-3", "celery", "app"]),
        t=text,
        id=made.slots.uuid(),
        n=made.slots.n(),
    )


def body(made: Made) -> str:
    return made.body if isinstance(made.body, str) else json.dumps(made.body, indent=made.slots.pick(None, None, 2))


def cut(made: Made) -> str:
    whole = made.slots.pick(qualified(made), wrap(made, qualified(made), ANY), log_line(made), json_line(made))
    return whole[:CUT]


def wrapped(made: Made) -> str:
    named = made.kind and (made.slots.rng.random() < 0.5 or not made.template.bare or not made.text)
    return wrap(made, f"{made.kind}: {made.text}" if named else made.text, ANY)


FORMATS: dict[str, Callable[[Made], str]] = {
    "str": said, "repr": represented, "qualified": qualified, "traceback": stack, "traceback_tail": trace_tail, "body": body, "json_log": json_line,
    "wrapped": wrapped, "log_line": log_line, "cut": cut, "fields": lambda made: made.text or str(made.kind),
}  # fmt: skip
ROUNDS = [
    "str",
    "repr",
    "qualified",
    "traceback",
    "json_log",
    "wrapped",
    "log_line",
    "cut",
    "fields",
    "body",
    "traceback",
    "wrapped",
    "traceback_tail",
    "fields",
]


def fits(format: str, made: Made) -> bool:  # noqa: A002
    """Whether an occurrence has this form at all, and says enough in it."""
    if format.startswith("traceback"):
        return made.error is not None and not (made.template.context and format == "traceback_tail")
    return {
        "body": made.body is not None,
        "repr": made.error is not None,
        "cut": made.template.cut,
        "fields": made.error is not None and not made.template.context,
    }.get(format, True)


def row(made: Made, format: str) -> dict[str, Any]:  # noqa: A002
    """One line of the corpus."""
    text = localised(FORMATS[format](made), made.slots)
    found = {
        "text": text,
        "category": made.template.category,
        "template": made.template.id,
        "cause": made.template.cause or made.template.id,
        "format": format,
        "package": made.template.package,
    }
    if made.template.also:
        found["also"] = list(made.template.also)
    if format == "fields":
        found |= {"error_type": made.kind, "provider": made.template.provider} | (
            {"status": made.status} if made.status else {}
        )
    return {key: value for key, value in found.items() if value is not None}


def rows(template: Template, seed: int, prose: tuple[tuple[str, ...], tuple[str, ...]]) -> list[dict[str, Any]]:
    """All of a template's lines; the same for the same seed."""
    rng = random.Random(f"{seed}:{template.id}")
    found = []
    for format in ROUNDS:  # noqa: A001
        made = occur(template, Slots(rng))
        if fits(format, made):
            found.append(row(made, format))
    for kind, texts in zip(("prose", "language"), prose, strict=True):
        for text in texts:
            line = {
                "text": text.format_map(Slots(rng).words()),
                "category": template.category,
                "template": template.id,
                "cause": template.cause or template.id,
                "format": kind,
                "package": template.package,
            }
            found.append(line | ({"also": list(template.also)} if template.also else {}))
    return found


def quiet() -> contextlib.AbstractContextManager[Any]:
    """What the packages print belongs to stderr, not into the corpus."""
    return contextlib.redirect_stdout(sys.stderr)
