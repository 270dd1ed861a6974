"""The page about SQL: every example is run as it stands there."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgqueue import grants
from pgqueue.embedded import wheel_bin_dir
from tests.store.tables import Tables
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Databases

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text("utf-8")


def block(heading: str, language: str = "sql") -> str:
    """The first example below a heading."""
    section = re.split(r"(?m)^##+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1)[0]
    found = re.search(rf"(?ms)^```{language}\n(.*?)^```$", section)
    assert found is not None, heading
    return found[1]


QUERIES = re.findall(r"(?m)^### (.*)$", PAGE.partition("## Useful queries")[2])


@pytest.fixture
def orders(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute("create table orders (id bigint primary key, total integer)")
    return connection


def tasks(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("select task, args from pgqueue.jobs order by id").fetchall()


def test_enqueue_is_part_of_the_transaction(orders: psycopg.Connection) -> None:
    example = block("Enqueue")
    orders.execute(example.replace("commit;", "rollback;").encode())
    assert tasks(orders) == []
    orders.execute(example.encode())
    assert tasks(orders) == [("shop.send_receipt", {"order_id": 17})]


def test_from_the_shell(dsn: str, connection: psycopg.Connection) -> None:
    """psql comes with the embedded server; a shell stands for every other language."""
    path = f"{wheel_bin_dir()}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", block("From the shell", "sh")],
        env={**os.environ, "PATH": path, "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["created"] is True
    assert tasks(connection) == [("shop.send_receipt", {"order_id": 17})]


# A trigger


@pytest.fixture
def triggered(orders: psycopg.Connection) -> psycopg.Connection:
    orders.execute(block("From a trigger").encode())
    return orders


def test_a_trigger_enqueues_once_for_each_row(triggered: psycopg.Connection) -> None:
    triggered.execute("insert into orders values (1, 10), (2, 20)")
    triggered.execute("insert into orders select 3, 30 where false")
    assert [args["order_id"] for _, args in tasks(triggered)] == [1, 2]


def test_a_trigger_s_jobs_are_rolled_back_with_its_rows(triggered: psycopg.Connection) -> None:
    with triggered.transaction(force_rollback=True):
        triggered.execute("insert into orders values (1, 10)")
        assert len(tasks(triggered)) == 1
    with triggered.transaction():
        with triggered.transaction(force_rollback=True):
            triggered.execute("insert into orders values (2, 20)")
        triggered.execute("insert into orders values (3, 30)")
    assert [args["order_id"] for _, args in tasks(triggered)] == [3]


@pytest.fixture
def role(triggered: psycopg.Connection) -> Iterator[str]:
    """A role that may insert orders, and nothing of pgqueue's."""
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    triggered.execute(
        f"create role {name} login password 'secret'; grant all on schema public to {name}; "
        f"grant insert on orders to {name}".encode()
    )
    yield name
    triggered.execute(f"drop owned by {name}; drop role {name}".encode())


def test_a_trigger_serves_a_role_without_rights_and_is_safe_from_it(
    triggered: psycopg.Connection, dsn: str, role: str
) -> None:
    with psycopg.connect(dsn, user=role, password="secret", autocommit=True) as shop:
        # Found before pg_catalog's, this operator and this function would run as the owner.
        shop.execute(
            "create function public.stolen(jsonb, text) returns text language plpgsql as "
            "$$ begin raise exception 'run as %', current_user; end $$; "
            "create operator public.->> (leftarg = jsonb, rightarg = text, "
            "function = public.stolen); "
            "create function public.jsonb_build_object(text, text, text, jsonb) returns jsonb "
            "language plpgsql as $$ begin raise exception 'run as %', current_user; end $$; "
            "set search_path = public, pg_catalog"
        )
        shop.execute("insert into orders values (1, 10)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shop.execute("""select pgqueue.enqueue('{"task": "other"}')""")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shop.execute("select public.order_placed()")
    assert tasks(triggered) == [("shop.send_receipt", {"order_id": 1})]


# The queries


@pytest.fixture(scope="module")
def filled(databases: Databases, template: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A reader's connection to a database in which all that the page asks for can be found."""
    role = f"pgqueue_test_{secrets.token_hex(6)}"
    with databases.fresh(template) as dsn, psycopg.connect(dsn, autocommit=True) as owner:
        fill(Tables(owner))
        owner.execute(f"create role {role} login password 'secret'".encode())
        owner.execute("\n".join(grants.reader(role)).encode())
        owner.execute("vacuum analyze")
        with psycopg.connect(
            dsn, user=role, password="secret", autocommit=True, row_factory=dict_row
        ) as reader:
            yield reader
        owner.execute(f"drop owned by {role}; drop role {role}".encode())


def fill(tables: Tables) -> None:
    alive, silent = tables.worker("alive"), tables.worker("silent", silent_for=3600)
    for worker, minutes in ((alive, 30), (silent, 90)):
        started = timedelta(minutes=minutes)
        job_id = tables.job("running", task="report", worker_id=worker)
        tables.run(
            "update pgqueue.jobs set started_at = clock_timestamp() - %s where id = %s",
            started,
            job_id,
        )
    for _ in range(3):
        tables.job(task="unknown", queue="mail", due_for=1200)
    for _ in range(2):
        tables.job(task="retried", attempt=1, due_for=-900)
    for task, state in (("fast", "succeeded"), ("fast", "succeeded"), ("broken", "dead")):
        job_id = tables.job(state, task=task, attempt=1)
        tables.run(
            "update pgqueue.jobs set started_at = clock_timestamp() - interval '70 s', "
            "finished_at = clock_timestamp() - interval '60 s' where id = %s",
            job_id,
        )
    tables.run(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message) "
        "select id, 2, 1, 'dead', 'LookupError', 'no such order' from pgqueue.jobs "
        "where state = 'dead'"
    )
    tables.run("update pgqueue.jobs set lease = 3 where state = 'dead'")
    tables.run(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, actor) "
        "select id, 2, 1, 'requeued', 'ada' from pgqueue.jobs where task = 'retried' limit 1"
    )


