"""The tables, as SQLAlchemy Core: one truth for SQLite today and PostgreSQL later.

Times are epoch seconds (float), hours are epoch hours (int), JSON lies in `LargeBinary` columns as msgspec wrote it.
`project` is in every table from the first migration. The migrations in `store/migrations` create exactly this
(a test compares the two).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata: Final = MetaData()


def _project() -> Column[str]:
    return Column("project", Text, nullable=False, server_default="default")


#: One row per outcome; `id` is the client's. `body` holds every other field as JSON (rsi.model.Outcome without the
#: columns). `fingerprint` is set by the analysis of failures.
outcomes: Final = Table(
    "outcomes",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("ts", Float, nullable=False),
    Column("arrived", Float, nullable=False),
    Column("task", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("backfill", Boolean, nullable=False, default=False),
    Column("fingerprint", Integer),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("project", "source", "id", name="outcomes_id"),
    sqlite_autoincrement=True,
)
Index("outcomes_fingerprint", outcomes.c.fingerprint, outcomes.c.seq, sqlite_where=outcomes.c.fingerprint.is_not(None),
      postgresql_where=outcomes.c.fingerprint.is_not(None))  # fmt: skip

#: Final task outcomes by hour of their `ts`. `category` '' counts all of them, written with the raw rows; the other
#: categories count failed ones and follow from the watermark. Steps that failed are in `steps`.
rollups: Final = Table(
    "rollups",
    metadata,
    _project(),
    Column("source", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("n", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False, default=0),
    PrimaryKeyConstraint("project", "source", "task", "category", "hour"),
)

#: Time- and count-decayed successes and failures per source and task ('' = the source over all its tasks).
health: Final = Table(
    "health",
    metadata,
    _project(),
    Column("source", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("failures", Float, nullable=False),
    Column("successes", Float, nullable=False),
    Column("at", Float, nullable=False),
    Column("run_of_failures", Integer, nullable=False, default=0),
    Column("last_fingerprint", Integer),
    Column("state", Text, nullable=False, default="unknown"),
    Column("squares", Float, nullable=False),
    Column("recent_failures", Float, nullable=False),
    Column("recent_successes", Float, nullable=False),
    Column("joined", Float, nullable=False),
    PrimaryKeyConstraint("project", "source", "task"),
)

#: One row per distinct template. `cluster` groups templates that are the same thing; `why` says why this one is in it.
fingerprints: Final = Table(
    "fingerprints",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("category", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("error_type", Text),
    Column("mask_version", Integer, nullable=False),
    Column("classified_by", Text, nullable=False),
    Column("cluster", Integer, nullable=False),
    Column("why", Text, nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("n", Integer, nullable=False, default=0),
    Column("model", Text),
    Column("vector", LargeBinary),
    UniqueConstraint("project", "category", "hash", name="fingerprints_hash"),
)
Index("fingerprints_cluster", fingerprints.c.cluster)
Index("fingerprints_by_hash", fingerprints.c.project, fingerprints.c.hash)
Index("fingerprints_unembedded", fingerprints.c.id, sqlite_where=fingerprints.c.model.is_(None),
      postgresql_where=fingerprints.c.model.is_(None))  # fmt: skip

#: A cluster is the identity behind an issue. `merged_into` redirects for ever; a person's word (`pinned`) wins.
clusters: Final = Table(
    "clusters",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("category", Text, nullable=False),
    Column("merged_into", Integer),
    Column("pinned", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
)
Index("clusters_merged", clusters.c.merged_into, sqlite_where=clusters.c.merged_into.is_not(None),
      postgresql_where=clusters.c.merged_into.is_not(None))  # fmt: skip

#: Pairs of templates, by their hashes (smaller first), that a person declared the same or different; they win for ever,
#: whatever category a rule gives the templates.
decisions: Final = Table(
    "decisions",
    metadata,
    _project(),
    Column("a", Text, nullable=False),
    Column("b", Text, nullable=False),
    Column("same", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    PrimaryKeyConstraint("project", "a", "b"),
)
Index("decisions_b", decisions.c.project, decisions.c.b)

#: Templates that `a` resembles, as it was placed: what may be the same, for a person to confirm. `why` says what tells
#: the two apart, whichever is looked at; their categories may change and are not in it.
related: Final = Table(
    "related",
    metadata,
    _project(),
    Column("a", Integer, nullable=False),
    Column("b", Integer, nullable=False),
    Column("cosine", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("at", Float, nullable=False),
    PrimaryKeyConstraint("project", "a", "b"),
)
Index("related_found", related.c.project, related.c.b)

#: One row per cluster that was seen; the public id is `i<id>`, and `id` is the cluster's.
#: `frequency` counts all failures (steps too), `unrecovered` failed tasks and steps whose task failed.
issues: Final = Table(
    "issues",
    metadata,
    Column("id", Integer, primary_key=True),
    _project(),
    Column("category", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_at", Float, nullable=False),
    Column("trend", Text, nullable=False, default="new"),
    Column("frequency", Integer, nullable=False, default=0),
    Column("unrecovered", Integer, nullable=False, default=0),
    Column("tasks_failed", Integer, nullable=False, default=0),
    Column("live", Integer, nullable=False, default=0),  # unrecovered failures that were not backfill
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("last_seq", Integer, nullable=False, default=0),
    Column("why", Text, nullable=False),
    Column("samples", LargeBinary, nullable=False),  # JSON list of up to 3 redacted error texts
    Column("resolved_by", Text),
    Column("merged_into", Integer),
)
Index("issues_quiet", issues.c.project, issues.c.state, issues.c.last_seen)
Index("issues_merged", issues.c.merged_into, sqlite_where=issues.c.merged_into.is_not(None),
      postgresql_where=issues.c.merged_into.is_not(None))  # fmt: skip

#: Where and when an issue struck: its scopes, its trend and its failure rate come from here.
issue_hours: Final = Table(
    "issue_hours",
    metadata,
    _project(),
    Column("issue", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("n", Integer, nullable=False, default=0),
    Column("unrecovered", Integer, nullable=False, default=0),
    Column("tasks_failed", Integer, nullable=False, default=0),
    PrimaryKeyConstraint("project", "issue", "source", "task", "hour"),
)

#: Live failures by minute, for the last days only: what moves together is seen here. Issue 0 counts attempts of the
#: source. Minutes come first in the key: what is new is written at its end and what is old goes from its front.
issue_minutes: Final = Table(
    "issue_minutes",
    metadata,
    _project(),
    Column("minute", Integer, nullable=False),
    Column("issue", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("n", Integer, nullable=False, default=0),
    Column("provider", Text),
    Column("release", Text),
    PrimaryKeyConstraint("project", "minute", "issue", "source"),
    sqlite_with_rowid=False,
)

#: Pairs of issues that were found to move together, `b` following `a` by `lag` minutes; the last time from `since` to
#: `until` (epoch seconds). `named`: the taxonomy expects it of them.
correlations: Final = Table(
    "correlations",
    metadata,
    _project(),
    Column("a", Integer, nullable=False),
    Column("b", Integer, nullable=False),
    Column("lag", Integer, nullable=False),
    Column("times", Integer, nullable=False),
    Column("expected", Float, nullable=False),
    Column("q", Float, nullable=False),
    Column("named", Boolean, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    PrimaryKeyConstraint("project", "a", "b"),
)

#: Issues that moved together at one time; the public id is `n<id>`. An incident that joined an older one redirects.
incidents: Final = Table(
    "incidents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("state", Text, nullable=False),  # open | over
    Column("started", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("title", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("issues", LargeBinary, nullable=False),  # JSON list of issue numbers
    Column("sources", LargeBinary, nullable=False),  # JSON list
    Column("links", LargeBinary, nullable=False),  # JSON list of rsi.model.Link
    Column("merged_into", Integer),
    sqlite_autoincrement=True,
)
Index("incidents_state", incidents.c.project, incidents.c.state, incidents.c.last_seen)

#: Failed steps whose parent has not ended yet: recovered if it ends ok, unrecovered if not (or never).
pending_steps: Final = Table(
    "pending_steps",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("source", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("issue", Integer, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("backfill", Boolean, nullable=False, default=False),
    Column("at", Float, nullable=False),
)
Index("pending_steps_parent", pending_steps.c.project, pending_steps.c.source, pending_steps.c.parent)

#: A change with its reason, evidence and verdict; the public id is `f<id>`. `dedupe` is unique among fixes of one
#: (rule, source, task, knob): never a second one for the same thing.
fixes: Final = Table(
    "fixes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("dedupe", Text, nullable=False),
    Column("issue", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("knob", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("safe", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("change", LargeBinary, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("verdict", LargeBinary),
    Column("rails", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("applied", Float),
    Column("deadline", Float),
    UniqueConstraint("project", "dedupe", name="fixes_dedupe"),
    sqlite_autoincrement=True,
)
Index("fixes_state", fixes.c.project, fixes.c.state)

#: One-time tokens for deciding on a proposal: the hash of each, and the change (its digest) that it is for.
approvals: Final = Table(
    "approvals",
    metadata,
    _project(),
    Column("id", Text, nullable=False),
    Column("hash", Text, nullable=False),  # sha256 of the secret half, hex
    Column("fix", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float),
    Column("decision", Text),
    PrimaryKeyConstraint("project", "id"),
)

#: The open (or closed) experiment of a fix: stage, salt, fraction, and the streaming test's state.
trials: Final = Table(
    "trials",
    metadata,
    Column("fix", Integer, primary_key=True),
    _project(),
    Column("kind", Text, nullable=False),  # canary | holdout
    Column("stage", Integer, nullable=False),
    Column("salt", Text, nullable=False),
    Column("fraction", Float, nullable=False),
    Column("started", Float, nullable=False),
    Column("live_version", Integer),  # the first policy version that carried it
    Column("live_at", Float),  # when the first outcome carried it: from then on it is live
    Column("state", LargeBinary, nullable=False),  # ConcurrentTrial.to_dict() as JSON
    Column("counts", LargeBinary, nullable=False),  # JSON: mismatched, crossed, not_enforced, silent, extra_calls, …
)

#: Every unit that entered an experiment, in the order in which they began (`place`): in that order, and never before
#: all earlier ones have ended, the test is told of them (`fed`). `failed` is null while a unit is open; `once` says
#: that its first outcome is its only one.
trial_units: Final = Table(
    "trial_units",
    metadata,
    _project(),
    Column("fix", Integer, nullable=False),
    Column("unit", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("arm", Text, nullable=False),
    Column("f", Float, nullable=False),
    Column("started", Float, nullable=False),
    Column("settled", Float),
    Column("failed", Boolean),
    Column("crossed", Boolean, nullable=False, default=False),
    Column("calls", Integer, nullable=False, default=0),
    Column("place", Integer, nullable=False),
    Column("outcomes", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("once", Boolean, nullable=False, default=True),
    Column("fed", Boolean, nullable=False, default=False),
    PrimaryKeyConstraint("project", "fix", "unit"),
)
Index("trial_units_open", trial_units.c.fix, trial_units.c.started, sqlite_where=trial_units.c.settled.is_(None),
      postgresql_where=trial_units.c.settled.is_(None))  # fmt: skip

Index(
    "trial_units_waiting",
    trial_units.c.fix,
    trial_units.c.place,
    sqlite_where=trial_units.c.fed.is_(False),
    postgresql_where=trial_units.c.fed.is_(False),
)

#: Append-only and hash-chained. `detail` is JSON of ids, hashes and declared keys, never event text.
journal: Final = Table(
    "journal",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),  # rule:<id> | person:<how> | verdict | daemon
    Column("what", Text, nullable=False),
    Column("ref", Text, nullable=False),  # f12, i7, policy, …
    Column("detail", LargeBinary, nullable=False),
    Column("prev", Text, nullable=False),
    Column("hash", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("journal_ref", journal.c.project, journal.c.ref)

#: What clients can enforce, per source and task ('' = all tasks of that source), with when they were last seen.
clients: Final = Table(
    "clients",
    metadata,
    _project(),
    Column("client", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("enforces", Text, nullable=False),  # comma-separated knobs
    Column("policy_version", Integer),
    Column("seen", Float, nullable=False),
    PrimaryKeyConstraint("project", "client", "source", "task"),
)

#: What was refused, redacted and cut, with the reason: nothing is lost without a trace. Bounded; oldest go first.
rejects: Final = Table(
    "rejects",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    _project(),
    Column("at", Float, nullable=False),
    Column("door", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False),
)

#: Single values: watermark, policy_version, policy, paused, …
meta: Final = Table(
    "meta",
    metadata,
    _project(),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    PrimaryKeyConstraint("project", "key"),
)
