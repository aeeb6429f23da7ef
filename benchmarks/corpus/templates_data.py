"""sqlite3, psycopg, json, pydantic: raised for real where no server is needed, else built with the server's own words."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile

import psycopg
from psycopg import errors
from server import LOOPBACK
from template import template

FOLDER = tempfile.mkdtemp(prefix="corpus-")


def database(script: str = "", **more) -> sqlite3.Connection:
    found = sqlite3.connect(":memory:", **more)
    found.executescript(script)
    return found


@template("sqlite.locked", "state_conflict", "sqlite3")
def _(s):
    path = tempfile.mktemp(dir=FOLDER, suffix=".db")
    with (
        contextlib.closing(sqlite3.connect(path)) as first,
        contextlib.closing(sqlite3.connect(path, timeout=0)) as second,
    ):
        first.execute("create table t (x)")
        first.execute("begin immediate")
        second.execute("begin immediate")


@template("sqlite.no_table", "missing_resource", "sqlite3")
def _(s):
    database().execute(f"select * from {s.word()}s_{s.n(1, 40)}")


@template("sqlite.unique", "state_conflict", "sqlite3")
def _(s):
    word = s.word()
    database(f"create table {word}s (id integer primary key, {s.name()}_id unique)").executescript(
        f"insert into {word}s values (1, 2); insert into {word}s values (2, 2)"
    )


@template("sqlite.foreign_key", "state_conflict", "sqlite3", also=("tool_args",))
def _(s):
    database("pragma foreign_keys=on; create table a (x primary key); create table b (x references a)").execute(
        "insert into b values (1)"
    )


@template("sqlite.readonly", "permission", "sqlite3")
def _(s):
    path = tempfile.mktemp(dir=FOLDER, suffix=".db")
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("create table t (x)")
    sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute("insert into t values (1)")


@template("sqlite.cannot_open", "missing_resource", "sqlite3")
def _(s):
    sqlite3.connect(f"{s.path('db')}/none.db")


@template("sqlite.syntax", "tool_execution", "sqlite3", context="tool", also=("code_bug", "tool_args"))
def _(s):
    database().execute(f"selec {s.word()} frm {s.word()}s")


@template("sqlite.full", "resource_exhausted", "sqlite3")
def _(s):
    database("create table t (x); pragma max_page_count=3").execute("insert into t values (zeroblob(100000))")


@template("sqlite.closed", "code_bug", "sqlite3")
def _(s):
    found = database()
    found.close()
    found.execute("select 1")


@template("sqlite.bindings", "code_bug", "sqlite3")
def _(s):
    database().execute("select ?, ?", tuple(range(s.n(3, 9))))


# --- psycopg
@template("psycopg.refused", "connection", "psycopg")
def _(s):
    psycopg.connect(f"host=127.0.0.1 port={LOOPBACK.closed} user={s.name()} dbname={s.word()}s connect_timeout=2")


@template("psycopg.dns", "connection", "psycopg")
def _(s):
    psycopg.connect("host=nosuchhost.invalid user=a dbname=b connect_timeout=2")


@template("psycopg.password", "auth", "psycopg")
def _(s):
    return psycopg.OperationalError(
        f'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "{s.name()}"'
    )


@template("psycopg.no_database", "missing_resource", "psycopg")
def _(s):
    return psycopg.OperationalError(
        f'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  database "{s.word()}_{s.n(1, 99)}" does not exist'
    )


@template("psycopg.slots", "resource_exhausted", "psycopg", also=("connection", "overloaded"))
def _(s):
    return psycopg.OperationalError(
        'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  sorry, too many clients already'
    )


@template("psycopg.closed_by_server", "connection", "psycopg")
def _(s):
    return psycopg.OperationalError(
        "consuming input failed: server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n\tbefore or while processing the request."
    )


@template("psycopg.admin_shutdown", "connection", "psycopg")
def _(s):
    return errors.AdminShutdown("terminating connection due to administrator command")


@template("psycopg.privilege", "permission", "psycopg")
def _(s):
    return errors.InsufficientPrivilege(f"permission denied for table {s.word()}s")


@template("psycopg.deadlock", "state_conflict", "psycopg")
def _(s):
    return errors.DeadlockDetected(
        f"deadlock detected\nDETAIL:  Process {s.n()} waits for ShareLock on transaction {s.n()}; blocked by process {s.n()}.\nHINT:  See server log for query details."
    )


@template("psycopg.serialize", "state_conflict", "psycopg")
def _(s):
    return errors.SerializationFailure("could not serialize access due to concurrent update")


@template("psycopg.lock", "state_conflict", "psycopg", also=("timeout_tool",))
def _(s):
    return errors.LockNotAvailable(f'could not obtain lock on row in relation "{s.word()}s"')


@template("psycopg.unique", "state_conflict", "psycopg")
def _(s):
    table = s.word()
    return errors.UniqueViolation(
        f'duplicate key value violates unique constraint "{table}s_pkey"\nDETAIL:  Key (id)=({s.n()}) already exists.'
    )


@template("psycopg.statement_timeout", "timeout_tool", "psycopg")
def _(s):
    return errors.QueryCanceled("canceling statement due to statement timeout")


@template("psycopg.user_cancel", "not_a_failure", "psycopg")
def _(s):
    return errors.QueryCanceled("canceling statement due to user request")


@template("psycopg.no_relation", "missing_resource", "psycopg")
def _(s):
    word = s.word()
    return errors.UndefinedTable(
        f'relation "{word}s" does not exist\nLINE 1: select * from {word}s\n                      ^'
    )


@template("psycopg.disk", "resource_exhausted", "psycopg")
def _(s):
    return errors.DiskFull(
        f'could not extend file "base/{s.n()}/{s.n()}": No space left on device\nHINT:  Check free disk space.'
    )


@template("psycopg.memory", "resource_exhausted", "psycopg")
def _(s):
    return errors.OutOfMemory(
        f'out of memory\nDETAIL:  Failed on request of size {s.n()} in memory context "ExecutorState".'
    )


@template("psycopg.syntax", "tool_execution", "psycopg", context="tool", also=("code_bug", "tool_args"))
def _(s):
    word = s.word()
    return errors.SyntaxError(f'syntax error at or near "{word}"\nLINE 1: selec {word}\n              ^')


# --- json: the model's answer read by the application
@template("json.empty", "output_parse", "json", also=("empty_response",))
def _(s):
    json.loads(s.pick("Sure! Here is the plan", "```json\n{}", "I cannot", "<answer>"))


@template("json.delimiter", "output_parse", "json")
def _(s):
    json.loads('{"steps": ["' + s.word() * s.n(1, 30) + '" "x"]}')


@template("json.unterminated", "output_parse", "json", also=("output_truncated",))
def _(s):
    json.loads('{"' + s.word() + '": "' + s.mixed(s.n(3, 200)))


@template("json.extra", "output_parse", "json")
def _(s):
    json.loads('{"' + s.word() + '": ' + str(s.n()) + "}\nThat is the " + s.word())


@template("json.property", "output_parse", "json")
def _(s):
    json.loads("{'" + s.word() + "': 1}")


@template("json.not_serializable", "code_bug", "json")
def _(s):
    import datetime as dt
    import decimal
    import uuid

    json.dumps({"x": s.pick(dt.date(2026, 1, 2), decimal.Decimal(1), uuid.UUID(int=1), {1})})


# --- pydantic
@template("pydantic.missing", "schema_validation", "pydantic")
def _(s):
    import pydantic

    model = pydantic.create_model(
        s.pick("Plan", "Answer", "Invoice", "Route"), **{s.word(): (str, ...), "score": (int, ...)}
    )
    model.model_validate_json(json.dumps({"thought": s.word()}))


@template("pydantic.type", "schema_validation", "pydantic")
def _(s):
    import pydantic

    model = pydantic.create_model(s.pick("Plan", "Answer", "Invoice", "Route"), score=(int, ...))
    model.model_validate({"score": s.pick("high", "about ten", "n/a")})


@template("jsonschema.required", "schema_validation", "jsonschema")
def _(s):
    import jsonschema

    jsonschema.validate({"a": 1}, {"type": "object", "required": [s.word()]})