def some(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


EXPECTED: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
    "What is stuck?": (("task", "name"), [("report", "silent")]),
    "What runs longest?": (("task", "worker"), [("report", "silent"), ("report", "alive")]),
    "What waits longest in each queue?": (("queue", "ready", "running"), [("mail", 3, 0)]),
    "Which tasks does nobody take?": (("queue", "task", "jobs"), [("mail", "unknown", 3)]),
    "Which tasks fail?": (
        ("task", "error_type", "outcome", "attempts"),
        [("broken", "LookupError", "dead", 1)],
    ),
    "What kills jobs?": (
        ("jobs", "task", "error_type", "message"),
        [(1, "broken", "LookupError", "no such order")],
    ),
    "What was requeued, by whom?": (("actor",), [("ada",)]),
    "What died last?": (("task", "attempt", "message"), [("broken", 1, "no such order")]),
    "What takes the time?": (("task", "jobs", "dead"), [("fast", 2, 0), ("broken", 1, 1)]),
    "Who works?": (
        ("name", "queues", "running"),
        [("alive", ["default"], 1), ("silent", ["default"], 1)],
    ),
}


@pytest.mark.parametrize("heading", EXPECTED)
def test_a_query_of_the_page_answers_its_question(
    filled: psycopg.Connection[dict[str, Any]], heading: str
) -> None:
    columns, expected = EXPECTED[heading]
    assert some(filled.execute(block(heading).encode()).fetchall(), *columns) == expected


Reader = psycopg.Connection[dict[str, Any]]


def test_jobs_a_minute(filled: Reader) -> None:
    rows = filled.execute(block("How many jobs a minute?").encode()).fetchall()
    assert sum(row["jobs"] for row in rows) == 3
    assert sum(row["ended_badly"] for row in rows) == 1


def test_when_waiting_jobs_come_due(filled: Reader) -> None:
    rows = filled.execute(block("When do waiting jobs come due?").encode()).fetchall()
    assert (sum(row["jobs"] for row in rows), sum(row["retries"] for row in rows)) == (2, 2)


def test_sizes(filled: Reader) -> None:
    heading = "How large is it, and how much of it is dead?"
    rows = {row["name"]: row for row in filled.execute(block(heading).encode())}
    assert {"jobs", "attempts", "workers", "idempotency_keys"} <= rows.keys()
    assert rows["jobs"]["size"].endswith(("kB", "MB"))


def test_an_old_transaction_is_named(dsn: str, connection: psycopg.Connection) -> None:
    with psycopg.connect(dsn) as old:
        old.execute("set transaction isolation level repeatable read")
        old.execute("select 1 from pgqueue.jobs")
        query = block("Who keeps dead rows from being removed?").encode()
        assert old.info.backend_pid in [row[0] for row in connection.execute(query)]


def test_a_lock_is_named_with_who_waits_for_it(dsn: str, connection: psycopg.Connection) -> None:
    query = block("Who holds locks, and who waits for them?").encode()
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn) as waiting:
        holder.execute("lock table pgqueue.steps")
        waiting.execute("set lock_timeout = '20 s'")
        waiting.pgconn.send_query(b"select 1 from pgqueue.steps")
        rows = wait_until(lambda: connection.execute(query).fetchall(), what="a lock waited for")
        assert [(row[0], row[3]) for row in rows] == [
            (waiting.info.backend_pid, holder.info.backend_pid)
        ]
        holder.rollback()
        while waiting.pgconn.get_result() is not None:
            pass


def test_every_query_of_the_page_is_tested() -> None:
    others = {
        "How many jobs a minute?",
        "When do waiting jobs come due?",
        "How large is it, and how much of it is dead?",
        "Who keeps dead rows from being removed?",
        "Who holds locks, and who waits for them?",
    }
    assert set(QUERIES) == EXPECTED.keys() | others


def test_every_column_that_the_page_names_is_there(connection: psycopg.Connection) -> None:
    for view in grants.VIEWS:
        [row] = re.findall(rf"(?m)^\| `{view}` \|.*$", PAGE)
        found = {
            name
            for (name,) in connection.execute(
                "select column_name from information_schema.columns where table_name = %s", [view]
            )
        }
        named = {name for name in re.findall(r"`([a-z_0-9]+)`", row) if name != view}
        assert named <= found, view
