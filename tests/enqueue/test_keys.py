"""Idempotency keys on one connection: who holds a key, until when, and in which scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pgqueue.enqueue import callers
from pgqueue.errors import EnqueueError
from pgqueue.job import FINAL_STATES
from tests.enqueue.sql import count, enqueue, row_of

if TYPE_CHECKING:
    import psycopg

LIVE = {"ready": "state = 'ready'", "running": "state = 'running', worker_id = 1"}


def set_state(connection: psycopg.Connection, job_id: int, state: str) -> None:
    changes = LIVE.get(state, f"state = '{state}', finished_at = now()")
    sql = f"update pgqueue.jobs set {changes}, lease = lease + 1 where id = %s"
    assert connection.execute(sql, [job_id]).rowcount == 1


def end_windows(connection: psycopg.Connection) -> None:
    connection.execute(
        "update pgqueue.idempotency_keys set expires_at = clock_timestamp() - interval '1 s' "
        "where expires_at is not null"
    )


def test_a_second_job_with_the_key_is_the_first(connection: psycopg.Connection) -> None:
    first = enqueue(connection, {"task": "t", "key": "k"})
    second = enqueue(connection, {"task": "t", "key": "k", "args": {"other": 1}})
    assert (first["created"], second) == (True, {"id": first["id"], "created": False})
    assert count(connection) == 1
    assert row_of(connection, first["id"])["args"] == {}


@pytest.mark.parametrize("state", ["running", "blocked"])
def test_a_key_is_held_while_its_job_is_not_final(
    connection: psycopg.Connection, state: str
) -> None:
    first = enqueue(connection, {"task": "t", "key": "k"})
    set_state(connection, first["id"], state)
    assert enqueue(connection, {"task": "t", "key": "k"})["created"] is False


@pytest.mark.parametrize("state", FINAL_STATES)
def test_a_key_is_free_when_its_job_is_final(connection: psycopg.Connection, state: str) -> None:
    first = enqueue(connection, {"task": "t", "key": "k"})
    set_state(connection, first["id"], state)
    second = enqueue(connection, {"task": "t", "key": "k"})
    assert second["created"] is True
    assert enqueue(connection, {"task": "t", "key": "k"}) == {"id": second["id"], "created": False}


def test_a_key_is_free_when_its_job_is_deleted(connection: psycopg.Connection) -> None:
    enqueue(connection, {"task": "t", "key": "k"})
    connection.execute("delete from pgqueue.jobs")
    assert enqueue(connection, {"task": "t", "key": "k"})["created"] is True


@pytest.mark.parametrize("state", ["ready", *FINAL_STATES, None])
def test_in_its_window_a_key_names_its_job_whatever_became_of_it(
    connection: psycopg.Connection, state: str | None
) -> None:
    first = enqueue(connection, {"task": "t", "key": "k", "unique_for": 60})
    if state is None:
        connection.execute("delete from pgqueue.jobs")
    else:
        set_state(connection, first["id"], state)
    again = {"id": first["id"], "created": False}
    assert enqueue(connection, {"task": "t", "key": "k", "unique_for": 60}) == again
    assert enqueue(connection, {"task": "t", "key": "k"}) == again


def test_after_its_window_a_key_is_free_though_its_job_is_not_final(
    connection: psycopg.Connection,
) -> None:
    enqueue(connection, {"task": "t", "key": "k", "unique_for": 60})
    end_windows(connection)
    second = enqueue(connection, {"task": "t", "key": "k", "unique_for": 60})
    assert second["created"] is True
    assert enqueue(connection, {"task": "t", "key": "k"}) == {"id": second["id"], "created": False}


def test_a_window_is_as_long_as_was_asked(connection: psycopg.Connection) -> None:
    enqueue(connection, {"task": "t", "key": "k", "unique_for": 90.5})
    sql = """
        select extract(epoch from key.expires_at - job.created_at) between 90 and 90.5
        from pgqueue.idempotency_keys as key join pgqueue.jobs as job on job.id = key.job_id"""
    assert connection.execute(sql).fetchall() == [(True,)]


def test_a_key_taken_over_gets_the_terms_of_the_new_job(connection: psycopg.Connection) -> None:
    enqueue(connection, {"task": "t", "key": "k", "unique_for": 60})
    end_windows(connection)
    enqueue(connection, {"task": "t", "key": "k"})
    sql = "select expires_at from pgqueue.idempotency_keys"
    assert connection.execute(sql).fetchall() == [(None,)]


def test_a_key_belongs_to_its_task(connection: psycopg.Connection) -> None:
    first, second = enqueue(connection, [{"task": "a", "key": "k"}, {"task": "b", "key": "k"}])
    assert first["created"] is second["created"] is True


def test_tasks_can_share_a_scope(connection: psycopg.Connection) -> None:
    first = enqueue(connection, {"task": "a", "key": "k", "key_scope": "order"})
    assert enqueue(connection, {"task": "b", "key": "k", "key_scope": "order"}) == {
        "id": first["id"],
        "created": False,
    }
    assert enqueue(connection, {"task": "a", "key": "k"})["created"] is True
    assert enqueue(connection, {"task": "order", "key": "k"})["created"] is False


def test_keys_are_compared_as_bytes(connection: psycopg.Connection) -> None:
    keys = ["é", "e\u0301", "E", "e", "e ", " e", "ß", "ss"]
    answers = enqueue(connection, [{"task": "t", "key": key} for key in keys])
    assert [answer["created"] for answer in answers] == [True] * len(keys)


def test_a_key_twice_in_one_call_is_one_job(connection: psycopg.Connection) -> None:
    batch = [
        {"task": "t", "key": "b", "args": {"place": 0}},
        {"task": "t"},
        {"task": "t", "key": "a", "args": {"place": 2}},
        {"task": "t", "key": "b", "args": {"place": 3}},
        {"task": "u", "key": "b", "key_scope": "t"},
    ]
    answers = enqueue(connection, batch)
    assert [answer["created"] for answer in answers] == [True, True, True, False, False]
    assert answers[3]["id"] == answers[4]["id"] == answers[0]["id"]
    assert row_of(connection, answers[0]["id"])["args"] == {"place": 0}
    assert count(connection) == 3


def test_some_of_many_may_exist(connection: psycopg.Connection) -> None:
    known = enqueue(connection, {"task": "t", "key": "b"})
    batch = [{"task": "t", "key": key} for key in "cba"]
    first, second, third = enqueue(connection, batch)
    assert (first["created"], third["created"]) == (True, True)
    assert second == {"id": known["id"], "created": False}
    assert count(connection) == 3


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_job_shows_its_key(connection: psycopg.Connection, wrapped: bool) -> None:
    for scope, shown in (("t", None), ("s", "s")):
        job = {"task": "t", "key": "k", "key_scope": scope}
        (answer,) = enqueue(connection, [job]) if wrapped else [enqueue(connection, job)]
        row = row_of(connection, answer["id"])
        assert (row["key"], row["key_scope"]) == ("k", shown)


def test_jobs_without_a_key_leave_the_keys_alone(connection: psycopg.Connection) -> None:
    enqueue(connection, {"task": "t"})
    enqueue(connection, [{"task": "t"}, {"task": "t", "key": None}])
    sql = "select count(*) from pgqueue.idempotency_keys"
    assert connection.execute(sql).fetchone() == (0,)


def test_a_key_that_is_taken_away_again_and_again_is_a_clear_error(
    connection: psycopg.Connection,
) -> None:
    connection.execute("""
        create function lose() returns trigger language plpgsql as $$
        begin return null; end $$;
        create trigger lose before insert on pgqueue.idempotency_keys
        for each row execute function lose()""")
    with pytest.raises(EnqueueError, match=r'^key "k" changed hands ten times') as refusal:
        callers.send(connection, '{"task": "t", "key": "k"}')
    assert getattr(refusal.value.__cause__, "sqlstate", None) == "PQ002"
    assert count(connection) == 0


# Against a model: what a key should do, in a few lines of Python.

operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("enqueue"),
            st.lists(
                st.tuples(
                    st.sampled_from("ab"), st.sampled_from([None, "x", "y", "z"]), st.booleans()
                ),
                min_size=1,
                max_size=4,
            ),
        ),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("requeue"), st.integers(0, 9)),
        st.tuples(st.just("end windows"), st.none()),
    ),
    max_size=12,
)


class Model:
    """Jobs by id: live, final or gone. Keys: (job id, window: None, open or over)."""

    def __init__(self) -> None:
        self.jobs: dict[int, str] = {}
        self.keys: dict[tuple[str, str], tuple[int, str | None]] = {}

    def holder(self, task: str, key: str) -> int | None:
        job_id, window = self.keys.get((task, key), (0, "over"))
        held = window == "open" or (window is None and self.jobs[job_id] == "live")
        return job_id if held else None

    def expect(self, answer: dict[str, Any], task: str, key: str | None, windowed: bool) -> None:
        holder = None if key is None else self.holder(task, key)
        if holder is not None:
            assert answer == {"id": holder, "created": False}
            return
        assert answer["created"] is True
        assert answer["id"] not in self.jobs
        self.jobs[answer["id"]] = "live"
        if key is not None:
            self.keys[task, key] = (answer["id"], "open" if windowed else None)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_keys_do_as_the_model_does(shared: psycopg.Connection, steps: list[Any]) -> None:
    with shared.transaction(force_rollback=True):
        model = Model()
        for what, detail in steps:
            perform(shared, model, what, detail)
        stored = shared.execute("select id from pgqueue.jobs").fetchall()
        assert {row[0] for row in stored} == {
            job_id for job_id, state in model.jobs.items() if state != "gone"
        }


def perform(connection: psycopg.Connection, model: Model, what: str, detail: Any) -> None:
    if what == "enqueue":
        batch = [
            {"task": task, "key": key, "unique_for": 60 if windowed and key else None}
            for task, key, windowed in detail
        ]
        answers = enqueue(connection, batch if len(batch) > 1 else batch[0])
        for answer, job in zip(answers if len(batch) > 1 else [answers], detail, strict=True):
            model.expect(answer, *job)
    elif what == "end windows":
        end_windows(connection)
        for name, (job_id, window) in model.keys.items():
            model.keys[name] = (job_id, window and "over")
    elif detail < len(model.jobs):
        change(connection, model, what, list(model.jobs)[detail])


def change(connection: psycopg.Connection, model: Model, what: str, job_id: int) -> None:
    if model.jobs[job_id] == "gone":
        return
    if what == "delete":
        connection.execute("delete from pgqueue.jobs where id = %s", [job_id])
        model.jobs[job_id] = "gone"
    elif what == "finish":
        set_state(connection, job_id, "dead")
        model.jobs[job_id] = "final"
    elif not any(held[0] != job_id for held in model.keys.values()):
        set_state(connection, job_id, "ready")  # only where no other job could hold its key
        model.jobs[job_id] = "live"
