"""What people and scripts type by mistake: a sentence and exit code 2, and nothing is done."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue.cli.failures import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]
    Insert = Callable[..., int]

BEYOND = str(2**63)
MANY_DIGITS = '{"a": ' + "9" * 5000 + "}"


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return give


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("enqueue", "t", "--args", MANY_DIGITS), '--args \'{"a": 999'),
        (("enqueue", "t", "--meta", "[]"), "--meta '[]': expected an object"),
        (("enqueue", "t", "--expires-at", "2030-01-31T09:00:00"), "time with its offset"),
        (("enqueue", "t", "--run-at", "2030-01-31T09:00:00"), "time with its offset"),
        (("enqueue", "t", "--ttl", "0"), "ttl: 0.0 is refused"),
        (
            ("enqueue", "t", "--ttl", "5", "--expires-at", "2999-01-01T00:00:00Z"),
            "either ttl or expires_at",
        ),
        (("jobs", "requeue", "1", "--args", MANY_DIGITS), "is not JSON"),
        (("jobs", "requeue", "1", "--rate", "1e-300"), "0.001 or more"),
        (("jobs", "requeue", "--all", "--limit", BEYOND), "--limit"),
        (("jobs", "list", "--queue", "\udcff"), "is not utf-8 text"),
        (("queues", "purge", "\udcff"), "is not utf-8 text"),
        (("migrate", "grants", "--reader", "\udcff"), "is not utf-8 text"),
        (("status", "--dsn", "\udcff"), "is not utf-8 text"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(
    pgqueue: Run, arguments: tuple[str, ...], words: str
) -> None:
    answer = pgqueue(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert len(answer.err) < 500


def test_a_role_without_rights_is_told_who_prints_them() -> None:
    code, text = explain(psycopg.errors.InsufficientPrivilege("permission denied for table jobs"))
    assert code == 1
    assert "pgqueue migrate grants" in text


def test_a_value_that_python_cannot_hold_is_no_lost_connection(
    pgqueue: Run, insert: Insert
) -> None:
    insert(created_at="infinity")
    answer = pgqueue("jobs", "list")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: what the database answered cannot be read: timestamp")


@pytest.mark.parametrize("command", ["show", "watch"])
def test_an_id_beyond_all_ids_is_not_found(pgqueue: Run, command: str) -> None:
    answer = pgqueue("jobs", command, BEYOND)
    assert (answer.code, answer.err) == (5, f"error: no job has the id {BEYOND}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete", "--state", "dead", "--until", "", "--yes"),
        ("delete", "--state", "dead", "--since", "", "--yes"),
        ("delete", "--state", "dead", "--yes", "--dsn", ""),
        ("requeue", "--state", "dead", "--spread", ""),
        ("requeue", "--state", "dead", "--by", ""),
    ],
)
def test_an_empty_option_is_refused_and_not_taken_for_none(
    pgqueue: Run,
    insert: Insert,
    connection: psycopg.Connection[Any],
    arguments: tuple[str, ...],
) -> None:
    insert(state="dead")
    answer = pgqueue("jobs", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert connection.execute("select state from pgqueue.jobs").fetchall() == [("dead",)]


@pytest.mark.parametrize(
    "options", [("--sql",), ("--check",), ("--to", "0001"), ("--lock-timeout", "3")]
)
def test_options_of_migrate_before_a_subcommand_are_refused(
    pgqueue: Run, connection: psycopg.Connection[Any], options: tuple[str, ...]
) -> None:
    answer = pgqueue("migrate", *options, "down", "base", "--yes")
    assert answer.code == 2
    assert f"{options[0]} is not for migrate down" in answer.err
    assert connection.execute("select to_regclass('pgqueue.jobs') is not null").fetchone() == (
        True,
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"task": "t", "args": {"a": NaN}}', "line 1: not JSON: NaN is no number"),
        (b'{"task": "t"}\n{"task": "t\xff"}', "standard input is not utf-8 text"),
    ],
)
def test_what_is_piped_in_and_is_no_json_is_a_sentence(
    pgqueue: Run, stdin: Callable[[bytes], None], data: bytes, words: str
) -> None:
    stdin(data)
    answer = pgqueue("enqueue", "-")
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_ids_that_are_no_text_are_a_sentence(pgqueue: Run, stdin: Callable[[bytes], None]) -> None:
    stdin(b"1\n\xff\n")
    answer = pgqueue("jobs", "cancel", "-")
    assert answer.code == 2
    assert "standard input is not utf-8 text" in answer.err


def test_lines_of_jobs_may_hold_other_ends_of_lines_in_their_text(
    pgqueue: Run, stdin: Callable[[bytes], None]
) -> None:
    text = "a\u2028b\u0085c"
    jobs = [{"task": "t", "args": {"text": text}}, {"task": "u"}]
    stdin("\r\n".join(json.dumps(job, ensure_ascii=False) for job in jobs).encode())
    assert pgqueue("enqueue", "-").out == "enqueued 2 jobs\n"
    shown = json.loads(pgqueue("jobs", "show", "1", "--json").out)
    assert shown["args"] == {"text": text}


def test_what_the_encoding_of_the_output_lacks_is_escaped(dsn: str, insert: Insert) -> None:
    value = "f\u00fcnf \U0001f600"
    insert(task="t", args=json.dumps({"text": value}))

    def shown(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pgqueue", "jobs", "show", "1", *options],
            env=os.environ | {"PGQUEUE_DATABASE_URL": dsn, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=True,
        )
        return done.stdout.decode("ascii")

    assert json.loads(shown("--json"))["args"] == {"text": value}
    assert r"f\u00fcnf \ud83d\ude00" in shown()


def in_a_shell(dsn: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of pgqueue with redirections."""
    return subprocess.run(
        ["sh", "-c", f"{sys.executable} -m pgqueue {command}"],
        env=os.environ | {"PGQUEUE_DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("stream", ["0<&-", "1>&-", "2>&-"])
def test_a_closed_stream_stops_nothing(
    dsn: str, connection: psycopg.Connection[Any], stream: str
) -> None:
    done = in_a_shell(dsn, f"enqueue t {stream}")
    assert (done.returncode, done.stderr) == (0, "")
    assert connection.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)


def test_nothing_comes_from_a_standard_input_that_is_closed(dsn: str) -> None:
    done = in_a_shell(dsn, "jobs cancel - <&-")
    assert (done.returncode, done.stderr) == (5, "no jobs match\n")
