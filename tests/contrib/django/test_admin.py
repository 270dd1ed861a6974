"""The admin: what it shows, what it does, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from pgqueue.contrib.django import app
from pgqueue.contrib.django.models import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    import psycopg

    Sql = psycopg.Connection[Any]

LIST = "/admin/pgqueue/job/"


@pytest.fixture
def client_of(sql: Sql) -> Iterator[Callable[..., Client]]:
    """A logged-in member of staff with these permissions."""

    def make(*permissions: str) -> Client:
        user, _ = User.objects.get_or_create(username="staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    yield make
    app.close()
    sql.execute("delete from django_admin_log")


@pytest.fixture
def operator(client_of: Any) -> Client:
    made: Client = client_of("view_job", "requeue_job", "cancel_job", "delete_job", "view_worker")
    return made


@pytest.fixture
def dead(sql: Sql, tasks: ModuleType) -> str:
    """A dead job with an attempt and its traceback."""
    result = tasks.add.enqueue(1)
    sql.execute("update pgqueue.jobs set state = 'dead', lease = 2, attempt = 1, result = '{}'")
    sql.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, worker, error_type, "
        "message, traceback) values (%s, 1, 1, 'dead', 'host:1', 'ValueError', 'out of tea', "
        "'Traceback <script>alert(1)</script>')",
        [result.id],
    )
    return str(result.id)


def state(sql: Sql, job_id: str) -> str | None:
    row = sql.execute("select state from pgqueue.jobs where id = %s", [job_id]).fetchone()
    return row[0] if row else None


def test_the_list_shows_jobs_newest_first(tasks: ModuleType, operator: Client) -> None:
    first, second = tasks.add.enqueue(1), tasks.send.enqueue("you")
    page = operator.get(LIST).content.decode()
    assert page.index(f"/{second.id}/change/") < page.index(f"/{first.id}/change/")
    assert "tests.contrib.django.store.tasks.send" in page
    assert "0/1" in page


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=ready", 2),
        ("state__exact=dead", 0),
        ("queue=mail", 1),
        ("task=tests.contrib.django.store.tasks.add", 1),
        ("queue=unknown", 0),
        ("q=tests.contrib.django.store.tasks.s", 1),
        ("q=order-7", 1),
        ("q=%20", 2),
        ("q=99999999999999999999999", 0),
    ],
)
def test_filters_and_search(tasks: ModuleType, operator: Client, query: str, count: int) -> None:
    tasks.add.using(key="order-7").enqueue(1)
    tasks.send.enqueue("you")
    page = operator.get(f"{LIST}?{query}", follow=True)
    assert page.context["cl"].result_count == count


def test_search_finds_an_id(tasks: ModuleType, operator: Client) -> None:
    result = tasks.add.enqueue(1)
    tasks.add.enqueue(2)
    page = operator.get(f"{LIST}?q={result.id}")
    assert [job.pk for job in page.context["cl"].result_list] == [int(result.id)]


def test_a_jobs_page_shows_how_far_it_is(sql: Sql, tasks: ModuleType, operator: Client) -> None:
    job_id = tasks.add.enqueue(1).id
    assert "of 1,200" not in operator.get(f"{LIST}{job_id}/change/").content.decode()
    sql.execute(
        "insert into pgqueue.progress (job_id, lease, sequence, done, total, message) "
        "values (%s, 1, 1, 300, 1200, 'page <5>')",
        [job_id],
    )
    page = operator.get(f"{LIST}{job_id}/change/").content.decode()
    assert "300 of 1,200, page &lt;5&gt; (" in page


def test_a_jobs_page_hides_what_its_task_redacts(
    sql: Sql, tasks: ModuleType, operator: Client
) -> None:
    job_id = tasks.add.enqueue(1).id
    sql.execute(
        "update pgqueue.jobs set args = %s, meta = %s",
        [
            '{"args": [1], "kwargs": {"token": "sesame"}}',
            '{"tenant": "acme", "$pgqueue": {"redact": ["token"]}}',
        ],
    )
    page = operator.get(f"{LIST}{job_id}/change/").content.decode()
    assert "sesame" not in page
    assert "***" in page
    assert "acme" in page
    assert "$pgqueue" not in page


def test_a_jobs_page_shows_its_attempts_and_escapes_them(dead: str, operator: Client) -> None:
    page = operator.get(f"{LIST}{dead}/change/").content.decode()
    assert "out of tea" in page
    assert "Traceback &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


def test_a_jobs_page_offers_what_its_state_allows(
    tasks: ModuleType, dead: str, operator: Client
) -> None:
    waiting = tasks.send.enqueue("you").id
    page = operator.get(f"{LIST}{dead}/change/").content.decode()
    assert f"{dead}/act/requeue/" in page
    assert f"{dead}/act/cancel/" not in page
    page = operator.get(f"{LIST}{waiting}/change/").content.decode()
    assert f"{waiting}/act/cancel/" in page
    assert f"{waiting}/act/requeue/" not in page


def test_the_buttons_do_what_they_say(sql: Sql, dead: str, operator: Client) -> None:
    for verb, after in (("requeue", "ready"), ("cancel", "cancelled"), ("delete", None)):
        page = operator.post(f"{LIST}{dead}/act/{verb}/", {"confirmed": "yes"}, follow=True)
        assert page.status_code == 200
        assert state(sql, dead) == after
        assert (" by staff</summary>" in page.content.decode()) is (verb != "delete")
    logged = sql.execute("select change_message from django_admin_log order by id").fetchall()
    assert [row[0] for row in logged] == [
        f"{word} (pgqueue)" for word in ("requeued", "cancelled", "deleted")
    ]


@pytest.mark.parametrize(
    ("action", "after"), [("requeue_jobs", "ready"), ("delete_jobs", None), ("cancel_jobs", "dead")]
)
def test_the_actions_of_the_list(
    sql: Sql, dead: str, operator: Client, action: str, after: str | None
) -> None:
    form = {"action": action, "_selected_action": [dead], "confirmed": "yes"}
    page = operator.post(LIST, form, follow=True)
    assert state(sql, dead) == after
    said = " ".join(str(message) for message in page.context["messages"])
    assert ("already dead" in said) == (action == "cancel_jobs")


@pytest.mark.parametrize("by", ["list", "button"])
def test_a_delete_is_asked_for_twice(sql: Sql, dead: str, operator: Client, by: str) -> None:
    address = LIST if by == "list" else f"{LIST}{dead}/act/delete/"
    form = {"action": "delete_jobs", "_selected_action": [dead]}
    page = operator.post(address, form)
    assert "1 job selected" in page.content.decode()
    assert state(sql, dead) == "dead"
    operator.post(address, {**dict(page.context["fields"]), "confirmed": "yes"})
    assert state(sql, dead) is None


def test_without_the_permission_nothing_is_offered_or_done(
    sql: Sql, dead: str, client_of: Any
) -> None:
    viewer = client_of("view_job")
    page = viewer.get(f"{LIST}{dead}/change/").content.decode()
    assert "/act/" not in page
    assert "requeue_jobs" not in viewer.get(LIST).content.decode()
    assert viewer.post(f"{LIST}{dead}/act/requeue/").status_code == 403
    viewer.post(LIST, {"action": "requeue_jobs", "_selected_action": [dead]})
    assert state(sql, dead) == "dead"


def test_without_the_view_permission_there_is_no_page(dead: str, client_of: Any) -> None:
    for address in (LIST, f"{LIST}{dead}/change/"):
        assert client_of().get(address).status_code == 403
        assert Client().get(address).status_code == 302


def test_nobody_adds_or_edits_a_job(sql: Sql, dead: str, operator: Client) -> None:
    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(f"{LIST}{dead}/change/", {"state": "ready"}).status_code == 403
    assert operator.post(f"{LIST}{dead}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{LIST}{dead}/act/requeue/").status_code == 405
    assert operator.post(f"{LIST}{dead}/act/unknown/").status_code == 403
    assert state(sql, dead) == "dead"


def test_the_workers_are_listed(sql: Sql, operator: Client) -> None:
    sql.execute(
        "insert into pgqueue.workers (name, hostname, pid, version, queues, concurrency, threads, "
        "ttl) values ('host:7', 'host', 7, '1', '{default}', 1, 1, '12 s')"
    )
    assert "host:7" in operator.get("/admin/pgqueue/worker/").content.decode()


def test_a_long_list_is_counted_no_further_than_the_cap(
    sql: Sql, tasks: ModuleType, operator: Client
) -> None:
    del tasks
    sql.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 10050)")
    assert operator.get(LIST).context["cl"].result_count == 10_000
    assert Job.objects.count() == 10_050
