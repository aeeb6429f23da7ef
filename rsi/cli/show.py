"""Reading commands: status, health, issues, fixes, policy. They need no daemon."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final

import click
import msgspec

from rsi import clock
from rsi.cli.options import Place, as_json, harmless, place, print_json, styled, table
from rsi.cli.remote import running
from rsi.errors import NotFoundError
from rsi.model import Cost, Fix, Health, IssueInFull, Policy
from rsi.policy import mask_task

COLOURS: Final = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "unknown": "white"}
TITLE_WIDTH: Final = 70
MOST_WITH: Final = 2
#: Of a template in the list of an issue's.
TEMPLATE_CHARS: Final = 100


@contextlib.contextmanager
def reading(place: Place) -> Iterator[Any]:
    """A read snapshot of the home's store; `None` where nothing was ever stored."""
    from rsi.store import Store

    try:
        store = Store.open(place.home.store_url(place.config), read_only=True)
    except NotFoundError:
        yield None
        return
    try:
        with store.read() as conn:
            yield conn
    finally:
        store.close()


@click.command()
@as_json
@place
def status(place: Place, as_json: bool) -> None:
    """What runs, and what is wrong. Exit 1 if something is.

    \b
    Example:
      rsi status
    """
    remote = running(place.home)
    if remote is not None:
        found = remote.call("GET", "/v1/status")
    else:
        found = {"running": False, "home": str(place.home.path), "troubles": left_behind(place)}
    if as_json:
        print_json(found)
    else:
        _print_status(found)
    if found["troubles"]:
        click.get_current_context().exit(1)


def left_behind(place: Place) -> list[str]:
    """What a daemon that is not there any more, or does not answer, has left in this home."""
    about, refused = place.home.daemon(), place.home.refused()
    troubles = [f"inbox: {refused}"] if refused is not None else []
    pid = about.get("pid") if about else None
    if about and _alive(pid):
        troubles.append(f"the daemon (pid {pid}) does not answer at {about.get('url')}; `kill {pid}` and `rsi up`")
    elif about:
        troubles.append(f"the daemon (pid {pid}) ended without saying goodbye; `rsi up` takes over where it was")
    return troubles


def _alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _print_status(found: dict[str, Any]) -> None:
    if not found["running"]:
        click.echo(f"no daemon answers for {found['home']} (start one: rsi up)")
    else:
        click.echo(f"up: pid {found['pid']}, home {found['home']}, rsi {found['version']}")
        for name, part in {**found["intakes"], "pipeline": found["pipeline"]}.items():
            plain = {key: value for key, value in part.items() if isinstance(value, int | float | str | bool)}
            click.echo(f"  {name}: " + (", ".join(f"{key} {value}" for key, value in plain.items()) or "ready"))
    for trouble in found["troubles"]:
        click.echo(styled(f"! {harmless(trouble)}", fg="yellow"))


@click.command()
@click.option("--source", help="One source instead of all.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 1), metavar="X", help="Exit 1 if the score is below X or unknown."
)
@as_json
@place
def health(place: Place, source: str | None, fail_under: float | None, as_json: bool) -> None:
    """How well the agents do: mean success rate with its 95 % interval.

    \b
    Example:
      rsi health --source my-agent --fail-under 0.9
    """
    found = _health(place, source)
    if as_json:
        print_json(found)
    else:
        _print_health(found, source)
    if fail_under is not None and (found.health_score is None or found.health_score < fail_under):
        click.get_current_context().exit(1)


def _health(place: Place, source: str | None) -> Health:
    from rsi.analyze import health as health_model

    with reading(place) as conn:
        if conn is None:
            return Health(health_score=None, lo=0.0, hi=1.0, n=0.0, state="unknown", as_of=clock.iso(clock.now()))
        return health_model.read(conn, place.config, clock.now(), source=source)


def _print_health(found: Health, source: str | None) -> None:
    rows = [_health_row(source or "all", msgspec.to_builtins(found))]
    rows += [_health_row(f"  {harmless(name)}", part) for name, part in found.sources.items() if not source]
    for name, score, interval, n, state in rows:
        click.echo(f"{name:28} {score:>6}  {interval:15} n {n:>6}  {styled(state, fg=COLOURS.get(state, 'white'))}")


def _health_row(name: str, part: dict[str, Any]) -> tuple[str, str, str, str, str]:
    score = part.get("health_score")
    shown = "-" if score is None else f"{score:.3f}"
    return name, shown, f"[{part['lo']:.2f}, {part['hi']:.2f}]", f"{part['n']:.1f}", part["state"]


