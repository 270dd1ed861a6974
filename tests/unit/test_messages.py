"""What a worker and its children say to each other comes out as it went in."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from pgqueue import outcome
from pgqueue.job import ClaimedJob
from pgqueue.outcome import Outcome
from pgqueue.worker import messages

JOB = ClaimedJob(
    id=2**62,
    lease=3,
    queue="default",
    task="shop.render",
    version=1,
    priority=-5,
    attempt=2,
    max_attempts=8,
    timeout=None,
    crash_count=1,
    suspect=False,
    expired=False,
    args='{"text": "one\\ntwo \\ud83d\\ude00", "n": ' + "9" * 5000 + "}",
    meta='{"a": 1}',
    run_at=820_551_845_678_901,
)

OUTCOMES: list[Any] = [
    outcome.Succeeded(1, 2, '{"text": "line\\nline"}'),
    outcome.Succeeded(1, 2, None),
    outcome.release(JOB, delay=1.5, reason="why\nnot"),
    outcome.crashed(JOB, "it died", 2),
    outcome.Ephemeral(1, 2, None),
    outcome.Settled(1, 2),
    outcome.Lost(1, 2),
    outcome.Doubtful(1, 2, outcome.interrupted(JOB, "cut")),
]


def read(line: bytes) -> dict[str, Any]:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    message: dict[str, Any] = json.loads(line)
    return message


def test_a_job_comes_out_as_it_went_in() -> None:
    assert messages.read_job(read(messages.job_line(JOB))) == JOB


@pytest.mark.parametrize("given", OUTCOMES, ids=lambda given: type(given).__name__)
def test_an_outcome_comes_out_as_it_went_in(given: Outcome) -> None:
    assert messages.read_outcome(read(messages.outcome_line(given))) == given


def test_every_kind_of_outcome_can_be_sent() -> None:
    assert {type(each) for each in OUTCOMES} == set(get_args(Outcome))


def test_crashes_are_counted_to_the_cap_and_give_the_attempt_back() -> None:
    second, last = outcome.crashed(JOB, "it died", 3), outcome.crashed(JOB, "it died", 2)
    assert (second.state, second.ending, second.crashed, second.refund) == (
        "ready",
        "retried",
        1,
        1,
    )
    assert (last.state, last.ending, last.crashed, last.refund) == ("dead", "dead", 1, 1)
    assert last.message == "it died (2 of 2)"
