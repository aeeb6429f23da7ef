"""The daemon calls every failure what the rules call its text, whatever it has seen before."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from analyze_world import World, rules

from rsi.analyze.observe import Observer
from rsi.classify import classify
from rsi.model import Category
from rsi.store import outcomes

#: A number that decides stands in each of these, and masking cannot always know it.
SENTENCES = [
    "got HTTP response {} from proxy", "call failed [{}]", "request failed ({})", "MCP error {}", "Response [{}]",
    "<Response [{}]>", "APIError: {}", "failed: {}", "status was {}", "got {} from server", "[{}] call failed",
    "Process exited with {}", "tool exited, rc={}", "http_status={}", "upstream answered: {}", "fetch failed ({})",
    "call to provider failed with {}", "grpc status {}", "the search gave {} results for query 71",
    "2026-11-21 04:10:1{} [WARN] app.loop:12 - upstream said {}", "step 17 of 20: exit value {} after 31 s",
    "request 3fa85f64-5717-4562-b3fc-2c963f66afa{}: the proxy said {}, try 3", "maximum context length is {} tokens",
]  # fmt: skip
NUMBERS = [
    "0",
    "1",
    "9",
    "137",
    "143",
    "400",
    "401",
    "403",
    "404",
    "429",
    "500",
    "503",
    "504",
    "529",
    "777",
    "-32601",
    "-32602",
    "8192",
]


def categories(world: World) -> dict[str, str]:
    """What the daemon made of each text that it was sent."""
    with world.store.read() as conn:
        there = {
            row.id: row.category
            for row in conn.exec_driver_sql(
                "select o.id, f.category from outcomes o join fingerprints f on f.id = o.fingerprint"
            )
        }
        rows = outcomes.since(conn, 0, 10_000)
    return {row.outcome.error: there.get(row.outcome.id, "not_a_failure") for row in rows if row.outcome.error}


def texts(rng: random.Random) -> list[str]:
    made = [
        sentence.replace("{}", number, 1).replace("{}", rng.choice(NUMBERS))
        for sentence in SENTENCES
        for number in NUMBERS
    ]
    made += [re.sub(r"(?<![\d-])\d\d?(?!\d)", lambda _: str(rng.randrange(100)), text) for text in made]
    rng.shuffle(made)
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_a_failure_has_the_category_of_its_text_in_any_order(world: World, seed: int) -> None:
    sent = texts(random.Random(seed))
    for part in range(0, len(sent), 97):
        world.add_all([{"error": text} for text in sent[part : part + 97]])
        world.cycle()
    found = categories(world)
    wanted = {text: classify(text).name for text in sent}
    assert found == wanted
    assert len(set(wanted.values())) > 9


@pytest.mark.parametrize(
    ("sentence", "one", "other"),
    [
        ("got HTTP response {} from proxy", 429, 403),
        ("call failed [{}]", 500, 401),
        ("request failed ({})", 502, 402),
        ("MCP error {}", -32602, -32601),
        ("APIError: {}", 429, 401),
        ("the vendor said {}x: got {} from it", 429, 401),
    ],
)
def test_two_numbers_that_decide_are_two_issues(world: World, sentence: str, one: int, other: int) -> None:
    for number in (one, other, one):
        world.fail(sentence.format(number, number))
    found = {issue.category: issue.frequency for issue in world.issues()}
    assert found == {classify(sentence.format(one, one)).name: 2, classify(sentence.format(other, other)).name: 1}


def test_a_text_is_judged_with_the_class_status_and_provider_that_came_with_it(world: World) -> None:
    text = "the call of try 3 was turned down"
    asked = [
        {"error_status": 429}, {"error_status": 401}, {"error_status": 503}, {"error_type": "openai.RateLimitError"},
        {"error_type": "openai.AuthenticationError"}, {"error_type": "ThrottlingException", "provider": "bedrock"}, {},
    ]  # fmt: skip
    for fields in asked * 2:
        world.add(error=text, **fields)
        world.cycle()
    with world.store.read() as conn:
        found = conn.exec_driver_sql(
            "select f.category from outcomes o join fingerprints f on f.id = o.fingerprint order by o.seq"
        ).all()
    wanted = [
        rules()(text, fields.get("error_type"), fields.get("error_status"), fields.get("provider")).name
        for fields in asked
    ]
    assert [name for (name,) in found] == wanted * 2
    assert len(set(wanted)) > 3


def test_a_provider_is_part_of_what_is_asked(world: World) -> None:
    providers = ["bedrock", "openai", "gemini", "anthropic", None]
    known = world.observer
    for provider in providers:
        world.add(error="ModelNotReadyException of try 3", error_status=429, provider=provider)
    world.cycle()
    assert known is world.observer
    found = {issue.category for issue in world.issues()}
    assert found == {rules()("ModelNotReadyException of try 3", None, 429, one).name for one in providers}


class Counted:
    """The rules, and how often they were asked."""

    def __init__(self) -> None:
        self.key = rules().key
        self.severity = rules().severity
        self.asked = 0

    def __call__(self, *asked: Any) -> Category:
        self.asked += 1
        return rules()(*asked)


def test_rules_are_asked_once_for_what_they_cannot_tell_apart(world: World) -> None:
    counted = Counted()
    world.observer = Observer(counted)
    rng = random.Random(5)
    for _ in range(5):
        world.add_all(
            [
                {
                    "error": f"order {rng.randrange(1000, 9999)} of tenant {rng.getrandbits(64) | 1 << 63:016x} failed: 429 slow"
                }
                for _ in range(100)
            ]
        )
        world.cycle()
    assert counted.asked < 30
    assert world.only().category == "rate_limit"
