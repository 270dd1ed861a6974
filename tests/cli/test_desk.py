"""The dead-letter desk: groups, previews, selections, edits, and what is told of them."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.cli import actions
from pgqueue.cli.filters import moment, span
from pgqueue.crypto import AesGcmCodec
from pgqueue.errors import ConfigError
from pgqueue.job import FINAL_STATES, STATES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]
    Insert = Callable[..., int]

A, B = "a" * 16, "b" * 16


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def died(insert: Insert, connection: psycopg.Connection[Any]) -> Callable[..., int]:
    """A dead job and the attempt that ended it."""

    def make(fingerprint: str = A, error: str = "ValueError", **columns: Any) -> int:
        job_id = insert(**{"state": "dead", "lease": 2, "finished_at": "now", **columns})
        connection.execute(
            "insert into pgqueue.attempts "
            "(job_id, lease, attempt, outcome, error_type, message, fingerprint) "
            "values (%s, 1, 1, 'dead', %s, 'bad', %s)",
            [job_id, error, fingerprint],
        )
        return job_id

    return make


def states(connection: psycopg.Connection[Any]) -> dict[int, str]:
    return dict(connection.execute("select id, state from pgqueue.jobs").fetchall())


# Groups


def test_groups_in_a_pipe_are_lines_of_cells(pgqueue: Run, died: Insert) -> None:
    first, second = died(task="pay"), died(task="pay", queue="q")
    third = died(B, "KeyError", task="pay")
    died(B, "KeyError", task="pay")
    lines = [line.split("\t") for line in pgqueue("jobs", "groups").out.splitlines()]
    assert lines[0][:6] == ["2", B, "dead", "pay", "default", "KeyError"]
    assert lines[0][8:] == [f"{third + 1},{third}", "bad"]
    assert [(line[0], line[4], line[8]) for line in lines[1:]] == [
        ("1", "q", str(second)),
        ("1", "default", str(first)),
    ]
    assert all(datetime.fromisoformat(line[6]) <= datetime.now(UTC) for line in lines)


def test_groups_take_filters_and_print_json(pgqueue: Run, died: Insert) -> None:
    died()
    died(B, "KeyError", queue="q")
    found = json.loads(pgqueue("jobs", "groups", "--queue", "q", "--json").out)
    [group] = found["groups"]
    assert (group["fingerprint"], group["jobs"]["value"]) == (B, 1)
    assert found["sampled"] == {"value": 1, "more": False}
    assert pgqueue("jobs", "groups", "--error-type", "none").out == ""
    assert pgqueue("jobs", "groups", "--state", "ready").code == 2


# Selections


def test_an_action_takes_what_killed_a_job(
    pgqueue: Run, died: Insert, connection: psycopg.Connection[Any]
) -> None:
    first, second, third = died(), died(B), died(B, "KeyError")
    assert pgqueue("jobs", "requeue", "--fingerprint", A).out == "requeued 1 job\n"
    answer = pgqueue("jobs", "delete", "--error-type", "KeyError", "--yes")
    assert answer.out == "deleted 1 job\n"
    assert states(connection) == {first: "ready", second: "dead"}
    assert third not in states(connection)


def test_an_action_takes_when_a_job_ended(
    pgqueue: Run, died: Insert, connection: psycopg.Connection[Any]
) -> None:
    old = died(finished_at=datetime.now(UTC) - timedelta(hours=5))
    recent = died()
    listed = pgqueue("jobs", "list", "--until", "2h").out.splitlines()
    assert [line.split("\t")[0] for line in listed] == [str(old)]
    assert pgqueue("jobs", "requeue", "--since", "2h").out == "requeued 1 job\n"
    assert states(connection) == {old: "dead", recent: "ready"}
    pgqueue("jobs", "requeue", "--until", (datetime.now(UTC) - timedelta(hours=4)).isoformat())
    assert states(connection)[old] == "ready"


def test_ids_come_from_a_pipe_as_jobs_list_prints_them(
    pgqueue: Run,
    died: Insert,
    stdin: Callable[[str], None],
    connection: psycopg.Connection[Any],
) -> None:
    ids = [died() for _ in range(3)]
    stdin(pgqueue("jobs", "list", "--state", "dead", "--limit", "2").out + "\n\n")
    assert pgqueue("jobs", "requeue", "-").out == "requeued 2 jobs\n"
    assert states(connection) == {ids[0]: "dead", ids[1]: "ready", ids[2]: "ready"}


@pytest.mark.parametrize("word", ["x", "-1", "1.5", "٣", "9" * 30])
def test_what_is_no_id_is_refused(
    pgqueue: Run, died: Insert, stdin: Callable[[str], None], word: str
) -> None:
    died()
    stdin(word)
    for arguments in (("-",), ("--", word)):
        answer = pgqueue("jobs", "requeue", *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert "is not the id of a job" in answer.err


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("text", ["yesterday", "5", "2w", "99999999d"])
def test_a_time_that_is_none_is_refused(pgqueue: Run, option: str, text: str) -> None:
    answer = pgqueue("jobs", "list", option, text)
    assert answer.code == 2
    assert f"{option} {text!r}: expected how long ago" in answer.err


def test_times_and_spans_as_people_type_them() -> None:
    ago = {"90s": 90, "15m": 900, "1.5h": 5400, "7d": 7 * 86400}
    for text, seconds in ago.items():
        passed = datetime.now(UTC) - moment("--since", text)
        assert abs(passed.total_seconds() - seconds) < 60
        assert span("--spread", text) == timedelta(seconds=seconds)
    assert moment("--since", "2026-11-22T03:00+01:00") == datetime(2026, 11, 22, 2, tzinfo=UTC)
    assert moment("--since", "2026-11-22").tzinfo is not None
    with pytest.raises(ConfigError, match="expected a length"):
        span("--spread", "soon")


# Previews and caps


@pytest.mark.parametrize("verb", ["requeue", "delete", "cancel"])
def test_a_dry_run_says_how_many_and_which_and_does_nothing(
    pgqueue: Run, died: Insert, insert: Insert, connection: psycopg.Connection[Any], verb: str
) -> None:
    ids = [died() if verb != "cancel" else insert(state="ready") for _ in range(3)]
    before = states(connection)
    answer = pgqueue("jobs", verb, "--all", "--dry-run")
    assert answer.code == 0
    assert answer.out.startswith(f"would {verb} 3 jobs\n3\t")
    document = json.loads(pgqueue("jobs", verb, "--all", "--dry-run", "--json").out)
    assert (document["jobs"], document["looked_at"]) == (3, 3)
    assert document["groups"][0]["ids"] == ids[::-1]
    assert states(connection) == before


def test_a_dry_run_of_named_jobs_and_of_none(pgqueue: Run, died: Insert) -> None:
    assert pgqueue("jobs", "requeue", str(died()), "--dry-run").out.startswith(
        "would requeue 1 job"
    )
    answer = pgqueue("jobs", "requeue", "--task", "none", "--dry-run")
    assert (answer.code, answer.out) == (5, "would requeue 0 jobs\n")


@pytest.mark.parametrize("verb", ["requeue", "delete"])
def test_more_than_the_cap_must_be_asked_for(
    pgqueue: Run,
    died: Insert,
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    monkeypatch.setattr(actions, "CAP", 3)
    for _ in range(6):
        died()
    answer = pgqueue("jobs", verb, "--state", "dead", "--yes"[: 5 * (verb == "delete")] or "--json")
    assert (answer.code, answer.out) == (2, "")
    assert f"more than 3 jobs match: {verb} the oldest with --limit N, or all" in answer.err
    assert set(states(connection).values()) == {"dead"}
    preview = pgqueue("jobs", verb, "--state", "dead", "--dry-run")
    assert preview.out.startswith(f"would {verb} 6 jobs; the oldest 3 of them are:\n3\t")
    yes = ("--yes",) if verb == "delete" else ()
    some = pgqueue("jobs", verb, "--state", "dead", "--limit", "2", *yes)
    assert some.out == f"{verb}d 2 jobs; 4 more match\n"
    rest = pgqueue("jobs", verb, "--state", "dead", "--all", *yes)
    assert rest.out == f"{verb}d 4 jobs\n"


def test_json_tells_of_each_job_and_of_what_is_left(pgqueue: Run, died: Insert) -> None:
    ids = [died() for _ in range(3)]
    done = json.loads(pgqueue("jobs", "requeue", "--all", "--limit", "2", "--json").out)
    assert done["done"] == {str(id_): "requeued" for id_ in ids[:2]}
    assert (done["refused"], done["left"]) == ({}, {"value": 1, "more": False})
    assert json.loads(pgqueue("jobs", "requeue", "--all", "--json").out)["left"] is None


def test_many_refusals_are_not_all_printed(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("insert into pgqueue.jobs (task) select 't' from generate_series(1, 50)")
    answer = pgqueue("jobs", "requeue", *map(str, range(1, 51)))
    assert (answer.code, answer.out) == (1, "")
    lines = answer.err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "error: 30 more were refused"


def test_a_long_requeue_says_how_far_it_is(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(
        "insert into pgqueue.jobs (task, state) select 't', 'dead' from generate_series(1, 12000)"
    )
    answer = pgqueue("jobs", "requeue", "--all", "--spread", "10m")
    assert (answer.code, answer.out) == (0, "requeued 12000 jobs\n")
    assert answer.err == "10000 jobs so far\n"
    query = "select count(distinct date_trunc('minute', run_at)) >= 10 from pgqueue.jobs"
    assert connection.execute(query.encode()).fetchone() == (True,)


def test_what_was_done_before_an_error_is_told(
    pgqueue: Run, connection: psycopg.Connection[Any], dsn: str
) -> None:
    """The first batches are committed, whatever becomes of the next."""
    connection.execute(
        "insert into pgqueue.jobs (task, state) select 't', 'dead' from generate_series(1, 1500)"
    )
    connection.execute(
        "alter table pgqueue.jobs add check (id <> 1200 or state = 'dead')"  # as a stand-in
    )
    del dsn
    answer = pgqueue("jobs", "requeue", "--all")
    assert (answer.code, answer.out) == (1, "requeued 1000 jobs\n")
    assert "the database refused (23514)" in answer.err
    assert list(states(connection).values()).count("ready") == 1000


# Who, and new arguments


def test_a_requeue_keeps_who_asked(pgqueue: Run, died: Insert, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    first, second = died(), died()
    pgqueue("jobs", "requeue", str(first))
    pgqueue("jobs", "requeue", str(second), "--by", "ticket 17")
    shown = json.loads(pgqueue("jobs", "show", str(first), "--json").out)
    assert shown["attempts"][1]["actor"].startswith("ada@")
    assert shown["requeues"] == 1
    text = pgqueue("jobs", "show", str(second)).out
    assert "requeued: once" in text
    assert " by ticket 17\n" in text
    assert f"  fingerprint {A}\n" in text


def test_arguments_are_edited(pgqueue: Run, died: Insert) -> None:
    job_id = str(died(args='{"to": "a", "n": 1}'))
    answer = pgqueue("jobs", "requeue", job_id, "--set", "to=b@c", "--set", "n=[2]")
    assert answer.out == "requeued 1 job\n"
    assert "checked as JSON alone; -A module:app" in answer.err
    shown = pgqueue("jobs", "show", job_id).out
    assert '{"n": [2], "to": "b@c"}' in shown
    assert '  arguments changed: n, to\n  they were: {"n": 1, "to": "a"}\n' in shown


def test_all_arguments_are_replaced(pgqueue: Run, died: Insert) -> None:
    job_id = str(died(args='{"to": "a"}'))
    pgqueue("jobs", "requeue", job_id, "--args", '{"x": 1}')
    assert json.loads(pgqueue("jobs", "show", job_id, "--json").out)["args"] == {"x": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1", "--args", "[1]"), "expected an object"),
        (("1", "--args", "{"), "is not JSON"),
        (("1", "--set", "x"), "expected NAME=VALUE"),
        (("1", "--set", "=x"), "expected NAME=VALUE"),
        (("1", "--set", "x=1", "--args", "{}"), "not both"),
        (("1", "2", "--set", "x=1"), "for one job"),
        (("--all", "--set", "x=1"), "for one job"),
        (("-", "--args", "{}"), "for one job"),
        (("1", "--spread", "soon"), "--spread 'soon': expected a length"),
        (("1", "--rate", "0"), "rate=0.0: expected jobs in a second"),
        (("1", "--by", "a\nb"), "expected who asks"),
    ],
)
def test_an_option_that_cannot_be_meant_changes_nothing(
    pgqueue: Run,
    died: Insert,
    connection: psycopg.Connection[Any],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    died()
    answer = pgqueue("jobs", "requeue", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert set(states(connection).values()) == {"dead"}


SHOP = """
from pgqueue import PgQueue
from pgqueue.crypto import AesGcmCodec

