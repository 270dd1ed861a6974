"""What Django's documentation says of a backend of its tasks framework, and our options."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

from pgqueue.contrib.django import PgQueueBackend, framework, job_options
from pgqueue.contrib.django.models import Job

if TYPE_CHECKING:
    from types import ModuleType

    import psycopg

    Sql = psycopg.Connection[Any]

Signals = list[tuple[str, Any, Any]]


def mismatch() -> Any:
    return __import__(f"{framework.NAME}.exceptions", fromlist=["x"]).TaskResultMismatch


def test_it_says_what_it_supports(tasks: ModuleType) -> None:
    backend = tasks.add.get_backend()
    flags = ("supports_defer", "supports_async_task", "supports_get_result", "supports_priority")
    assert all(getattr(backend, flag) for flag in flags)
    assert isinstance(backend, PgQueueBackend)


def test_enqueue_returns_a_ready_result(tasks: ModuleType) -> None:
    before = timezone.now()
    result = tasks.add.enqueue(1, b=2)
    assert before <= result.enqueued_at <= timezone.now()
    assert (result.status, result.args, result.kwargs) == ("READY", [1], {"b": 2})
    assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
    assert (result.started_at, result.finished_at, result.last_attempted_at) == (None,) * 3
    assert result.task == tasks.add
    assert result.backend == "default"
    assert result.created
    assert not result.is_finished
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value


def test_the_stored_result_is_what_enqueue_returned(tasks: ModuleType) -> None:
    result = tasks.send.enqueue("you", subject="tea", parts=(1, 2), raw=b"x")
    found = tasks.send.get_result(result.id)
    assert found.kwargs == result.kwargs == {"subject": "tea", "parts": [1, 2], "raw": "x"}
    assert (found.args, found.task, found.id) == (["you"], tasks.send, result.id)
    assert abs(found.enqueued_at - result.enqueued_at) < timedelta(seconds=5)


def test_queue_priority_and_time_reach_the_job(tasks: ModuleType) -> None:
    later = timezone.now() + timedelta(hours=1)
    result = tasks.send.using(priority=-100, run_after=later).enqueue("you")
    job = Job.objects.get(pk=result.id)
    assert (job.queue, job.priority, job.run_at, job.max_attempts) == ("mail", -100, later, 1)
    found = tasks.send.get_result(result.id)
    assert (found.task.priority, found.task.run_after) == (-100, later)


@pytest.mark.parametrize(
    "options",
    [
        {"priority": 101},
        {"priority": 1.5},
        {"queue_name": "unknown"},
        {"run_after": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"max_attempts": 0},
        {"timeout": -1},
        {"key": ""},
        {"unique_for": 60},
        {"expires_at": "tomorrow"},
    ],
)
def test_an_option_out_of_range_is_an_invalid_task(
    tasks: ModuleType, options: dict[str, Any]
) -> None:
    with pytest.raises(framework.InvalidTask):
        tasks.add.using(**options)


def test_an_unknown_option_is_a_type_error(tasks: ModuleType) -> None:
    with pytest.raises(TypeError, match="no option 'prio'; it takes backend, dead_on"):
        tasks.add.using(prio=1)


def test_only_functions_of_a_module_are_tasks(tasks: ModuleType) -> None:
    def inner() -> None:
        """Nothing."""

    with pytest.raises(framework.InvalidTask):
        tasks.task(inner)


def test_an_async_task_cannot_be_transactional(tasks: ModuleType) -> None:
    with pytest.raises(framework.InvalidTask, match="plain def"):
        job_options(transactional=True)(tasks.add_async)


def test_a_context_must_be_the_first_argument(tasks: ModuleType) -> None:
    with pytest.raises(framework.InvalidTask, match="context"):
        tasks.task(takes_context=True)(tasks.add.func)


@pytest.mark.parametrize("result_id", ["0", "-1", "x", "", "9" * 30, "1.5", "²"])
def test_an_id_that_no_job_has_does_not_exist(tasks: ModuleType, result_id: str) -> None:
    with pytest.raises(framework.TaskResultDoesNotExist):
        tasks.add.get_result(result_id)


def test_a_job_that_is_no_framework_task_has_no_result(tasks: ModuleType) -> None:
    handle = tasks.own.enqueue("a")
    with pytest.raises(framework.TaskResultDoesNotExist, match="no task of Django's framework"):
        tasks.add.get_result(str(handle.id))


def test_a_result_of_another_task_is_a_mismatch(tasks: ModuleType) -> None:
    result = tasks.add.enqueue(1)
    with pytest.raises(mismatch()):
        tasks.send.get_result(result.id)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("dead", "FAILED"),
        ("cancelled", "FAILED"),
        ("expired", "FAILED"),
        ("succeeded", "SUCCESSFUL"),
    ],
)
def test_every_final_state_is_finished(
    sql: Sql, tasks: ModuleType, state: str, status: str
) -> None:
    result = tasks.add.enqueue(1)
    sql.execute("update pgqueue.jobs set state = %s, lease = lease + 1", [state])
    result.refresh()
    assert (result.status, result.is_finished) == (status, True)


def test_the_signal_comes_once_the_job_has_its_id(tasks: ModuleType, signals: Signals) -> None:
    result = tasks.add.enqueue(1)
    assert [(name, status) for name, status, _ in signals] == [("enqueued", "READY")]
    assert signals[0][2].id == result.id


def test_a_second_enqueue_with_a_key_returns_the_first_job(
    tasks: ModuleType, signals: Signals
) -> None:
    once = tasks.add.using(key="order-7")
    first, second = once.enqueue(1), once.enqueue(2)
    assert (first.created, second.created) == (True, False)
    assert (second.id, second.args) == (first.id, [1])
    assert len(signals) == 1


def test_a_key_that_outlives_its_job_still_names_it(sql: Sql, tasks: ModuleType) -> None:
    once = tasks.add.using(key="order-7", unique_for=3600)
    first = once.enqueue(1)
    sql.execute("delete from pgqueue.jobs")
    second = once.enqueue(1)
    assert (second.id, second.created) == (first.id, False)


def test_options_come_from_the_call_then_the_task_then_the_backend(tasks: ModuleType) -> None:
    def stored(task: Any) -> tuple[int, float | None]:
        job = Job.objects.get(pk=task.enqueue(1).id)
        return job.max_attempts, job.timeout

    patient = tasks.add.using(backend="patient")
    assert stored(tasks.add) == (1, None)
    assert stored(patient) == (3, 60)
    assert stored(job_options(max_attempts=9)(patient)) == (9, 60)
    assert stored(job_options(max_attempts=9)(patient).using(timeout=timedelta(minutes=2))) == (
        9,
        120,
    )


def test_job_options_leave_the_task_of_another_backend_alone(tasks: ModuleType) -> None:
    plain = tasks.task(backend="dummy")(tasks.add.func)
    assert job_options(key="k", max_attempts=3)(plain) is plain
    assert plain.enqueue(1).status == "READY"


def test_without_use_tz_times_are_naive_and_in_the_projects_zone(
    sql: Sql, tasks: ModuleType
) -> None:
    later = datetime(2040, 1, 1, 12)  # noqa: DTZ001 - naive on purpose
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        result = tasks.add.using(run_after=later).enqueue(1)
        found = tasks.add.get_result(result.id)
        assert found.task.run_after == later
        assert abs(found.enqueued_at - result.enqueued_at) < timedelta(seconds=5)
    [stored] = sql.execute("select run_at at time zone 'UTC' from pgqueue.jobs").fetchone() or [0]
    assert stored == later - timedelta(hours=9)


def test_meta_is_kept_with_the_job(tasks: ModuleType) -> None:
    result = tasks.add.using(meta={"trace": "abc"}).enqueue(1)
    assert Job.objects.get(pk=result.id).meta["trace"] == "abc"


def test_an_unknown_option_of_the_backend_is_refused(project: dict[str, str]) -> None:
    del project
    with pytest.raises(ImproperlyConfigured, match="no 'max_attempt'; it takes database"):
        PgQueueBackend("default", {"OPTIONS": {"max_attempt": 3}})
