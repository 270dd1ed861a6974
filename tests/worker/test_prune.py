"""A worker says what its app says of retention, and prunes by it; others' jobs are none of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgqueue.retention import DAY
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.app import PgQueue
    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]


def test_jobs_are_pruned_by_what_the_app_and_its_tasks_say(
    app: PgQueue, table: Table, work: Work
) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="long", retention={"succeeded": timedelta(days=30)})
    def long() -> None: ...

    @app.task(name="short", retention=timedelta(minutes=5))
    def short() -> None:
        raise ValueError("dead")

    ids = {name: table.add_one(name, max_attempts=1) for name in ("plain", "long", "short")}
    kept = table.add_one("plain", queue="elsewhere")
    first = work()
    table.wait_final(ids.values())
    first.stop()
    age = (
        "update pgqueue.jobs set created_at = created_at - interval '2 days', "
        "finished_at = finished_at - interval '2 days', run_at = run_at - interval '2 days'"
    )
    table.connection.execute(age)
    table.connection.execute("update pgqueue.steps set ran_at = '2001-01-01'")
    work()
    wait_until(lambda: table.count("true") == 2, what="the prune")
    found = table.connection.execute("select id from pgqueue.jobs order by id").fetchall()
    assert found == [(ids["long"],), (kept,)]
    assert table.connection.execute("select from pgqueue.attempts").fetchall() == []


def test_the_settings_of_a_worker_are_those_of_its_app(table: Table, work: Work) -> None:
    work(retention={"succeeded": 3600, "dead": 7 * DAY})
    found = table.connection.execute(
        "select state, extract(epoch from keep)::int from pgqueue.retention order by 1"
    ).fetchall()
    assert found == [
        ("cancelled", 7 * DAY),
        ("dead", 7 * DAY),
        ("expired", 7 * DAY),
        ("succeeded", 3600),
    ]
