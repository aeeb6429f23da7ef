"""What two runs of a command, one with a change and one without, say about the change. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from rsi.model import CheckOutcome, CheckRun, Replay

NOT_STARTED: Final = (126, 127)
"""What a shell answers when it cannot execute a command, or does not find it (POSIX XCU 2.8.2)."""
CALLED_OFF: Final = "closed"
"""Nobody's doing but ours."""
SLOW: Final = "timeout"
HANGS: Final = 2.0
"""A run that reaches the time limit hangs if it took so many times what it takes without the change. Less is a slow
command near its limit, which on a busy machine may end on either side of it."""
LEAST_REPLAYS: Final = 2
"""Below this, "always" and "never" are one and the same run."""


class Said(NamedTuple):
    """An outcome and the sentence for it."""

    outcome: CheckOutcome
    why: str


def of_command(with_it: CheckRun, without: CheckRun) -> Said:
    """Green with the change: passed. Red or ended by a limit with it: that it was green without blames the change."""
    both = f"{run(with_it)} with the change, {run(without)} without it"
    if with_it.ok:
        return Said("passed", both)
    if without.ok and _by_itself(with_it, without):
        return Said("broke", both)
    if with_it.killed_by or without.killed_by:
        return Said("not_run", f"the command did not end by itself: {both}")
    if with_it.exit != without.exit:
        return Said("unclear", f"the command fails in another way than it did before: {both}")
    if with_it.exit in NOT_STARTED:
        return Said("not_run", f"the sandbox has no such command: {both}")
    return Said("red_before", f"the command fails without the change, too, in the same way: {both}")


def _by_itself(with_it: CheckRun, without: CheckRun) -> bool:
    """Whether what ended it is its own: its exit, or a limit that it would not have reached without the change."""
    if with_it.killed_by == SLOW:
        return with_it.seconds >= HANGS * without.seconds
    return with_it.killed_by != CALLED_OFF


def of_replay(replay: Replay) -> Said:
    """Only an input that always worked without the change and never with it blames the change."""
    counted = f"replay of {replay.outcome}: {replay.ok_with} of {replay.times} worked with the change, "
    counted += f"{replay.ok_without} of {replay.times} without it"
    always = replay.times >= LEAST_REPLAYS and replay.ok_without == replay.times
    return Said("broke" if always and not replay.ok_with else "passed", counted)


def both(command: Said | None, replay: Said | None) -> Said:
    """One outcome: what speaks against the change wins, then what the command said."""
    said = [one for one in (command, replay) if one is not None]
    if not said:
        return Said("nothing", "there was nothing to run: no failed outcome of this issue has its input stored")
    outcome = next((one.outcome for one in said if one.outcome == "broke"), said[0].outcome)
    return Said(outcome, "; ".join(one.why for one in said))


def run(one: CheckRun) -> str:
    """How it ended, in words."""
    ended = f"ended by the limit on {one.killed_by}" if one.killed_by else f"exit {one.exit}"
    return f"{ended} after {one.seconds:.1f} s"
