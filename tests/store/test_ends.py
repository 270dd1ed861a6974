"""However a job ends badly, the attempt that ended it is recorded under the lease before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import fingerprint, store
from pgqueue.outcome import Unsuccessful
from tests.store.tables import SETTINGS, Tables, exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.connections import Connection

LAST = """
select attempt.outcome, attempt.error_type, attempt.fingerprint
from pgqueue.jobs as job
join pgqueue.attempts as attempt on attempt.job_id = job.id and attempt.lease = job.lease - 1
where job.id = %s and job.state = %s"""


def finish(**parts: Any) -> Callable[[Connection, int, int], None]:
    def run(own: Connection, job_id: int, _: int) -> None:
        exchange(own, 0, unsuccessful=[Unsuccessful(job_id, 7, **parts)])

    return run


def crash(own: Connection, job_id: int, worker: int) -> None:
    rescue(own, worker, culprit=job_id, crash_cap=1)


def rescue(own: Connection, worker: int, **parts: Any) -> None:
    values = {"worker_id": worker, "worker": "w", "started": None, "culprit": None}
    values |= {"intended": False, "crash_cap": 3, **parts}
    assert store.run(own, SETTINGS, "rescue", values)


RAISED = {"error_type": "ValueError", "message": "m", "fingerprint": "0123456789abcdef"}
MADE = fingerprint.of

# By how it ends: the state, what ends it, and what is recorded of that.
ENDS: dict[str, tuple[str, Callable[[Connection, int, int], None], tuple[str, Any, str]]] = {
    "raised": (
        "dead",
        finish(state="dead", ending="dead", **RAISED),
        ("dead", "ValueError", "0123456789abcdef"),
    ),
    "refused by the database": (
        "dead",
        finish(state="dead", ending="dead", error_type="InvalidPayload"),
        ("dead", "InvalidPayload", MADE("t", "InvalidPayload")),
    ),
    "crashed": ("dead", crash, ("dead", "crashed", MADE("t", "crashed"))),
    "expired": (
        "expired",
        finish(state="expired", ending="expired", refund=1),
        ("expired", None, MADE("t", "expired")),
    ),
    "cancelled": (
        "cancelled",
        finish(state="cancelled", ending="cancelled", error_type="AttemptCancelled"),
        ("cancelled", "AttemptCancelled", MADE("t", "AttemptCancelled")),
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_the_attempt_that_ended_a_job_stands_under_the_lease_before(
    own: Connection, tables: Tables, how: str
) -> None:
    state, end, expected = ENDS[how]
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker, lease=7, attempt=1)
    end(own, job_id, worker)
    assert tables.run(LAST, job_id, state) == [expected]


def test_a_lost_worker_and_one_stopped_on_purpose_are_told_apart(
    own: Connection, tables: Tables
) -> None:
    made = []
    for intended in (False, True):
        worker = tables.worker()
        made.append(tables.job("running", worker_id=worker))
        rescue(own, worker, intended=intended)
    rows = tables.run("select fingerprint from pgqueue.attempts order by job_id")
    assert rows == [(MADE("t", "rescued"),), (MADE("t", "interrupted"),)]


def test_a_task_whose_name_is_not_ascii_has_the_same_fingerprint_in_sql(
    own: Connection, tables: Tables
) -> None:
    worker = tables.worker()
    job_id = tables.job("running", worker_id=worker, task="straße")
    exchange(own, 0, unsuccessful=[Unsuccessful(job_id, 1, "dead", ending="dead", error_type="É")])
    assert tables.run("select fingerprint from pgqueue.attempts") == [(MADE("straße", "É"),)]
