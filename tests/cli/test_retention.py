"""How long jobs are kept, and a prune by hand, from the command line."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import pruning
from pgqueue.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]
    Insert = Callable[..., int]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _said(connection: psycopg.Connection[Any]) -> None:
    pruning.announce(connection, Settings(), [])


@pytest.fixture
def ended(insert: Insert) -> Insert:
    def make(state: str, days: float) -> int:
        at = datetime.now(UTC) - timedelta(days=days)
        return insert(state=state, created_at=at, finished_at=at)

    return make


def test_rules_are_listed_set_and_taken_back(pgqueue: Run) -> None:
    assert pgqueue("retention", "list").out.splitlines() == [
        "*\tcancelled\t7d\tdefault",
        "*\tdead\tforever\tdefault",
        "*\texpired\t7d\tdefault",
        "*\tsucceeded\t1d\tdefault",
    ]
    assert pgqueue("retention", "set", "*", "dead", "30d").out == (
        "dead jobs of all other tasks are kept for 30d after their end\n"
    )
    assert pgqueue("retention", "set", "t", "succeeded", "forever").out == (
        "succeeded jobs of t are kept for ever\n"
    )
    found = json.loads(pgqueue("retention", "list", "--json").out)
    assert {"task": "*", "state": "dead", "keep": 2592000.0, "set_by": "operator"} in found
    assert pgqueue("retention", "reset", "t", "succeeded").code == 0
    again = pgqueue("retention", "reset", "t", "succeeded")
    assert (again.code, again.err) == (5, "nothing was set for t succeeded\n")


@pytest.mark.parametrize(
    "arguments", [("*", "dead", "soon"), ("*", "ready", "1d"), ("a b", "dead", "1d")]
)
def test_what_cannot_hold_is_refused(pgqueue: Run, arguments: tuple[str, ...]) -> None:
    answer = pgqueue("retention", "set", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "expected" in answer.err


def test_a_prune_by_hand_says_what_it_would_do_and_does_it(
    pgqueue: Run, ended: Insert, connection: psycopg.Connection[Any]
) -> None:
    for state in ("succeeded", "succeeded", "cancelled", "dead"):
        ended(state, 9)
    assert pgqueue("prune", "--dry-run").out == "t\tcancelled\t1\nt\tsucceeded\t2\n"
    assert json.loads(pgqueue("prune", "--dry-run", "--state", "cancelled", "--json").out) == [
        {"task": "t", "state": "cancelled", "jobs": 1}
    ]
    assert pgqueue("prune").out == "deleted 3 jobs\n"
    assert json.loads(pgqueue("prune", "--json").out) == {"deleted": 0}
    [(state,)] = connection.execute("select state from pgqueue.jobs")
    assert state == "dead"


def test_a_prune_by_age_asks_first(
    pgqueue: Run, ended: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended("succeeded", 0.5)
    age = ("prune", "--older-than", "6h")
    nobody = pgqueue(*age)
    assert (nobody.code, nobody.out) == (2, "")
    assert nobody.err == "error: to delete 1 job by age needs --yes where nobody can be asked\n"
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert pgqueue(*age).code == 1
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert pgqueue(*age).out == "deleted 1 job\n"
    ended("dead", 0.5)
    assert pgqueue(*age, "--yes").out == "deleted 0 jobs\n"
    assert pgqueue(*age, "--state", "dead", "--yes").out == "deleted 1 job\n"
    assert pgqueue("prune", "--older-than", "forever").code == 2


def test_status_warns_of_old_dead_jobs(pgqueue: Run, ended: Insert) -> None:
    assert pgqueue("status").err == ""
    ended("dead", 31)
    answer = pgqueue("status")
    assert answer.err.startswith("warning: 1 dead jobs are kept, one for 31 days")
    assert json.loads(pgqueue("status", "--json").out)["upkeep"]["dead"]["value"] == 1


def test_a_prune_before_anybody_said_anything_says_why_it_does_nothing(
    pgqueue: Run, ended: Insert, connection: psycopg.Connection[Any]
) -> None:
    ended("succeeded", 9)
    connection.execute("truncate pgqueue.retention")
    answer = pgqueue("prune")
    assert answer.out == "deleted 0 jobs\n"
    assert answer.err.startswith("nobody has said yet how long jobs are kept")
    assert pgqueue("prune", "--older-than", "1d", "--yes").out == "deleted 1 job\n"
