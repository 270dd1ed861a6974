"""Limits of queues, and keys, from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]


def test_a_limit_is_set_listed_shown_and_taken_away(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    assert pgqueue("queues", "list").out == ""
    assert pgqueue("queues", "set", "mail", "--max-depth", "5").out == (
        "queue mail takes no new job while 5 or more due jobs wait in it\n"
    )
    assert pgqueue("queues", "list").out == "mail\t5\t0\t\t\n"
    connection.execute("update pgqueue.queues set depth = 6, is_full = true, counted_at = now()")
    [line] = pgqueue("queues", "list").out.splitlines()
    assert line.split("\t")[:4] == ["mail", "5", "6", "full"]
    [line] = pgqueue("status").out.splitlines()
    assert line.split("\t")[-2:] == ["5", "full"]
    assert json.loads(pgqueue("queues", "list", "--json").out)[0]["is_full"] is True
    refused = pgqueue("enqueue", "t", "--queue", "mail")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith('error: queue "mail" is full: 6 due jobs')
    assert pgqueue("queues", "set", "mail", "--max-depth", "none").out == (
        "queue mail has no limit\n"
    )
    assert pgqueue("enqueue", "t", "--queue", "mail").code == 0


def test_a_limit_that_is_none_is_refused(pgqueue: Run) -> None:
    for depth in ("0", "-1", "many", "1.5", "9" * 5000):
        answer = pgqueue("queues", "set", "mail", "--max-depth", depth)
        assert (answer.code, answer.out) == (2, "")


def test_an_enqueue_says_what_became_of_the_holder(pgqueue: Run) -> None:
    keyed = ("enqueue", "t", "--key", "k")
    assert pgqueue(*keyed, "--until", "started").out == "enqueued job 1\n"
    assert pgqueue(*keyed).out == "job 1 holds this key already: nothing was enqueued\n"
    assert pgqueue(*keyed, "--on-conflict", "replace").out == (
        "replaced job 1, which holds this key\n"
    )
    strict = pgqueue(*keyed, "--on-conflict", "raise")
    assert (strict.code, strict.out) == (1, "")
    assert strict.err == "error: job 1 holds the key 'k' in scope 't': nothing was enqueued\n"
    assert pgqueue(*keyed, "--on-conflict", "ignore").code == 2
    other = json.loads(pgqueue(*keyed, "--key-scope", "s", "--unique-for", "60", "--json").out)
    assert other == {"id": other["id"], "created": True, "changed": None}


def test_a_purge_deletes_what_waits_in_the_queue_and_nothing_else(
    pgqueue: Run, insert: Callable[..., int], connection: psycopg.Connection[Any]
) -> None:
    kept = [
        insert(queue="mail", state="running", worker_id=1),
        insert(queue="mail", state="dead"),
        insert(queue="other"),
    ]
    pgqueue("enqueue", "t", "--queue", "mail", "--key", "k")
    pgqueue("enqueue", "u", "--queue", "mail", "--delay", "600")
    insert(queue="mail", state="blocked")
    assert json.loads(pgqueue("queues", "purge", "mail", "--dry-run", "--json").out) == {
        "would_delete": 3
    }
    assert pgqueue("queues", "purge", "mail").code == 2
    assert pgqueue("queues", "purge", "mail", "--task", "u", "--yes").out == "deleted 1 job\n"
    assert pgqueue("queues", "purge", "mail", "--yes").out == "deleted 2 jobs\n"
    assert pgqueue("queues", "purge", "mail", "--yes").code == 5
    left = connection.execute("select id from pgqueue.jobs order by id").fetchall()
    assert [id_ for (id_,) in left] == kept
    assert connection.execute("select from pgqueue.idempotency_keys").fetchall() == []
