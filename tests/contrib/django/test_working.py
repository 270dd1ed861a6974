"""Workers of a Django project: what they run, what they signal, what they leave behind."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.contrib.django import app, framework
from tests.waiting import wait_until

if TYPE_CHECKING:
    from types import ModuleType

    import psycopg

    Sql = psycopg.Connection[Any]

Signals = list[tuple[str, Any, Any]]


def seen(signals: Signals) -> list[tuple[str, str]]:
    return [(name, status) for name, status, _ in signals]


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_a_task_runs_and_its_result_says_all(
    tasks: ModuleType, finished: Any, signals: Signals, name: str
) -> None:
    result = finished(getattr(tasks, name).enqueue(1, b=2))
    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 3, 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at
    assert result.errors == []
    assert seen(signals) == [
        ("enqueued", "READY"),
        ("started", "RUNNING"),
        ("finished", "SUCCESSFUL"),
    ]
    ended = signals[-1][2]
    assert (ended.id, ended.return_value, ended.worker_ids) == (result.id, 3, result.worker_ids)


@pytest.mark.parametrize("name", ["fail", "fail_async"])
def test_a_task_that_raises_has_failed(
    tasks: ModuleType, finished: Any, signals: Signals, name: str
) -> None:
    result = finished(getattr(tasks, name).enqueue("tea is out"))
    assert (result.status, result.attempts) == ("FAILED", 1)
    [error] = result.errors
    assert error.exception_class is ValueError
    assert "raise ValueError(message)\nValueError: tea is out" in error.traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value
    assert seen(signals)[1:] == [("started", "RUNNING"), ("finished", "FAILED")]
    assert signals[-1][2].errors[0].exception_class is ValueError


@pytest.mark.parametrize(
    ("name", "kind"),
    [("give_up", "Dead"), ("return_a_set", "TypeError"), ("leave", "SystemExit")],
)
def test_every_way_to_fail_is_an_error_with_its_class(
    tasks: ModuleType, finished: Any, name: str, kind: str
) -> None:
    result = finished(getattr(tasks, name).enqueue())
    assert [error.exception_class.__name__ for error in result.errors] == [kind]


def test_a_retry_is_no_end_and_keeps_its_error(
    tasks: ModuleType, finished: Any, signals: Signals
) -> None:
    result = finished(tasks.fail_once.enqueue())
    assert (result.return_value, result.attempts, len(result.errors)) == (2, 2, 1)
    assert len(result.worker_ids) == 2
    assert seen(signals)[1:] == [
        ("started", "RUNNING"),
        ("started", "RUNNING"),
        ("finished", "SUCCESSFUL"),
    ]
    assert result.started_at < result.last_attempted_at


def test_what_is_never_retried_fails_at_once(tasks: ModuleType, finished: Any) -> None:
    result = finished(tasks.fail_for_good.enqueue())
    assert (result.status, result.attempts) == ("FAILED", 1)


def test_the_context_shows_the_running_result(tasks: ModuleType, finished: Any) -> None:
    result = finished(tasks.look.enqueue("tea"))
    value = result.return_value
    assert (value["id"], value["attempt"], value["status"]) == (result.id, 1, "RUNNING")
    assert (value["name"], value["errors"]) == ("tea", 0)


@pytest.mark.parametrize(
    "meta", ["{}", '{"django": 1}', '{"django": {"enqueued_at": "2026-11-22T00:00:00"}}']
)
def test_a_job_from_sql_runs_too(sql: Sql, tasks: ModuleType, finished: Any, meta: str) -> None:
    name = "tests.contrib.django.store.tasks.look"
    document = f'{{"task": "{name}", "args": {{"args": ["sql"]}}, "meta": {meta}}}'
    row = sql.execute("select pgqueue.enqueue(%s)::json ->> 'id'", [document]).fetchone()
    assert row
    assert finished(tasks.look.get_result(row[0])).return_value["name"] == "sql"


def test_an_async_task_uses_the_orm(tasks: ModuleType, finished: Any) -> None:
    tasks.Item.objects.create(name="tea")
    assert finished(tasks.count_items.enqueue()).return_value == 1


def test_the_apps_own_tasks_use_the_orm(sql: Sql, tasks: ModuleType, work: Any) -> None:
    work()
    tasks.own.enqueue("a")
    tasks.own_async.enqueue("b")
    count = "select count(*) from pgqueue.jobs where state = 'succeeded'"
    wait_until(lambda: sql.execute(count).fetchone() == (2,), what="both tasks succeed")
    assert sorted(tasks.Item.objects.values_list("name", flat=True)) == ["a", "b"]


@pytest.mark.parametrize("name", ["backend_pid", "backend_pid_async"])
def test_a_job_leaves_no_connection_open(
    sql: Sql, tasks: ModuleType, finished: Any, name: str
) -> None:
    pid = finished(getattr(tasks, name).enqueue()).return_value
    open_still = "select count(*) from pg_stat_activity where pid = %s"
    wait_until(
        lambda: sql.execute(open_still, [pid]).fetchone() == (0,),
        what="the job's connection is closed, as CONN_MAX_AGE = 0 says",
    )


def test_a_broken_connection_does_not_reach_the_next_job(tasks: ModuleType, finished: Any) -> None:
    broken = finished(tasks.break_connection.enqueue(), threads=1)
    assert broken.status == "FAILED"
    after = finished(tasks.backend_pid.enqueue(), working=True)
    assert after.status == "SUCCESSFUL"


def test_a_task_that_nobody_imported_is_found_in_an_installed_app(
    sql: Sql, tasks: ModuleType, finished: Any
) -> None:
    module = "tests.contrib.django.store.late"
    assert module not in sys.modules
    sql.execute("select pgqueue.enqueue(%s)", [f'{{"task": "{module}.found_late"}}'])
    [job_id] = sql.execute("select id::text from pgqueue.jobs").fetchone() or [""]
    backend = tasks.add.get_backend()
    assert finished(backend.get_result(job_id)).return_value == "found"


def test_no_job_makes_a_worker_import_anything_else(sql: Sql, work: Any, tasks: ModuleType) -> None:
    del tasks
    module = "tests.contrib.django.outside"
    sql.execute("select pgqueue.enqueue(%s)", [f'{{"task": "{module}.forbidden"}}'])
    work()
    wait_until(
        lambda: (
            sql.execute("select lease > 1 and state = 'ready' from pgqueue.jobs").fetchone()
            == (True,)
        ),
        what="the job is given back",
    )
    assert module not in sys.modules


def test_a_listener_that_raises_does_not_decide_how_a_job_ends(
    tasks: ModuleType, finished: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_kwargs: Any) -> None:
        raise RuntimeError("a listener's own error")

    framework.task_finished.connect(broken)
    try:
        assert finished(tasks.add.enqueue(1)).status == "SUCCESSFUL"
    finally:
        framework.task_finished.disconnect(broken)
    assert "a listener's own error" in caplog.text


def test_a_transactional_task_commits_its_orm_writes_with_its_success(
    sql: Sql, tasks: ModuleType, finished: Any, signals: Signals
) -> None:
    result = finished(tasks.write.enqueue("tea"))
    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", "tea", 1)
    written = sql.execute("select name, xmin::text from store_item").fetchall()
    assert written == sql.execute("select 'tea', xmin::text from pgqueue.jobs").fetchall()
    assert seen(signals)[1:] == [("started", "RUNNING"), ("finished", "SUCCESSFUL")]


def test_a_transactional_task_that_fails_has_written_nothing(
    sql: Sql, tasks: ModuleType, finished: Any
) -> None:
    result = finished(tasks.write_and_fail.enqueue("tea"))
    assert [error.exception_class for error in result.errors] == [ValueError]
    assert sql.execute("select count(*) from store_item").fetchone() == (0,)


def test_a_transactional_task_that_lost_its_lease_has_written_nothing(
    sql: Sql, tasks: ModuleType, finished: Any
) -> None:
    result = finished(tasks.write_and_lose.enqueue("tea"))
    assert result.status == "FAILED"
    after = finished(tasks.add.enqueue(1), working=True)
    assert after.status == "SUCCESSFUL"
    assert sql.execute("select count(*) from store_item").fetchone() == (0,)


def test_a_database_of_its_own_has_workers_of_its_own(tasks: ModuleType, finished: Any) -> None:
    assert finished(tasks.elsewhere.enqueue(), alias="other").return_value == "there"


def test_an_operator_cancels_and_requeues_by_the_app(tasks: ModuleType) -> None:
    result = tasks.add.enqueue(1)
    assert app.cancel(int(result.id)) == "cancelled"
    result.refresh()
    assert result.status == "FAILED"
    app.requeue(int(result.id))
    result.refresh()
    assert result.status == "READY"
    app.close()