@click.command()
@click.option("--state", type=click.Choice(["new", "ongoing", "escalating", "regressed", "resolved", "ignored"]))
@click.option("--source")
@click.option("--task")
@click.option("--category")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@as_json
@place
def issues(place: Place, limit: int, as_json: bool, **filters: str | None) -> None:
    """What keeps failing, worst first.

    \b
    Example:
      rsi issues --source my-agent
    """
    from rsi.store import issues as stored

    filters["task"] = mask_task(filters["task"]) if filters["task"] else None  # as it is stored
    with reading(place) as conn:
        found = stored.list_issues(conn, limit=limit, **filters)[0] if conn is not None else []
    if as_json:
        print_json({"issues": found})
        return
    if not found:
        click.echo("no issues")
        return
    rows = [
        [one.id, one.state, one.category, str(one.frequency), f"{one.impact_score:.3f}", ",".join(one.sources)[:24],
         _few(one.correlated), one.title[:TITLE_WIDTH]]
        for one in found
    ]  # fmt: skip
    table(rows, ["id", "state", "category", "seen", "impact", "sources", "with", "title"])


def _few(refs: list[str]) -> str:
    """Some of the issues that one moves with."""
    return ",".join(refs[:MOST_WITH]) + (f"+{len(refs) - MOST_WITH}" if len(refs) > MOST_WITH else "") or "-"


@click.command()
@click.argument("issue_id")
@as_json
@place
def issue(place: Place, issue_id: str, as_json: bool) -> None:
    """One issue with its samples.

    \b
    Example:
      rsi issue i3
    """
    from rsi.store import issues as stored

    with reading(place) as conn:
        if conn is None:
            raise NotFoundError(f"{issue_id}: nothing is stored in {place.home.path} yet")
        found = stored.in_full(conn, issue_id)
    if as_json:
        print_json(found)
    else:
        _print_issue(found)


def _print_issue(found: IssueInFull) -> None:
    click.echo(styled(f"{found.id}  {harmless(found.title)}", bold=True))
    for name in ("category", "severity", "state", "trend", "task_type", "frequency", "unrecovered", "failure_rate",
                 "impact_score", "first_seen", "last_seen", "recurring", "why", "suggested_action"):  # fmt: skip
        click.echo(f"  {name:16} {harmless(getattr(found, name))}")
    click.echo(f"  {'sources':16} {harmless(', '.join(found.sources))}")
    if found.correlated:
        click.echo(f"  {'moves with':16} {', '.join(found.correlated)} (rsi incidents)")
    _print_related(found)
    _print_templates(found)
    for sample in found.sample_errors:
        click.echo("  sample (untrusted text):")
        for line in sample.splitlines():
            click.echo(f"    | {harmless(line)}")


def _print_templates(found: IssueInFull) -> None:
    if found.templates_total < 2:  # noqa: PLR2004 - nothing to split
        return
    click.echo(f"  {'templates':16} {found.templates_total}; `rsi split {found.id} --template NUMBER` takes one out")
    for one in found.templates:
        click.echo(f"    {one.id:>6} {one.n:>6} times  {harmless(one.template[:TEMPLATE_CHARS])}")
    if left := found.templates_total - len(found.templates):
        click.echo(f"    … and {left} more")


def _print_related(found: IssueInFull) -> None:
    for other in found.related:
        click.echo(f"  {'possibly related':16} {other.issue} ({other.cosine:.2f}, {other.why}) {harmless(other.title)}")
    same = next((other.issue for other in found.related if other.category == found.category), None)
    if same is not None:  # of different categories are never one
        click.echo(f"  {'':16} `rsi merge {found.id} {same}` if {same} is the same")


@click.command()
@click.option("--state")
@as_json
@place
def fixes(place: Place, state: str | None, as_json: bool) -> None:
    """What was or could be done about it, all states.

    \b
    Example:
      rsi fixes --state proposed
    """
    from rsi.store import fixes as stored

    with reading(place) as conn:
        found = stored.list_fixes(conn, state=state) if conn is not None else []
    if as_json:
        print_json({"fixes": found})
        return
    if not found:
        click.echo("no fixes")
        return
    rows = [
        [one.id, one.state, one.issue, f"{one.source}/{one.task}", one.knob,
         one.verdict.outcome if one.verdict else "-", one.title[:TITLE_WIDTH]]
        for one in found
    ]  # fmt: skip
    table(rows, ["id", "state", "issue", "scope", "knob", "verdict", "title"])


@click.command()
@click.argument("fix_id")
@as_json
@place
def fix(place: Place, fix_id: str, as_json: bool) -> None:
    """One fix: what it changes, why it is or is not applied, its evidence, verdict, what was left out, and journal.

    \b
    Example:
      rsi fix f12
    """
    from rsi.store import fixes as stored
    from rsi.store import trials

    with reading(place) as conn:
        if conn is None:
            raise NotFoundError(f"{fix_id}: nothing is stored in {place.home.path} yet")
        found, trial = stored.get_fix(conn, fix_id), trials.get(conn, stored.number(fix_id))
    left_out = trial.counts.left_out if trial is not None else {}
    if as_json:
        print_json({**msgspec.to_builtins(found), "left_out": left_out})
    else:
        _print_fix(found, left_out, trial.counts.entered if trial is not None else 0)


