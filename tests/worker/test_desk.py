"""From a failure in a worker to the dead-letter desk, and back to a success."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pgqueue.app import PgQueue
from pgqueue.context import JobContext
from pgqueue.retry import fixed
from pgqueue.views import JobFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.conftest import Running
    from tests.worker.table import Table

    Work = Callable[..., Running]


def charge(order_id: int) -> str:
    if order_id < 0:
        raise LookupError(f"no order {order_id}")
    return f"charged {order_id}"


@pytest.mark.parametrize("name", ["plain", "coroutine", "transactional"])
def test_one_cause_of_death_is_one_group_whatever_runs_the_handler(
    app: PgQueue, table: Table, work: Work, dsn: str, name: str
) -> None:
    @app.task(name="plain", max_attempts=2, retry=fixed(0.01))
    def plain(order_id: int) -> str:
        return charge(order_id)

    @app.task(name="coroutine", max_attempts=2, retry=fixed(0.01))
    async def coroutine(order_id: int) -> str:
        await asyncio.sleep(0)
        return charge(order_id)

    @app.task(name="transactional", max_attempts=2, retry=fixed(0.01), transactional=True)
    def transactional(context: JobContext, order_id: int) -> str:
        context.connection.execute("select 1")
        return charge(order_id)

    ids = [table.add_one(name, args={"order_id": -number}, max_attempts=2) for number in (1, 2, 3)]
    work()
    table.wait(ids, "dead")
    with PgQueue(dsn) as desk:
        [group] = desk.inspector.groups().groups
        assert (group.jobs.value, group.error_type, group.task) == (3, "LookupError", name)
        of_this = JobFilter(fingerprints=[group.fingerprint or ""])
        assert list(desk.inspector.ids(of_this)) == ids
        desk.requeue(ids[0], set_args={"order_id": 7}, by="ada")
        table.wait(ids[0], "succeeded")
        job = desk.job(ids[0])
    assert job.result == "charged 7"
    assert [each.outcome for each in job.attempts] == ["retried", "dead", "requeued"]
    assert {each.fingerprint for each in job.attempts[:2]} == {group.fingerprint}
