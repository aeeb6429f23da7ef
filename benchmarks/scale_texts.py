"""Texts for `scale.py`: as many templates as one likes, always the same ones, in several wordings and shapes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

Item = dict[str, Any]


def words(rng: random.Random, count: int) -> str:
    """Words that no rule and no mask knows."""
    return " ".join(
        "".join(rng.choice("bdfgklmnprstv") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))
        for _ in range(count)
    )


def distinct(n: int) -> str:
    """The n-th template of its own, always the same one."""
    return f"{words(random.Random(n), 9)} while calling the service"


NAMES = ("anna", "bert", "carl", "dora", "emil", "olga", "gina", "hugo", "nina", "ivan")
SLOTS: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: f"for user {rng.choice(NAMES)}",
    lambda rng: f"on host web-{rng.randrange(40)}",
    lambda rng: f"in request {rng.getrandbits(64):016x}",
    lambda rng: f"after {rng.randrange(1, 90)} s",
)
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda message: f"RuntimeError: {message}",
    lambda message: f"pump.errors.PumpError: {message}",
    lambda message: f"failed after 3 attempts: {message}",
    lambda message: f"PumpError({message!r})",
    lambda message: json.dumps({"error": {"message": message}}),
)


def wordings(count: int, seed: int) -> list[str]:
    """Texts of `count // 8` faults: one message each with a value in it, spelled in several ways."""
    rng = random.Random(seed)
    faults = [(words(rng, 6), rng.choice(SLOTS), rng.sample(SPELLINGS, 3)) for _ in range(max(count // 8, 1))]
    made = []
    for n in range(count):
        message, slot, spellings = faults[n % len(faults)]
        made.append(rng.choice(spellings)(f"{message} {slot(rng)}"))
    return made


def failure(ident: str, text: str) -> Item:
    return {"id": ident, "source": "app", "task": "scale", "success": False, "error": {"message": text}}


HEAD = "one two three four five six seven eight"
SHAPES: Mapping[str, Callable[[int], tuple[str, str, str | None]]] = {
    "one beginning, all cut": lambda n: ("unknown", f"{HEAD} {words(random.Random(n), 14)}", None),
    "one beginning, half whole": lambda n: ("unknown", f"{HEAD} {words(random.Random(n), 14)}{'.' * (n % 2)}", None),
    "cut to many lengths": lambda n: ("unknown", f"{HEAD} {words(random.Random(n), 14 + n % 40)}{'.' * (n % 2)}", None),
    "one message, other codes": lambda n: (
        "provider_5xx",
        f"Error code: 500 - {{'error': {{'message': 'the thing went bad here', 'code': 'c_{named(n)}_x'}}}}",
        f"K{named(n)}Error",
    ),
    "one tool each": lambda n: ("timeout_tool", f"Tool '{named(n)}' timed out while it waited for the answer", None),
    "one user each": lambda n: ("auth", f"the password of user {named(n)} was not what it should have been", None),
}


def named(n: int) -> str:
    return words(random.Random(n), 1) + "".join(chr(97 + n // 26**place % 26) for place in range(4))
