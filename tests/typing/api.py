"""What users write, as a type checker sees it: run by mypy --strict, never executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import rsi
from rsi.client import Client

client = Client(url="http://127.0.0.1:7474", source="app")


@rsi.guard("search", idempotent=True)
def search(query: str, *, limit: int = 3) -> list[str]:
    return [query] * limit


@rsi.guard(
    "ask",
    kind="llm",
    session="thread",
    timeout_arg="timeout",
    tokens_arg="max_tokens",
    lessons_arg="lessons",
    fallbacks={"small": lambda prompt, **_: "small"},
    reask=lambda error, prompt, **_: f"{prompt} ({error})",
    inner_retries=2,
    provider="openai",
    model="gpt",
    client=client,
)
async def ask(prompt: str, thread: str, timeout: float = 5, max_tokens: int = 64, lessons: tuple[str, ...] = ()) -> str:  # noqa: ASYNC109
    return prompt


@rsi.guard(session=lambda n: f"s{n}")
def stream(n: int) -> Iterator[int]:
    yield n


@rsi.guard("stream")
async def async_stream(n: int) -> AsyncIterator[int]:
    yield n


class Agent:
    @rsi.guard("plan")
    def plan(self, goal: str) -> dict[str, int]:
        return {goal: 1}


async def use() -> None:
    assert_type(search("q", limit=2), list[str])
    assert_type(await ask("p", "t"), str)
    assert_type(stream(1), Iterator[int])
    assert_type(async_stream(1), AsyncIterator[int])
    assert_type(Agent().plan("x"), dict[str, int])
    search(5)  # type: ignore[arg-type]
    rsi.record("t", success=True, source="app", session="s", tokens_in=5, quality=4, kind="llm", tags=["a"])
    rsi.record("t", success=False, error=ValueError("x"))
    rsi.record("t", success=False, error={"type": "E", "message": "m", "status": 500})
    rsi.record("t", True, kind="nope")  # type: ignore[arg-type]
    with rsi.step("plan", session="s", cost_usd=0.1) as s:
        assert_type(s.id, str | None)
        s.note(tokens_out=5)
        s.fail("no", error_type="E", status=404)
    async with rsi.step("plan") as a:
        a.fail(ValueError("no"))
    assert_type(rsi.inject(), dict[str, str])
    with rsi.extract({"baggage": "x"}):
        pass
    assert_type(rsi.flush(1.0), bool)
    assert_type(rsi.__version__, str)
