"""The states of an issue and what moves it from one to the other: one table, read by the code and by the docs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from rsi.model import IssueState, Trend
from rsi.store.impact import RECURRING
from rsi.store.issue_rows import ACTIVE

#: Hours after which nothing is news any more, and the least silence that resolves.
DAY_H: Final = 24.0
#: An issue is quiet after this many of its usual gaps: at a constant rate, silence that long has a chance of 5 %.
GAPS: Final = 3.0
#: With no traffic that could show it, an issue is let go after this silence: as long as outcomes are kept by default.
FORGOTTEN_H: Final = 30 * DAY_H


class Facts(NamedTuple):
    """What is known of an issue; only unrecovered failures count. Spans are hours.

    `quiet`: since it last struck, but not longer than it is in its state, so that old logs show what was in them.
    `gap`: between hours in which it struck. `traffic`: its scopes had final tasks since. `back`: it struck after
    `state_at`.
    """

    in_state: float
    age: float
    unrecovered: int
    quiet: float
    gap: float
    traffic: bool
    trend: Trend
    back: bool


class Transition(NamedTuple):
    """From any of `before` to `after` when `holds`; `when` says it in words."""

    name: str
    before: tuple[IssueState, ...]
    after: IssueState
    when: str
    holds: Callable[[Facts], bool]


class Given(NamedTuple):
    """What only a person does."""

    name: str
    before: str
    after: IssueState
    when: str


#: The first row that holds decides; one step per pass.
TABLE: Final[tuple[Transition, ...]] = (
    Transition(
        "came back",
        ("resolved",),
        "regressed",
        "an unrecovered failure after it was resolved; names the release it came back in and what had resolved it",
        lambda f: f.back,
    ),
    Transition(
        "went quiet",
        ACTIVE,
        "resolved",
        f"no unrecovered failure for {DAY_H:.0f} h and for {GAPS:.0f} times its usual gap, while its scopes had tasks",
        lambda f: f.quiet >= max(DAY_H, GAPS * f.gap) and f.traffic,
    ),
    Transition(
        "was forgotten",
        ACTIVE,
        "resolved",
        f"no unrecovered failure for {FORGOTTEN_H / DAY_H:.0f} days, with traffic or without",
        lambda f: f.quiet >= FORGOTTEN_H,
    ),
    Transition(
        "no longer news",
        ("new",),
        "ongoing",
        f"{RECURRING} unrecovered failures, or first seen {DAY_H:.0f} h ago",
        lambda f: f.unrecovered >= RECURRING or f.age >= DAY_H,
    ),
    Transition(
        "stayed back",
        ("regressed",),
        "ongoing",
        f"{DAY_H:.0f} h after it came back",
        lambda f: f.in_state >= DAY_H,
    ),
    Transition(
        "getting worse",
        ("ongoing",),
        "escalating",
        "its trend is increasing",
        lambda f: f.trend == "increasing",
    ),
    Transition(
        "calmed down",
        ("escalating",),
        "ongoing",
        "its trend is no longer increasing",
        lambda f: f.trend != "increasing",
    ),
)

BY_PERSON: Final[tuple[Given, ...]] = (
    Given("resolved", "any", "resolved", "a person says so; it regresses if it is seen again"),
    Given("ignored", "any", "ignored", "a person says so; it is still counted, and nothing but a person ends it"),
    Given("reopened", "any", "ongoing", "a person says so"),
)


def step(state: IssueState, facts: Facts) -> Transition | None:
    """The transition that holds now, if one does."""
    return next((row for row in TABLE if state in row.before and row.holds(facts)), None)


def as_markdown() -> str:
    """The table as `docs/reference/issues.md` shows it."""
    lines = ["| from | to | because | when |", "|---|---|---|---|"]
    lines += [f"| {', '.join(row.before)} | **{row.after}** | {row.name} | {row.when} |" for row in TABLE]
    lines += [f"| {row.before} | **{row.after}** | {row.name} by a person | {row.when} |" for row in BY_PERSON]
    return "\n".join(lines) + "\n"
