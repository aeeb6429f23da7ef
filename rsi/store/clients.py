"""The table `clients`: which client can enforce which knobs where, and when it was last seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, or_, select
from sqlalchemy.dialects.sqlite import insert

from rsi.store.engine import project
from rsi.store.schema import clients

#: A client that says the same again within this is not written again: its polls must not become fsyncs.
SEEN_EVERY_S: Final = 60.0
#: A process that was not heard of for so long has ended: it polls every half minute, its row is written every minute.
ALIVE_S: Final = 300.0
DAY_S: Final = 86_400.0
#: In `task`: all tasks of the source.
ALL_TASKS: Final = ""


def seen(  # noqa: PLR0917 - the columns, in their order
    conn: Connection,
    client: str,
    source: str,
    task: str,
    enforces: Iterable[str],
    policy_version: int | None,
    now: float,
) -> bool:
    """Note that a client is alive; False if what is known of it is as good (nothing is written then).

    Args:
        conn: in a writing transaction.
        client: the client's own id, one per process by default.
        source: its source.
        task: the task it asks for, '' for all of that source.
        enforces: the knobs that it can act on.
        policy_version: the policy it works under, if it has one.
        now: epoch seconds.
    """
    row = insert(clients).values(
        project=project(conn),
        client=client,
        source=source,
        task=task,
        enforces=",".join(sorted(set(enforces))),
        policy_version=policy_version,
        seen=now,
    )
    new = row.excluded
    news = or_(
        new.seen - clients.c.seen >= SEEN_EVERY_S,
        new.enforces != clients.c.enforces,
        new.policy_version.is_distinct_from(clients.c.policy_version),
    )
    done = conn.execute(
        row.on_conflict_do_update(
            index_elements=["project", "client", "source", "task"],
            set_={"enforces": new.enforces, "policy_version": new.policy_version, "seen": new.seen},
            where=news,
        )
    )
    return done.rowcount > 0


class Live:
    """The clients that were seen lately, for asking about many scopes at once."""

    def __init__(self, rows: Iterable[tuple[str, str, str, str]]) -> None:
        self._able: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        for client, source, task, knobs in rows:
            for knob in filter(None, knobs.split(",")):
                self._able[source, task, knob].add(client)

    def enforcers(self, source: str, task: str, knob: str) -> int:
        """How many of them can enforce `knob` for this task; as `enforcers` counts."""
        empty: set[str] = set()
        return len(self._able.get((source, task, knob), empty) | self._able.get((source, ALL_TASKS, knob), empty))


class Processes(NamedTuple):
    """Client processes of a scope: those that still poll, and those that ended within the last day."""

    alive: int
    ended: int


def processes(conn: Connection, source: str, task: str, knob: str, now: float) -> Processes:
    """Who can enforce `knob` for this task, by whether it was heard of in the last few minutes."""
    before = enforcers(conn, source, task, now, DAY_S).get(knob, 0)
    alive = enforcers(conn, source, task, now, ALIVE_S).get(knob, 0)
    return Processes(alive, before - alive)


def live(conn: Connection, now: float, ttl: float) -> Live:
    """Every client that was seen within `ttl` seconds."""
    rows = conn.execute(
        select(clients.c.client, clients.c.source, clients.c.task, clients.c.enforces).where(
            clients.c.project == project(conn), clients.c.seen > now - ttl
        )
    )
    return Live((client, source, task, knobs) for client, source, task, knobs in rows)


def enforcers(conn: Connection, source: str, task: str, now: float, ttl: float) -> dict[str, int]:
    """Knob → how many clients seen within `ttl` seconds can enforce it for this task.

    A client that spoke for all tasks of the source counts for each of them, and once.
    """
    asked = select(clients.c.client, clients.c.enforces).where(
        clients.c.project == project(conn),
        clients.c.source == source,
        clients.c.task.in_({task, ALL_TASKS}),
        clients.c.seen > now - ttl,
    )
    able: defaultdict[str, set[str]] = defaultdict(set)
    for client, enforces in conn.execute(asked):
        for knob in filter(None, enforces.split(",")):
            able[knob].add(client)
    return {knob: len(who) for knob, who in able.items()}
