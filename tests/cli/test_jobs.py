"""pgqueue jobs and pgqueue enqueue: what is printed where, and the exit codes."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]
    Insert = Callable[..., int]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def states(connection: psycopg.Connection[Any]) -> dict[int, str]:
    return dict(connection.execute("select id, state from pgqueue.jobs").fetchall())


def test_a_job_is_enqueued_by_name_with_its_options(pgqueue: Run) -> None:
    answer = pgqueue(
        *("enqueue", "mail.send", "--args", '{"to": "a"}', "--queue", "mail"),
        *("--priority", "-5", "--max-attempts", "3", "--timeout", "2.5", "--key", "k"),
        *("--run-at", "2999-01-01T00:00:00+00:00", "--ttl", "60", "--meta", '{"by": "ada"}'),
        "--json",
    )
    assert answer.code == 0
    handle = json.loads(answer.out)
    assert handle["created"] is True
    job = json.loads(pgqueue("jobs", "show", str(handle["id"]), "--json").out)
    expected = {"task": "mail.send", "args": {"to": "a"}, "queue": "mail", "priority": -5}
    assert {name: job[name] for name in expected} == expected
    assert (job["max_attempts"], job["timeout"], job["key"]) == (3, 2.5, "k")
    assert job["run_at"].startswith("2999-01-01")
    assert job["expires_at"].startswith("2999-01-01T00:01:00")
    assert job["meta"] == {"by": "ada"}


def test_a_job_expires_at_the_time_that_was_given(pgqueue: Run) -> None:
    pgqueue("enqueue", "t", "--expires-at", "2999-01-01T02:00:00+02:00")
    job = json.loads(pgqueue("jobs", "show", "1", "--json").out)
    assert job["expires_at"].startswith("2999-01-01T00:00:00")


def test_a_held_key_enqueues_nothing_and_says_so(pgqueue: Run) -> None:
    assert pgqueue("enqueue", "t", "--key", "k").out == "enqueued job 1\n"
    again = pgqueue("enqueue", "t", "--key", "k")
    assert (again.code, again.out) == (0, "job 1 holds this key already: nothing was enqueued\n")


@pytest.mark.parametrize(
    "text", ['[{"task": "a"}, {"task": "b"}]', '{"task": "a"}\n\n{"task": "b"}\n']
)
def test_jobs_come_from_standard_input_as_an_array_or_one_a_line(
    pgqueue: Run, stdin: Callable[[str], None], text: str
) -> None:
    stdin(text)
    assert pgqueue("enqueue", "-").out == "enqueued 2 jobs\n"
    lines = pgqueue("jobs", "list").out.splitlines()
    assert [line.split("\t")[3] for line in lines] == ["b", "a"]


def test_of_standard_input_all_is_enqueued_or_nothing(
    pgqueue: Run, stdin: Callable[[str], None]
) -> None:
    stdin('{"task": "a"}\n{"task": "b", "prio": 1}\n')
    answer = pgqueue("enqueue", "-")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: [1].prio")
    assert pgqueue("jobs", "list").out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("t", "--args", "[1]"), "--args '[1]': expected an object"),
        (("t", "--args", "{"), "--args '{' is not JSON"),
        (("t", "--args", '{"x": NaN}'), "args.x"),
        (("t", "--run-at", "tomorrow"), "'tomorrow' is not a time"),
        (("t", "--run-at", "2999-01-01T00:00:00"), "--run-at"),
        (("t", "--priority", "101"), "priority"),
        (("a b",), "task"),
        (("-", "--queue", "q"), "carry their own options"),
    ],
)
def test_a_wrong_enqueue_is_one_line_and_exit_code_2(
    pgqueue: Run, arguments: tuple[str, ...], words: str
) -> None:
    answer = pgqueue("enqueue", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_bad_lines_of_standard_input_are_named(pgqueue: Run, stdin: Callable[[str], None]) -> None:
    stdin('{"task": "a"}\nnonsense\n')
    answer = pgqueue("enqueue", "-")
    assert answer.code == 2
    assert "line 2: not JSON" in answer.err


def test_a_list_in_a_pipe_is_lines_of_cells_newest_first(pgqueue: Run, insert: Insert) -> None:
    first = insert(task="a", queue="q", priority=3, attempt=1, args='{"x": 1}')
    second = insert(task="b")
    lines = [line.split("\t") for line in pgqueue("jobs", "list").out.splitlines()]
    assert [line[0] for line in lines] == [str(second), str(first)]
    assert lines[1][1:6] == ["ready", "q", "a", "3", "1/8"]
    assert lines[1][8] == '{"x": 1}'


def test_filters_and_limits_choose_what_is_listed(pgqueue: Run, insert: Insert) -> None:
    dead = [insert(state="dead", queue=queue) for queue in ("a", "b", "c")]
    insert(queue="a")
    insert(state="dead", queue="a", task="other")

    def listed(*arguments: str) -> list[int]:
        return [job["id"] for job in json.loads(pgqueue("jobs", "list", "--json", *arguments).out)]

    both = ("--queue", "a", "--queue", "b", "--task", "t", "--state", "dead")
    assert listed(*both) == [dead[1], dead[0]]
    assert listed("--state", "dead", "--limit", "2") == [5, 3]


def test_a_list_is_50_jobs_unless_all_are_asked_for(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 1200)")
    assert len(pgqueue("jobs", "list").out.splitlines()) == 50
    everything = pgqueue("jobs", "list", "--all").out.splitlines()
    assert [int(line.split("\t")[0]) for line in everything] == list(range(1200, 0, -1))


def test_nothing_to_list_is_not_an_error(pgqueue: Run) -> None:
    assert pgqueue("jobs", "list") == pgqueue("jobs", "list", "--state", "dead")
    assert pgqueue("jobs", "list", "--json").out == "[]\n"
    assert pgqueue("jobs", "list").code == 0


def test_show_tells_everything_with_the_tracebacks(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    job_id = insert(state="dead", attempt=8, key="k", args='{"to": "a"}')
    connection.execute(
        "insert into pgqueue.attempts "
        "(job_id, lease, attempt, outcome, worker, error_type, message, traceback) "
        "values (%s, 1, 8, 'dead', 'host-1', 'ValueError', 'bad', %s)",
        [job_id, 'Traceback\n  File "x.py"\nValueError: bad'],
    )
    out = pgqueue("jobs", "show", str(job_id)).out
    for words in ("state:", "dead", '{"to": "a"}', "k in scope t", "attempt 8: dead", "host-1"):
        assert words in out
    assert '  Traceback\n    File "x.py"\n  ValueError: bad\n' in out
    document = json.loads(pgqueue("jobs", "show", str(job_id), "--json").out)
    assert document["attempts"][0]["error_type"] == "ValueError"


def test_data_cannot_steer_the_terminal(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    evil = "\x1b[2J\x9b\u202e\r\t"
    job_id = insert(args=json.dumps({"x": evil}, ensure_ascii=False), key=evil, task="t")
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, message, traceback) "
        "values (%s, 1, 1, 'dead', %s, %s)",
        [job_id, evil, evil],
    )
    for command in (("list",), ("show", "1"), ("show", "1", "--json"), ("list", "--json")):
        out = pgqueue("jobs", *command).out
        assert not set(out) & set("\x1b\x9b\u202e\r"), command
        assert out.count("\t") == (8 if command == ("list",) else 0)
    document = json.loads(pgqueue("jobs", "show", "1", "--json").out)
    assert document["args"] == {"x": evil}


@pytest.mark.parametrize("verb", ["requeue", "cancel", "delete"])
def test_an_action_needs_ids_or_a_filter_and_not_both(pgqueue: Run, verb: str) -> None:
    for arguments in ((), ("1", "--state", "dead"), ("1", "--all")):
        answer = pgqueue("jobs", verb, *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("error: name ")


@pytest.mark.parametrize("verb", ["requeue", "cancel", "delete"])
def test_where_nothing_matches_the_exit_code_is_5(pgqueue: Run, verb: str) -> None:
    by_filter = pgqueue("jobs", verb, "--all", *(("--yes",) if verb != "requeue" else ()))
    assert (by_filter.code, by_filter.err) == (5, "no jobs match\n")
    by_id = pgqueue("jobs", verb, "12345")
    assert (by_id.code, by_id.err) == (5, "error: no job has the id 12345\n")
    assert pgqueue("jobs", "show", "12345").code == 5


def test_jobs_are_acted_on_by_id(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    dead, ready, done = insert(state="dead"), insert(), insert(state="succeeded")
    assert pgqueue("jobs", "requeue", str(dead)).out == "requeued 1 job\n"
    assert pgqueue("jobs", "cancel", str(ready), str(dead)).out == "cancelled 2 jobs\n"
    assert pgqueue("jobs", "delete", str(done)).out == "deleted 1 job\n"
    assert states(connection) == {dead: "cancelled", ready: "cancelled"}


def test_a_running_job_is_asked_to_end(pgqueue: Run, insert: Insert) -> None:
    job_id = insert(state="running", worker_id=1)
    answer = pgqueue("jobs", "cancel", str(job_id))
    assert (answer.code, answer.out) == (0, "asked 1 job to end\n")


def test_what_is_refused_is_named_and_the_exit_code_is_1(pgqueue: Run, insert: Insert) -> None:
    ready, dead = insert(), insert(state="dead")
    answer = pgqueue("jobs", "requeue", str(ready), str(dead))
    assert (answer.code, answer.out) == (1, "requeued 1 job\n")
    assert answer.err.startswith(f"error: job {ready} is ready")
    document = json.loads(pgqueue("jobs", "requeue", str(ready), "--json").out)
    assert list(document["refused"]) == [str(ready)]


def test_requeue_by_filter_takes_dead_jobs_unless_told_otherwise(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    dead = insert(state="dead", queue="q")
    cancelled = insert(state="cancelled", queue="q")
    insert(state="dead", queue="other")
    assert pgqueue("jobs", "requeue", "--queue", "q").out == "requeued 1 job\n"
    assert states(connection)[dead] == "ready"
    assert pgqueue("jobs", "requeue", "--state", "cancelled").code == 0
    assert states(connection)[cancelled] == "ready"


def test_an_action_by_filter_stops_at_its_limit(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 1500)")
    answer = pgqueue("jobs", "cancel", "--all", "--limit", "1200", "--yes")
    assert answer.out == "cancelled 1200 jobs; 300 more match\n"
    assert sum(state == "ready" for state in states(connection).values()) == 300


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_a_bulk_action_where_nobody_can_be_asked_needs_yes(
    pgqueue: Run,
    insert: Insert,
    connection: psycopg.Connection[Any],
    stdin: Callable[[str], None],
    verb: str,
) -> None:
    insert()
    insert(state="dead")
    before = states(connection)
    stdin("y\n")
    answer = pgqueue("jobs", verb, "--all")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"error: to {verb} 1 job needs --yes where nobody can be asked\n"
    assert states(connection) == before


def test_status_counts_each_queue_and_lists_workers(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    insert(queue="q")
    insert(queue="q", run_at="2999-01-01")
    insert(queue="q", state="running", worker_id=1)
    insert(queue="other", state="dead")
    connection.execute(
        "insert into pgqueue.workers "
        "(name, hostname, pid, version, queues, concurrency, threads, ttl, heartbeat_at) "
        "values ('w', 'h', 7, '0.1', '{q,r}', 1, 1, '12 s', clock_timestamp()), "
        "('gone', 'h', 8, '0.1', '{q}', 1, 1, '12 s', '2024-01-01')"
    )
    lines = [line.split("\t") for line in pgqueue("status").out.splitlines()]
    assert lines[0] == ["queue", "other", "0", "0", "0", "", "1", "0", "0", "", ""]
    assert lines[1][:5] == ["queue", "q", "1", "1", "1"]
    assert [line[1:3] for line in lines[2:]] == [["w", "alive"], ["gone", "dead"]]
    document = json.loads(pgqueue("status", "--json").out)
    assert document["workers"][0]["running"] == {"value": 1, "more": False}
