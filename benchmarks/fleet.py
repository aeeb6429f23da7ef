"""Does the whole loop help a fleet, and does it ever harm one: simulated agents with the real client and guard, paired runs.

    python benchmarks/fleet.py                          # every incident, one seed
    python benchmarks/fleet.py --seeds 5                # what is quoted
    python benchmarks/fleet.py --only "503 storms" --json

32 to 40 agents call a provider over real sockets; the daemon takes their outcomes and serves its policy over real sockets,
too. All of them live in this process under one virtual clock (`fleet_clock`), so that an hour takes seconds and a seed
repeats itself. Every run has a twin with the same seed in which rsi is off. Whether a call fails depends on seed, unit
and try alone, so that the twins differ by what rsi does.

*Healed*: from the verdict to the incident's end at least 70 % fewer task failures than in the twin. *Harm*: more task
failures than in the twin over the whole run, or more calls than the allowance (a fifth more, and the retry budget's
reserve of one a second and client). Exit status 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass

from fleet_incidents import INCIDENTS, Incident
from fleet_world import CLIENTS, Told, World

LASTS_S = 900.0
HEALED = 0.7
ALLOWED, RESERVE_A_SECOND = 0.2, 1.0
GOAL_HEALED = 0.9
#: States of a fix that nobody acts on.
WAITING = ("proposed", "approved", "superseded", "rejected")


@dataclass(frozen=True)
class Row:
    incident: str
    seed: int
    units: int
    failed: int
    failed_off: int
    calls: int
    calls_off: int
    fix: str
    word: str
    decided_s: float | None
    healed: float | None
    harm: tuple[str, ...]
    extra: int
    explained: bool
    started: bool


def failures(told: Told, after: float = float("-inf")) -> int:
    return sum(unit.failed for unit in told.units if unit.began >= after)


def verdict_of(told: Told) -> tuple[str, str, float | None]:
    """The first fix that was verified, else the last word about any: rule, word, when."""
    by_id = {fix["id"]: fix["rule"] for fix in told.fixes}
    words = [(at, by_id.get(fix, fix), state) for fix, lines in told.history.items() for at, state, _ in lines]
    verified = sorted(line for line in words if line[2] == "verified")
    if verified:
        at, rule, word = verified[0]
        return rule, word, at
    last = [
        (lines[-1][0], by_id.get(fix, fix), "/".join(word for word in lines[-1][1:] if word))
        for fix, lines in told.history.items()
    ]
    return (last[-1][1], last[-1][2], None) if last else ("-", "-", None)


def row(incident: Incident, seed: int, on: Told, off: Told, lasts_s: float) -> Row:
    fix, word, decided = verdict_of(on)
    healed = None
    if decided is not None and failures(off, decided):
        healed = 1.0 - failures(on, decided) / failures(off, decided)
    clients = CLIENTS if len(incident.sources) == 1 else len(incident.sources)
    harm = []
    if failures(on) > failures(off):
        harm.append(f"{failures(on) - failures(off)} more failures")
    per_unit, per_unit_off = on.calls / len(on.units), off.calls / len(off.units)
    if on.calls > len(on.units) * per_unit_off * (1 + ALLOWED) + RESERVE_A_SECOND * clients * lasts_s:
        harm.append(f"{per_unit:.2f} calls a unit instead of {per_unit_off:.2f}")
    extra = sum(max(0, unit.calls - 1) for unit in on.units)
    return Row(
        incident.name,
        seed,
        len(on.units),
        failures(on),
        failures(off),
        on.calls,
        off.calls,
        fix,
        word,
        decided,
        healed,
        tuple(harm),
        extra,
        on.explained,
        any(word not in WAITING for lines in on.history.values() for _, word, _ in lines),
    )


def play(incident: Incident, seed: int, lasts_s: float) -> Row:
    """The twins."""
    lasts_s *= incident.lasts
    off = World(incident, seed, rsi_on=False, lasts_s=lasts_s).run()
    on = World(incident, seed, rsi_on=True, lasts_s=lasts_s).run()
    return row(incident, seed, on, off, lasts_s)


def judge(rows: list[Row]) -> list[str]:
    """The goals that were missed."""
    by_name = {incident.name: incident for incident in INCIDENTS}
    missed = [f"{each.incident} (seed {each.seed}): harm: {', '.join(each.harm)}" for each in rows if each.harm]
    missed += [f"{each.incident} (seed {each.seed}): a fix is not explained" for each in rows if not each.explained]
    for each in rows:
        incident = by_name[each.incident]
        if not incident.retries and each.extra:
            missed.append(f"{each.incident} (seed {each.seed}): {each.extra} calls repeated")
        if (incident.never_verified or not incident.retries) and each.word == "verified":
            missed.append(f"{each.incident} (seed {each.seed}): {each.fix} was verified")
        if incident.starts is not None and each.started != incident.starts:
            missed.append(f"{each.incident} (seed {each.seed}): {'a' if each.started else 'no'} fix was started")
    transient = [each for each in rows if by_name[each.incident].transient]
    healed = sum((each.healed or 0.0) >= HEALED for each in transient)
    if transient and healed < GOAL_HEALED * len(transient):
        missed.append(f"{healed} of {len(transient)} transient incidents healed, goal {GOAL_HEALED:.0%}")
    return missed


def show(each: Row) -> str:
    healed = "-" if each.healed is None else f"{each.healed:.0%}"
    when = "-" if each.decided_s is None else f"{each.decided_s:.0f}"
    return (
        f"{each.incident:32} {each.seed:4} {each.units:6} {each.failed_off:6} {each.failed:6} {each.calls_off:6} {each.calls:6}"
        f" {when:>6} {healed:>6}  {each.fix} {each.word}{'  HARM: ' + ', '.join(each.harm) if each.harm else ''}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", metavar="NAME", action="append", help="an incident by its name; may be given again")
    parser.add_argument("--lasts", type=float, default=LASTS_S, metavar="S", help="virtual seconds of an incident")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = [each for each in INCIDENTS if not options.only or each.name in options.only]
    if not chosen:
        parser.error(f"no such incident; there are {', '.join(each.name for each in INCIDENTS)}")
    rows: list[Row] = []
    began = time.monotonic()
    if not options.json:
        print(
            f"{'incident':32} {'seed':>4} {'units':>6} {'f.off':>6} {'f.on':>6} {'c.off':>6} {'c.on':>6} {'at s':>6} {'healed':>6}"
        )
    for incident in chosen:
        for seed in range(1, options.seeds + 1):
            rows.append(play(incident, seed, options.lasts))
            if not options.json:
                print(show(rows[-1]), flush=True)
    missed = judge(rows)
    if options.json:
        print(json.dumps({"rows": [each.__dict__ for each in rows], "missed": missed}))
        return 1 if missed else 0
    transient = [each for each in rows if any(i.transient and i.name == each.incident for i in INCIDENTS)]
    times = [each.decided_s for each in transient if each.decided_s is not None]
    healed = sum((each.healed or 0.0) >= HEALED for each in transient)
    print(
        f"\nhealed {healed} of {len(transient)}; median time to the verdict {statistics.median(times):.0f} s (virtual)"
        if times
        else "\nhealed 0"
    )
    print(
        f"harm {sum(bool(each.harm) for each in rows)} of {len(rows)} runs; load {os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s"
    )
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
