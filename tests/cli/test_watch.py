"""pgqueue jobs watch: a job as it goes on."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.cli.watch import Rate, describe
from pgqueue.views import JobView, ProgressView
from tests.cli.test_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.cli.conftest import Answer

    Insert = Callable[..., int]
    Run = Callable[..., Answer]

NOW = datetime.now(UTC)


def say(connection: psycopg.Connection[Any], job_id: int, done: float) -> None:
    connection.execute(
        "insert into pgqueue.progress (job_id, lease, sequence, done, total, message) "
        "values (%s, 1, 1, %s, 200, 'rendering') "
        "on conflict (job_id) do update set done = excluded.done",
        [job_id, done],
    )


def job(said: ProgressView | None = None, **changes: Any) -> JobView:
    values: dict[str, Any] = dict.fromkeys(JobView.__dataclass_fields__)
    values |= {"id": 7, "task": "shop.report", "state": "running", "attempt": 1, "max_attempts": 8}
    values |= {"lease": 3, "attempts": (), "progress": said, "started_at": NOW, "read_at": NOW}
    return JobView(**values | changes)


def said(done: float, total: float | None = 200, **changes: Any) -> ProgressView:
    values: dict[str, Any] = {"message": None, "lease": 3, "reported_at": NOW, "age": 2.0}
    return ProgressView(done=done, total=total, **values | changes)


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (job(), r"job 7 \(shop.report\): running for \d+ s"),
        (job(state="ready"), r"job 7 \(shop.report\): ready"),
        (job(attempt=2), r"job 7 \(shop.report\): running for \d+ s, attempt 2 of 8"),
        (job(said(50)), r".*  \[#{6}\.{18}\]  25%  50 of 200  2 s ago"),
        (job(said(200)), r".*  \[#{24}\] 100%  200 of 200  2 s ago"),
        (job(said(250)), r".*  \[#{24}\] 100%  250 of 200  2 s ago"),
        (job(said(0, 0)), r".*  \[#{24}\] 100%  0 of 0  2 s ago"),
        (job(said(1234.5, None)), r".*: running for \d+ s  1,234.5  2 s ago"),
        (job(said(5, lease=1)), r".*  5 of 200  said by an earlier attempt"),
        (job(said(5, message="page 5", age=61)), r".*  5 of 200  1 min 1 s ago  page 5"),
        (
            job(said(200), state="succeeded", finished_at=NOW + timedelta(hours=2, minutes=3)),
            r"job 7 \(shop.report\): succeeded after 2 h 3 min  \[#{24}\] 100%  200 of 200",
        ),
    ],
)
def test_a_job_in_one_line(view: JobView, line: str) -> None:
    assert re.fullmatch(line, describe(view, Rate()))


def test_the_rate_is_that_of_the_running_attempt() -> None:
    rate = Rate()
    describe(job(said(20)), rate)
    later = NOW + timedelta(seconds=10)
    assert describe(job(said(70, reported_at=later)), rate).endswith(
        "70 of 200  5/s  about 26 s left  2 s ago"
    )
    again = describe(job(said(0, lease=5, reported_at=later), lease=5), rate)
    assert again.endswith("0 of 200  2 s ago")


def test_in_a_pipe_each_change_is_a_line(
    pgqueue: Run,
    insert: Insert,
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = insert(state="running", worker_id=1, lease=1, started_at="2026-01-01T00:00:00Z")
    say(connection, job_id, 50)
    query = "update pgqueue.jobs set state = %s, finished_at = now(), lease = 2 where id = %s"

    pauses: list[float] = []

    def end_in_the_second_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            say(connection, job_id, 200)
            connection.execute(query, ["succeeded", job_id])

    monkeypatch.setattr("pgqueue.cli.watch.time.sleep", end_in_the_second_pause)
    answer = pgqueue("jobs", "watch", str(job_id), "--every", "0.5")
    assert pauses == [0.5, 0.5]
    assert answer.code == 0
    first, *_, last = answer.out.splitlines()
    assert " 25%  50 of 200" in first
    assert "rendering" in first
    assert "succeeded after" in last
    assert "100%  200 of 200" in last


def test_a_job_that_did_not_succeed_is_told_and_is_a_failure(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    job_id = insert(state="dead")
    connection.execute(
        "insert into pgqueue.attempts (job_id, lease, attempt, outcome, error_type, message) "
        "values (%s, 1, 8, 'dead', 'ValueError', 'bad\x1b[2J')",
        [job_id],
    )
    answer = pgqueue("jobs", "watch", str(job_id))
    assert answer.code == 1
    assert answer.out == f"job {job_id} (t): dead  ValueError: bad\\u001b[2J\n"
    assert pgqueue("jobs", "watch", "987654").code == 5


def test_show_tells_the_progress(
    pgqueue: Run, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    job_id = insert(state="running", worker_id=1, lease=1)
    say(connection, job_id, 50)
    assert re.search(
        r"progress: +\[#{6}\.{18}\]  25%  50 of 200  \d s ago  rendering\n",
        pgqueue("jobs", "show", str(job_id)).out,
    )
    document = json.loads(pgqueue("jobs", "show", str(job_id), "--json").out)
    assert (document["progress"]["done"], document["progress"]["message"]) == (50, "rendering")


def test_on_a_terminal_the_line_is_rewritten(
    dsn: str, insert: Insert, connection: psycopg.Connection[Any]
) -> None:
    job_id = insert(state="running", worker_id=1, lease=1)
    say(connection, job_id, 50)
    connection.execute("update pgqueue.progress set message = repeat('rendering ', 19)")
    terminal = Terminal(dsn, "jobs", "watch", str(job_id), "--every", "0.1")
    terminal.read_until(" 25% ")
    connection.execute("update pgqueue.jobs set state = 'cancelled' where id = %s", [job_id])
    assert terminal.code() == 1
    assert "cancelled" in terminal.seen
    assert "\r\x1b[K" in terminal.seen
    assert terminal.seen.count("\n") == 1
    _, *shown, last = terminal.seen.split("\r\x1b[K")
    assert {len(line) for line in shown} == {89}  # of 90: a line that wraps is not rewritten
    assert "[####" not in shown[0]
    assert len(last) > 90