app = PgQueue(codec=AesGcmCodec({{"k": {key!r}}}))

@app.task(name="desk.login")
def login(user: int, secret: str) -> None: ...
"""


def test_with_the_app_arguments_are_checked_by_the_task_and_encrypted(
    pgqueue: Run,
    connection: psycopg.Connection[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dsn: str,
) -> None:
    key = AesGcmCodec.generate_key()
    (tmp_path / "desk_shop.py").write_text(SHOP.format(key=key))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with PgQueue(dsn, codec=AesGcmCodec({"k": key})) as safe:

        @safe.task(name="desk.login")
        def login(user: int, secret: str) -> None: ...

        job_id = login.enqueue(1, "s3cret").id
        connection.execute("update pgqueue.jobs set state = 'dead', lease = 2")
        edit = ("jobs", "requeue", str(job_id), "--set")
        without = pgqueue(*edit, "user=2")
        assert (without.code, without.out) == (1, "")
        assert "edit them where the app with its key is" in without.err
        wrong = pgqueue(*edit, "user=ada", "-A", "desk_shop:app")
        assert wrong.code == 2
        assert "args.user: 'ada' is refused" in wrong.err
        done = pgqueue(*edit, "user=2", "-A", "desk_shop:app")
        assert (done.code, done.out, done.err) == (0, "requeued 1 job\n", "")
        assert safe.job(job_id).args == {"user": 2, "secret": "s3cret"}
    shown = pgqueue("jobs", "show", str(job_id)).out
    assert "s3cret" not in shown
    assert "they were: encrypted by aesgcm with the key k" in shown


def test_an_action_needs_to_know_its_states() -> None:
    """A new state must be thought of: it is either live or final."""
    assert set(actions.LIVE_STATES) | set(FINAL_STATES) == set(STATES)
