"""A requeued job says so: who, when, which arguments were changed; and many at a gentle pace."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue import store
from pgqueue.actions import Report
from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.crypto import AesGcmCodec
from pgqueue.errors import (
    ConfigError,
    InvalidJob,
    InvalidPayload,
    JobConflict,
    JobNotFound,
    KeyMissing,
    PayloadTooLarge,
)
from pgqueue.operations import BATCH
from tests.store.tables import Background
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., int]
    Read = Callable[[int], dict[str, Any]]


# History


def test_a_requeue_is_a_row_of_the_job_s_history(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", lease=2, attempt=8)
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type) "
        "values (%s, 1, 8, 'dead', 'ValueError')",
        [job_id],
    )
    app.requeue(job_id, by="ada")
    job = app.job(job_id)
    died, requeued = job.attempts
    assert (died.outcome, died.error_type) == ("dead", "ValueError")
    assert (requeued.outcome, requeued.actor, requeued.lease) == ("requeued", "ada", 2)
    assert (requeued.attempt, requeued.old_args, requeued.message) == (8, None, None)
    assert abs(requeued.finished_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert (job.requeues, job.state, job.attempt) == (1, "ready", 0)


def test_without_a_name_it_is_the_database_s_role_that_asked(app: PgQueue, make_job: Make) -> None:
    job_id = make_job("dead")
    app.requeue(job_id)
    with psycopg.connect(app.dsn) as connection:
        row = connection.execute("select current_user::text").fetchone()
    assert row is not None
    assert app.job(job_id).attempts[0].actor == row[0]


@pytest.mark.parametrize("by", ["", "x" * 201, "a\nb", "a\0b", "\udc80", 7])
def test_who_asks_is_a_name_that_can_be_shown(app: PgQueue, make_job: Make, by: Any) -> None:
    job_id = make_job("dead")
    with pytest.raises(ConfigError, match="expected who asks for it"):
        app.requeue(job_id, by=by)
    assert app.job(job_id).state == "dead"


def test_each_requeue_is_kept(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("cancelled")
    for _ in range(3):
        app.requeue(job_id)
        app.cancel(job_id)
    assert app.job(job_id).requeues == 3
    shown = connection.execute("select requeues, last_error from pgqueue.job_overview").fetchone()
    assert shown == (3, None)


def test_a_requeue_is_no_error_in_the_views(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", lease=2)
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message) "
        "values (%s, 1, 1, 'dead', 'ValueError', 'bad')",
        [job_id],
    )
    app.requeue(job_id)
    query = "select last_error, requeues from pgqueue.job_overview"
    assert connection.execute(query.encode()).fetchone() == ("ValueError: bad", 1)
    connection.execute("update pgqueue.jobs set state = 'dead', lease = lease + 1")
    query = "select error_type, requeues from pgqueue.dead_jobs"
    assert connection.execute(query.encode()).fetchone() == ("ValueError", 1)


@pytest.mark.parametrize(("name", "place"), [("wait_look", 4), ("ended_jobs", 8)])
def test_a_requeue_is_no_error_to_those_who_wait_or_are_told(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any], name: str, place: int
) -> None:
    job_id = make_job("dead", lease=2)
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type) "
        "values (%s, 1, 1, 'dead', 'ValueError')",
        [job_id],
    )
    app.requeue(job_id)
    connection.execute("update pgqueue.jobs set state = 'dead', lease = lease + 1")
    row = store.execute(connection, name, {"ids": [job_id]}).fetchone()
    assert row is not None
    assert row[place] == "ValueError"


def test_a_requeue_that_is_refused_leaves_no_trace(app: PgQueue, make_job: Make) -> None:
    job_id = make_job("running")
    with pytest.raises(JobConflict):
        app.requeue(job_id)
    assert app.job(job_id).attempts == []


def test_a_row_that_somebody_wrote_by_hand_stops_no_requeue(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead", lease=5)
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome) values (%s, 5, 1, 'dead')",
        [job_id],
    )
    app.requeue(job_id)
    assert app.job(job_id).state == "ready"


def test_deleting_a_job_deletes_its_history(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead")
    app.requeue(job_id)
    app.cancel(job_id)
    app.delete(job_id)
    assert connection.execute("select from pgqueue.attempts").fetchall() == []


# New arguments


def test_new_arguments_replace_the_old_ones_which_are_kept(app: PgQueue, make_job: Make) -> None:
    job_id = make_job("dead", args='{"x": 1, "y": 2}')
    app.requeue(job_id, args={"x": 1, "z": [3]}, by="ada")
    job = app.job(job_id)
    assert job.args == {"x": 1, "z": [3]}
    assert job.attempts[0].old_args == {"x": 1, "y": 2}
    assert job.attempts[0].message == "arguments changed: z, y"


def test_some_arguments_can_be_set(app: PgQueue, make_job: Make) -> None:
    job_id = make_job("dead", args='{"x": 1, "y": 2}')
    app.requeue(job_id, set_args={"y": None})
    assert app.job(job_id).args == {"x": 1, "y": None}
    assert app.job(job_id).attempts[0].message == "arguments changed: y"


def test_arguments_that_are_the_same_are_no_change(app: PgQueue, make_job: Make) -> None:
    job_id = make_job("dead", args='{"x": 1}')
    app.requeue(job_id, args={"x": 1})
    [requeued] = app.job(job_id).attempts
    assert (requeued.old_args, requeued.message) == (None, None)


@pytest.mark.parametrize("args", [[1], "x", 5, {"x": {1, 2}}, {"x": float("nan")}, {1: 2}])
@pytest.mark.parametrize("name", ["args", "set_args"])
def test_arguments_that_json_cannot_hold_are_refused(
    app: PgQueue, make_job: Make, args: Any, name: str
) -> None:
    job_id = make_job("dead")
    with pytest.raises(InvalidPayload, match="args"):
        app.requeue(job_id, **{name: args})
    job = app.job(job_id)
    assert (job.state, job.attempts) == ("dead", [])


def test_args_and_set_args_exclude_each_other(app: PgQueue, make_job: Make) -> None:
    job_id = make_job("dead")
    with pytest.raises(TypeError, match="not both"):
        app.requeue(job_id, args={}, set_args={})
    with pytest.raises(TypeError, match="no option 'arg'; it takes args, by, set_args"):
        app.requeue(job_id, arg={})  # type: ignore[call-arg]


def test_arguments_that_were_broken_are_replaced_by_whole_ones(
    app: PgQueue, make_job: Make
) -> None:
    job_id = make_job("dead", args="[1, 2]")
    with pytest.raises(InvalidPayload, match="give all of them instead"):
        app.requeue(job_id, set_args={"x": 1})
    app.requeue(job_id, args={"x": 1})
    assert app.job(job_id).attempts[0].old_args == [1, 2]


@pytest.fixture
def remind(app: PgQueue) -> Any:
    """A task at version 2, whose arguments have types."""

    def to_2(args: dict[str, Any]) -> dict[str, Any]:
        return {"customer_id": args["customer"], "due": args["due"]}

    @app.task(name="remind", version=2, upgrade={1: to_2})
    def remind(customer_id: int, due: date, note: str | None = None) -> None: ...

    return remind


@pytest.fixture
def dead(connection: psycopg.Connection[Any]) -> Callable[..., int]:
    """Enqueue, and let it die at once."""

    def die(task: Any, *args: Any, **kwargs: Any) -> int:
        job_id: int = task.enqueue(*args, **kwargs).id
        connection.execute(
            "update pgqueue.jobs set state = 'dead', lease = lease + 2 where id = %s", [job_id]
        )
        return job_id

    return die


@pytest.mark.parametrize("due", [date(2026, 12, 1), "2026-12-01"])
def test_what_the_task_annotates_is_taken_as_such_or_as_json(
    app: PgQueue, remind: Any, dead: Any, due: Any
) -> None:
    job_id = dead(remind, 7, date(2026, 11, 1))
    app.requeue(job_id, set_args={"due": due})
    assert app.job(job_id).args == {"customer_id": 7, "due": "2026-12-01"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"set_args": {"due": "tomorrow"}}, r"args\.due: 'tomorrow' is refused; expected"),
        ({"set_args": {"customer": 7}}, "unexpected keyword argument 'customer'"),
        ({"args": {"customer_id": 7}}, "missing a required argument: 'due'"),
        ({"args": {"customer_id": "7", "due": "2026-12-01"}}, r"args\.customer_id: '7' is refused"),
    ],
)
def test_what_the_task_does_not_take_is_refused_and_the_job_stays_dead(
    app: PgQueue, remind: Any, dead: Any, options: Any, words: str
) -> None:
    job_id = dead(remind, 7, date(2026, 11, 1))
    before = app.job(job_id)
    with pytest.raises(InvalidPayload, match=words):
        app.requeue(job_id, **options)
    assert replace(app.job(job_id), read_at=before.read_at) == before


def test_arguments_of_an_older_version_are_upgraded_and_then_edited(
    app: PgQueue, remind: Any, make_job: Make
) -> None:
    del remind
    args = '{"customer": 7, "due": "2026-11-01"}'
    job_id = make_job("dead", task="remind", args=args)
    app.requeue(job_id, set_args={"note": "late"})
    job = app.job(job_id)
    assert (job.version, job.args["customer_id"], job.args["note"]) == (2, 7, "late")


def test_a_job_that_is_newer_than_this_code_is_not_edited_by_it(
    app: PgQueue, remind: Any, make_job: Make
) -> None:
    del remind
    job_id = make_job("dead", task="remind", version=3, args="{}")
    with pytest.raises(InvalidJob, match="edit it with the newer code"):
        app.requeue(job_id, set_args={"customer_id": 1, "due": "2026-11-01"})
    app.requeue(job_id)
    assert app.job(job_id).version == 3


def test_arguments_above_the_limit_are_refused(dsn: str, make_job: Make) -> None:
    job_id = make_job("dead", args='{"a": "' + "x" * 60 + '"}')
    with (
        PgQueue(dsn, settings=Settings(max_payload=100)) as small,
        pytest.raises(PayloadTooLarge),
    ):
        small.requeue(job_id, set_args={"b": "y" * 60})


# Secrets


def test_hidden_arguments_stay_hidden_and_are_not_overwritten_by_their_mask(
    app: PgQueue, dead: Any
) -> None:
    @app.task(name="pay", redact={"token", "card.number"})
    def pay(token: str, card: dict[str, Any], amount: int) -> None: ...

    job_id = dead(pay, "t0k", {"number": 4111}, 3)
    shown = app.job(job_id).args
    with pytest.raises(InvalidPayload, match=r"args\.[a-z.]+: '\*\*\*' is what stands for"):
        app.requeue(job_id, args={**shown, "amount": 4})
    with pytest.raises(InvalidPayload, match=r"args\.card\.number: "):
        app.requeue(job_id, set_args={"card": shown["card"]})
    app.requeue(job_id, set_args={"amount": 4})
    job = app.job(job_id)
    assert job.args == {"token": "***", "card": {"number": "***"}, "amount": 4}
    assert job.attempts[0].old_args == {**job.args, "amount": 3}


@pytest.fixture
def safe(dsn: str) -> Any:
    with PgQueue(dsn, codec=AesGcmCodec({"k": AesGcmCodec.generate_key()})) as made:
        yield made


def test_encrypted_arguments_are_edited_with_the_key_and_stay_encrypted(
    safe: PgQueue, dead: Any, read: Read, connection: psycopg.Connection[Any]
) -> None:
    @safe.task(name="login")
    def login(user: int, secret: str) -> None: ...

    job_id = dead(login, 1, "s3cret")
    safe.requeue(job_id, set_args={"secret": "n3w"})
    assert safe.job(job_id).args == {"user": 1, "secret": "n3w"}
    assert safe.job(job_id).attempts[0].old_args == {"user": 1, "secret": "s3cret"}
    assert list(read(job_id)["args"]) == ["$pgqueue"]
    row = connection.execute("select old_args, message from pgqueue.attempts").fetchone()
    assert row is not None
    assert list(row[0]) == ["$pgqueue"]
    assert row[1] == "arguments changed: secret"


@pytest.mark.parametrize("options", [{"args": {"user": 1}}, {"set_args": {"user": 1}}])
def test_encrypted_arguments_are_not_edited_without_the_key(
    app: PgQueue, safe: PgQueue, dead: Any, options: Any
) -> None:
    @safe.task(name="login")
    def login(user: int, secret: str) -> None: ...

    job_id = dead(login, 1, "s3cret")
    with pytest.raises(KeyMissing, match="edit them where the app with its key is"):
        app.requeue(job_id, **options)
    assert app.job(job_id).state == "dead"
    app.requeue(job_id)
    assert safe.job(job_id).args == {"user": 1, "secret": "s3cret"}


# Many


@pytest.fixture
def many(connection: psycopg.Connection[Any]) -> int:
    """So many dead jobs, ids from 1."""
    count = 2 * BATCH + 500
    connection.execute(
        "insert into pgqueue.jobs (task, state) select 't', 'dead' from generate_series(1, %s)",
        [count],
    )
    return count


def test_many_jobs_are_requeued_batch_by_batch_as_they_come(
    app: PgQueue, many: int, connection: psycopg.Connection[Any]
) -> None:
    seen: list[int] = []
    committed: list[int] = []

    def note(report: Report) -> None:
        row = connection.execute("select count(*) from pgqueue.attempts").fetchone()
        assert row is not None
        committed.append(row[0])
        seen.append(len(report.done))

    answer = app.operator.requeue(iter(range(1, many + 1)), on_batch=note)
    assert (seen, committed) == ([1000, 1000, 500], [1000, 2000, 2500])
    assert answer == Report()


def test_a_rate_makes_small_batches_and_waits_between_them(app: PgQueue, many: int) -> None:
    waits: list[float] = []
    operator = replace(app.operator, sleep=waits.append)
    done = operator.requeue(range(1, 251), rate=100).done
    assert len(done) == 250
    assert len(waits) == 2
    assert all(0 <= wait <= 1 for wait in waits)
    assert max(waits) > 0
    assert many > 250


@pytest.mark.parametrize("rate", [0, -1, "5", True, float("nan")])
def test_a_rate_that_is_none_is_refused(app: PgQueue, rate: Any) -> None:
    with pytest.raises(ConfigError, match="expected jobs in a second"):
        app.operator.requeue([1], rate=rate)


def test_a_slow_rate_takes_one_job_at_a_time(app: PgQueue, many: int) -> None:
    waits: list[float] = []
    replace(app.operator, sleep=waits.append).requeue([1, 2, many], rate=0.5)
    assert [round(wait) for wait in waits] == [2, 2]


def test_requeued_jobs_are_spread_over_the_time_given(
    app: PgQueue, many: int, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("update pgqueue.jobs set expires_at = clock_timestamp() + interval '1 min'")
    app.operator.requeue(range(1, many + 1), spread=timedelta(minutes=10))
    row = connection.execute(
        "select min(run_at) > clock_timestamp() - interval '1 min', "
        "max(run_at) < clock_timestamp() + interval '10 min', "
        "percentile_cont(0.5) within group (order by extract(epoch from run_at - created_at)), "
        "count(expires_at) from pgqueue.jobs"
    ).fetchone()
    assert row is not None
    assert row[:2] == (True, True)
    assert 250 < row[2] < 350
    assert row[3] == 0


@pytest.mark.parametrize("spread", [-1, "x", float("inf")])
def test_a_spread_that_is_no_time_is_refused(app: PgQueue, spread: Any) -> None:
    with pytest.raises(InvalidJob, match="spread"):
        app.operator.requeue([1], spread=spread)


# Races


def test_of_two_operators_one_requeues_each_job(
    app: PgQueue, make_job: Make, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    ids = [make_job("dead") for _ in range(3)]
    with psycopg.connect(dsn) as rival:
        values = {"ids": ids[:2], "actor": "rival", "spread": 0}
        store.execute(rival, "operator_lock_jobs", {"ids": ids[:2]})
        store.execute(rival, "operator_requeue", values)
        late = Background(lambda: app.operator.requeue(ids, states=["dead"], by="late"))
        wait_until(lambda: waiting(connection), what="the second operator waits")
        rival.commit()
    report = late.result()
    assert list(report.done) == [ids[2]]
    assert all("is ready by now" in str(error) for error in report.refused.values())
    rows = connection.execute("select actor from pgqueue.attempts order by job_id").fetchall()
    assert rows == [("rival",), ("rival",), ("late",)]


@pytest.mark.parametrize("deleted_first", [True, False])
def test_a_requeue_and_a_delete_of_one_job_are_one_after_the_other(
    app: PgQueue,
    make_job: Make,
    dsn: str,
    connection: psycopg.Connection[Any],
    deleted_first: bool,
) -> None:
    job_id = make_job("dead")
    first = "operator_delete" if deleted_first else "operator_requeue"
    second = app.operator.requeue if deleted_first else app.operator.delete
    with psycopg.connect(dsn) as rival:
        store.execute(rival, "operator_lock_jobs", {"ids": [job_id]})
        store.execute(rival, first, {"ids": [job_id], "actor": None, "spread": 0})
        late = Background(lambda: second([job_id], states=["dead"]))
        wait_until(lambda: waiting(connection), what="the second one waits")
        rival.commit()
    refused = late.result().refused[job_id]
    assert isinstance(refused, JobNotFound if deleted_first else JobConflict)
    left = connection.execute("select count(*) from pgqueue.attempts").fetchone()
    assert left == (0 if deleted_first else 1,)


def test_what_a_worker_that_was_thought_dead_says_after_a_requeue_comes_too_late(
    app: PgQueue, make_job: Make, read: Read, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("running", lease=7, attempt=8)
    connection.execute("update pgqueue.jobs set state = 'dead', lease = 8 where id = %s", [job_id])
    app.requeue(job_id)
    before = read(job_id)
    for name in ("finish_succeeded", "finish_succeeded_waiting"):
        values = {"ids": f"{{{job_id}}}", "leases": "{7}", "results": None}
        assert store.execute(connection, name, values).fetchall() == []
    assert read(job_id) == before
    # Its question is answered by what ended its lease, and never by the requeue.
    with PgQueue(app.dsn) as other, other.operator.own.transaction() as own:
        values = {"ids": f"{{{job_id}}}", "leases": "{7}"}
        assert store.execute(own, "settle", values).fetchall() == [(job_id, 7, "lost")]


def test_a_job_that_was_requeued_is_not_taken_for_one_that_lost_its_worker(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id = make_job("dead")
    app.requeue(job_id)
    connection.execute(
        "update pgqueue.jobs set state = 'running', worker_id = 77, lease = lease + 1, attempt = 1"
    )
    values = {"worker_id": 77, "worker": "w", "started": None, "culprit": None}
    store.execute(connection, "rescue", {**values, "intended": False, "crash_cap": 3})
    row = connection.execute("select suspect from pgqueue.jobs where id = %s", [job_id]).fetchone()
    assert row == (False,)


def waiting(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        "and datname = current_database()"
    ).fetchone()
    return row is not None and row[0] > 0


def test_a_key_taken_meanwhile_refuses_the_edit_as_well(
    app: PgQueue, make_job: Make, connection: psycopg.Connection[Any]
) -> None:
    job_id, holder = make_job("dead", key="k"), make_job("ready", key="k")
    connection.execute("insert into pgqueue.idempotency_keys values ('t', 'k', %s)", [holder])
    with pytest.raises(JobConflict, match=f"job {holder} holds its key"):
        app.requeue(job_id, args={"x": 1})
    assert app.job(job_id).args == {}