def _print_fix(found: Fix, left_out: Mapping[str, int], entered: int) -> None:
    from rsi.fix.proposals import figures

    click.echo(styled(f"{found.id}  {harmless(found.title)}", bold=True))
    for name in ("state", "issue", "rule", "category", "source", "task", "knob", "safe"):
        click.echo(f"  {name:10} {harmless(getattr(found, name))}")
    before = {key: old for key, old in found.change.before.items() if not key.startswith("@")}
    click.echo(f"  {'change':10} {found.change.target}: {_plain(before)} → {_plain(found.change.after)}")
    evidence = {name: value for name, value in figures(found.evidence).items() if name != "check"}
    click.echo(f"  {'evidence':10} {_plain(evidence)}")
    _print_check(found)
    _print_diff(found)
    for name, rail in zip_longest(found.refused_by, found.rails, fillvalue=""):
        told = f"  not applied ({name}): {harmless(rail)}" if name else f"  not applied: {harmless(rail)}"
        click.echo(styled(told, fg="yellow"))
    if found.file:
        click.echo(f"  {'file':10} {harmless(found.file)}")
    if found.verdict is not None:
        _print_verdict(found)
    if left_out:
        counted = ", ".join(f"{name} {n}" for name, n in left_out.items())
        click.echo(f"  {'left out':10} {counted} (units that entered: {entered})")
    if found.regression is not None:
        said = found.regression
        click.echo(styled(f"  regression {said.kind}, since {said.since}: {harmless(said.why)}", fg="yellow"))
    if found.cost is not None:
        _print_cost(found.cost)
    for entry in found.journal:
        click.echo(f"  {entry.get('at')}  {entry.get('who')}  {entry.get('what')}")


def _print_diff(found: Fix) -> None:
    """Of a file; of the policy the line above says it all."""
    if not found.change.target.startswith(("policy:", "advice:")):
        for line in found.diff.splitlines():
            click.echo(f"    | {harmless(line)}")


def _print_check(found: Fix) -> None:
    from rsi.fix import checked

    check = checked.of(found.evidence)
    if check is None:
        return
    click.echo(f"  {'check':10} {harmless(checked.sentence(check))}")
    for one in checked.outputs(check):
        click.echo(f"  output {harmless(one.title)} (untrusted text):")
        for line in one.text.splitlines():
            click.echo(f"    | {harmless(line)}")


def _print_verdict(found: Fix) -> None:
    verdict = found.verdict
    if verdict is None:
        return
    rates = " vs ".join("-" if p is None else f"{p:.3f}" for p in (verdict.p_fixed, verdict.p_control))
    click.echo(
        f"  {'verdict':10} {verdict.outcome}: failing {rates} (fixed vs control), "
        f"{verdict.n_fixed} vs {verdict.n_control} units. {verdict.why}"
    )
    click.echo(f"  {'method':10} {verdict.method}; cannot exclude: {verdict.cannot_exclude}")


def _print_cost(cost: Cost) -> None:
    spent = {
        "calls": (cost.extra_calls, cost.extra_calls_95),
        "tokens": (cost.extra_tokens, cost.extra_tokens_95),
        "s": (cost.extra_s, cost.extra_s_95),
    }
    extra = ", ".join(f"{amount + 0.0:+g} {unit} {_within(span)}" for unit, (amount, span) in spent.items()
                      if amount is not None)  # fmt: skip
    avoided = f"{cost.failures_avoided + 0.0:g} failures avoided {_within(cost.failures_avoided_95)}"
    click.echo(f"  {'cost':10} {extra} for {avoided} in {cost.tasks} tasks")
    if cost.method:
        click.echo(f"  {'':10} {cost.method}")


def _within(span: tuple[float, float] | None) -> str:
    return f"[{span[0]:g}, {span[1]:g}]" if span is not None else "[too few]"


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()


@click.command()
@click.option("--source")
@click.option("--task")
@as_json
@place
def policy(place: Place, source: str | None, task: str | None, as_json: bool) -> None:
    """What agents are told now.

    \b
    Example:
      rsi policy --json
    """
    from rsi.fix import publish

    publish.check_person(place.config)  # what `rsi up` would refuse is not shown as if it were in force
    with reading(place) as conn:
        found = publish.build(conn, place.config, clock.now()) if conn is not None else _unpublished()
    found = publish.narrow(found, source, mask_task(task) if task else None)
    if as_json:
        print_json(found)
        return
    for scope in found.scopes:
        click.echo(f"{harmless(scope.source)}/{harmless(scope.task)}: {_plain(scope)}")
    for one in found.experiments:
        where = harmless(f"{one.source}/{one.task}")
        click.echo(f"{one.state} {one.fix} {where} {one.fraction:.0%} fixed: {_plain(one.patch)}")
    if not (found.scopes or found.experiments):
        click.echo("the policy is empty: agents do what they did before")


def _unpublished() -> Policy:
    """What agents hear where no daemon ever ran."""
    return Policy(version=0, valid_until=clock.iso(clock.now()), scopes=[], experiments=[])
