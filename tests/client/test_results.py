"""Results and failures of jobs, as who waits for them gets them."""

from __future__ import annotations

import asyncio
import pickle
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.crypto import AesGcmCodec
from pgqueue.errors import InvalidPayload, JobFailed, JobNotFound, KeyMissing, WaitTimeout
from pgqueue.handle import JobHandle
from tests.client.ending import bury, cancel, expire, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    MakeJob = Callable[..., int]

DAY = date(2026, 11, 22)


@pytest.fixture
def due_day(app: PgQueue) -> Any:
    @app.task(name="due_day")
    def due_day(after: date) -> date:
        return after

    return due_day


def test_a_result_has_the_type_that_the_handler_returned(
    due_day: Any, connection: psycopg.Connection[Any]
) -> None:
    handle = due_day.enqueue(DAY)
    succeed(connection, handle.id, '"2026-11-22"')
    assert handle.wait() == "succeeded"
    assert handle.result() == DAY
    assert asyncio.run(handle.aresult(timeout=5)) == DAY
    assert asyncio.run(handle.await_(timeout=5)) == "succeeded"


def test_a_result_of_a_task_that_is_not_known_here_is_json(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    job_id = make_job("running", task="due_day_of_others")
    succeed(connection, job_id, '{"day": "2026-11-22"}')
    assert app.result(job_id) == {"day": "2026-11-22"}
    assert asyncio.run(app.aresult(job_id)) == {"day": "2026-11-22"}


def test_no_result_is_none(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    assert app.result(make_job("succeeded")) is None
    job_id = make_job("running")
    succeed(connection, job_id, "null")
    assert app.result(job_id) is None


def test_a_result_that_does_not_fit_is_refused_with_its_value(
    due_day: Any, connection: psycopg.Connection[Any]
) -> None:
    handle = due_day.enqueue(DAY)
    succeed(connection, handle.id, '"tomorrow"')
    with pytest.raises(InvalidPayload, match="tomorrow"):
        handle.result()


def test_an_encrypted_result_needs_the_key(
    dsn: str, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    codec = AesGcmCodec({"k1": AesGcmCodec.generate_key()})
    sealed = codec.encode('{"iban": 1}', "result of secret")
    job_id = make_job("running", task="secret")
    value = {"$pgqueue": {"codec": codec.name, **sealed}}
    succeed(connection, job_id, str(value).replace("'", '"'))
    with PgQueue(dsn, codec=codec) as app:
        assert app.result(job_id) == {"iban": 1}
    with PgQueue(dsn) as app, pytest.raises(KeyMissing, match="result of secret"):
        app.result(job_id)


def test_a_dead_job_is_told_in_words(
    due_day: Any, connection: psycopg.Connection[Any], app: PgQueue
) -> None:
    handle = due_day.enqueue(DAY)
    bury(connection, handle.id)
    with pytest.raises(JobFailed) as caught:
        handle.result()
    failed = caught.value
    assert str(failed) == f"job {handle.id} (due_day) is dead: ValueError: no such photo"
    assert (failed.id, failed.task, failed.state) == (handle.id, "due_day", "dead")
    assert (failed.error_type, failed.message) == ("ValueError", "no such photo")
    assert failed.traceback == "Traceback of it"
    assert "Traceback of it" in failed.__notes__[0]
    copy = pickle.loads(pickle.dumps(failed))
    assert (str(copy), copy.traceback) == (str(failed), failed.traceback)
    with pytest.raises(JobFailed):
        asyncio.run(app.aresult(handle))


def test_the_last_attempt_is_the_one_that_is_told(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    job_id = make_job("running")
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, message) "
        "values (%s, -1, 1, 'retried', 'the first')",
        [job_id],
    )
    bury(connection, job_id)
    with pytest.raises(JobFailed, match="no such photo"):
        app.result(job_id)


def test_cancelled_and_expired_jobs_have_no_result(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    cancelled, expired = make_job("running"), make_job("running")
    cancel(connection, cancelled)
    expire(connection, expired)
    with pytest.raises(JobFailed, match="is cancelled") as caught:
        app.result(cancelled)
    assert caught.value.state == "cancelled"
    with pytest.raises(JobFailed, match="is expired: nobody started it before its expires_at"):
        app.result(expired)
    assert [app.wait(cancelled), app.wait(expired)] == ["cancelled", "expired"]


def test_results_of_many_come_in_their_order(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    jobs = [make_job("running") for _ in range(5)]
    for job_id in reversed(jobs):
        succeed(connection, job_id, str(10 * job_id))
    wanted = [*jobs, jobs[0]]
    assert app.results(wanted) == [10 * job_id for job_id in wanted]
    assert app.results([JobHandle(id_, created=True) for id_ in wanted], 0)[1] == 10 * jobs[1]
    assert asyncio.run(app.aresults(wanted, 5)) == [10 * job_id for job_id in wanted]
    assert app.results([]) == []


def test_failures_among_many_are_raised_or_stand_in_the_list(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    good, bad, gone = make_job("running"), make_job("running"), 987_654
    succeed(connection, good, "1")
    bury(connection, bad)
    with pytest.raises(JobFailed):
        app.results([good, bad, gone])
    one, failed, missing = app.results([good, bad, gone], return_errors=True)
    assert one == 1
    assert isinstance(failed, JobFailed)
    assert isinstance(missing, JobNotFound)


def test_a_limit_for_many_names_those_that_have_not_ended(
    app: PgQueue, connection: psycopg.Connection[Any], make_job: MakeJob
) -> None:
    done, *others = [make_job("running") for _ in range(3)]
    succeed(connection, done)
    for timeout in (0, 0.05):
        with pytest.raises(WaitTimeout, match="each of 2 jobs") as late:
            app.results([done, *others], timeout)
        assert sorted(late.value.ids) == others


def test_a_handle_from_elsewhere_says_what_to_use(
    due_day: Any, connection: psycopg.Connection[Any], app: PgQueue
) -> None:
    handle = due_day.enqueue(DAY)
    copy = pickle.loads(pickle.dumps(handle))
    assert copy == handle
    with pytest.raises(TypeError, match=rf"app.result\({handle.id}\)"):
        copy.result()
    succeed(connection, handle.id, '"2026-11-22"')
    assert app.result(copy) == DAY


def test_handles_of_many_can_be_waited_for(
    due_day: Any, connection: psycopg.Connection[Any], app: PgQueue
) -> None:
    [handle] = app.enqueue_many([due_day.job(DAY)])
    succeed(connection, handle.id, '"2026-11-22"')
    assert handle.result(5) == DAY
