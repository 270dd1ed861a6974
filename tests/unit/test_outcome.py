"""What becomes of a job: decide() has an answer for whatever a handler raises."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgqueue import outcome
from pgqueue.errors import Cancel, Dead, InvalidPayload, PayloadTooLarge, Retry, Snooze
from pgqueue.outcome import MAX_MESSAGE, MAX_TRACEBACK, JobTimeout, Unsuccessful, clean, decide
from pgqueue.retry import MAX_DELAY, fixed
from tests.unit.claims import claimed_job

JOB = claimed_job(attempt=2, max_attempts=8)
LAST = claimed_job(attempt=8, max_attempts=8)


class Transient(Retry):
    pass


class Hopeless(Dead):
    pass


def raised(error: BaseException) -> BaseException:
    """The error with a traceback: raised by a handler, caught by its executor."""

    def handler() -> None:
        raise error

    try:
        handler()
    except BaseException as caught:  # noqa: BLE001 - as executors do
        return caught
    raise AssertionError


def holds(text: str | None) -> bool:
    """Whether PostgreSQL can hold the text."""
    return text is None or b"\0" not in text.encode()


def test_an_error_is_retried_by_the_rule_and_kept_with_its_traceback() -> None:
    ended = decide(raised(KeyError("missing")), JOB, fixed(30))
    assert (ended.id, ended.lease, ended.state, ended.ending) == (7, 3, "ready", "retried")
    assert (ended.delay, ended.refund) == (30, 0)
    assert (ended.error_type, ended.message) == ("KeyError", "'missing'")
    assert ended.traceback is not None
    assert ended.traceback.startswith("Traceback (most recent call last):")
    assert ended.traceback.rstrip().endswith("KeyError: 'missing'")


def test_the_traceback_starts_at_the_handler_and_not_at_the_executor() -> None:
    traceback = decide(raised(KeyError("x")), JOB, fixed(1)).traceback
    assert traceback is not None
    assert "in handler" in traceback
    assert "in raised" not in traceback


def test_the_last_attempt_makes_it_dead_even_if_the_handler_asks_for_a_retry() -> None:
    for error in (KeyError(), Retry("again", after=1), Transient()):
        ended = decide(error, LAST, fixed(1))
        assert (ended.state, ended.ending, ended.delay, ended.refund) == ("dead", "dead", 0, 0)


@pytest.mark.parametrize("error", [Dead("no"), Hopeless("no"), InvalidPayload("no")])
def test_what_no_retry_can_help_is_dead_at_once(error: Exception) -> None:
    assert decide(error, JOB, fixed(1)).state == "dead"


def test_a_result_that_is_too_large_is_dead_at_once() -> None:
    assert decide(PayloadTooLarge("2 MiB"), JOB, fixed(1)).ending == "dead"


@pytest.mark.parametrize(
    ("error", "dead_on", "state"),
    [
        (KeyError(), (LookupError,), "dead"),
        (KeyError(), (ValueError,), "ready"),
        (SystemExit(1), (SystemExit,), "dead"),
        (Transient(), (Transient,), "dead"),
        (Hopeless(), (Hopeless,), "dead"),
        (Transient(), (ValueError,), "ready"),
    ],
)
def test_exceptions_in_dead_on_are_never_retried(
    error: BaseException, dead_on: tuple[type[BaseException], ...], state: str
) -> None:
    assert decide(error, JOB, fixed(1), dead_on).state == state


def test_the_handlers_own_word_outranks_a_class_that_happens_to_cover_it() -> None:
    everything = (Exception,)
    assert decide(Retry(after=5), JOB, fixed(1), everything).delay == 5
    assert decide(Snooze(5), JOB, fixed(1), everything).state == "ready"
    assert decide(Cancel("off"), JOB, fixed(1), everything).state == "cancelled"
    assert decide(KeyError(), JOB, fixed(1), everything).state == "dead"


@pytest.mark.parametrize(
    ("after", "delay"),
    [
        (90, 90.0),
        (1.5, 1.5),
        (timedelta(minutes=2), 120.0),
        (0, 0.0),
        (-5, 0.0),
        (timedelta(days=-1), 0.0),
        (math.nan, 0.0),
        (math.inf, MAX_DELAY),
        (timedelta.max, MAX_DELAY),
    ],
)
@pytest.mark.parametrize("word", [Snooze, lambda after: Retry(after=after)])
def test_a_handler_chooses_its_wait_within_limits(word: Any, after: Any, delay: float) -> None:
    ended = decide(word(after), JOB, fixed(777))
    assert (ended.state, ended.delay) == ("ready", delay)


def test_a_retry_without_a_wait_takes_the_tasks_rule() -> None:
    assert decide(Retry("later"), JOB, fixed(12)).delay == 12


def test_a_snooze_costs_no_attempt_and_leaves_no_trace() -> None:
    ended = decide(Snooze(10), LAST, fixed(1))
    assert ended == Unsuccessful(7, 3, "ready", delay=10.0, refund=1)


@pytest.mark.parametrize("after", ["soon", [], 10**400, object()])
@pytest.mark.parametrize("word", [Snooze, lambda after: Retry(after=after)])
def test_a_wait_that_is_no_time_makes_the_job_dead_and_says_why(word: Any, after: Any) -> None:
    ended = decide(word(after), JOB, fixed(1))
    assert (ended.state, ended.ending) == ("dead", "dead")
    assert ended.error_type in ("TypeError", "ValueError", "OverflowError")


def test_a_rule_that_raises_makes_the_job_dead_and_both_errors_are_told() -> None:
    def rule(attempt: int) -> float:
        raise ZeroDivisionError(f"attempt {attempt}")

    ended = decide(raised(KeyError("first")), JOB, rule)
    assert (ended.state, ended.error_type, ended.message) == (
        "dead",
        "ZeroDivisionError",
        "attempt 2",
    )
    assert ended.traceback is not None
    assert "raised by the retry rule, after KeyError: 'first'" in ended.traceback


@pytest.mark.parametrize("answer", [None, "soon", [], 1j, object()])
def test_a_rule_that_returns_no_number_makes_the_job_dead(answer: Any) -> None:
    assert decide(KeyError(), JOB, lambda _: answer).state == "dead"


@given(st.floats())
def test_whatever_number_a_rule_returns_the_delay_is_usable(number: float) -> None:
    ended = decide(KeyError(), JOB, lambda _: number)
    assert ended.state == "ready"
    assert 0 <= ended.delay <= MAX_DELAY


class Unspeakable(Exception):
    """Every way to make text of it fails."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Bare(Exception):
    """Its author forgot super().__init__()."""


class BareRetry(Retry):
    def __init__(self) -> None:
        pass


class BareSnooze(Snooze):
    def __init__(self) -> None:
        pass


class BareCancel(Cancel):
    def __init__(self) -> None:
        pass


class BareDead(Dead):
    def __init__(self) -> None:
        pass


class NotText(Exception):
    def __str__(self) -> Any:
        return 5  # noqa: PLE0307 - on purpose


def chained(length: int) -> Exception:
    """An error with a long line of causes."""
    error: Exception = KeyError("root")
    for number in range(length):
        above = ValueError(number)
        above.__cause__ = error
        error = above
    return error


NASTY: list[BaseException] = [
    Unspeakable(),
    Exiting(),
    NotText(),
    BareRetry(),
    BareSnooze(),
    BareCancel(),
    BareDead(),
    KeyboardInterrupt(),
    SystemExit(),
    GeneratorExit(),
    StopIteration(3),
    ValueError("NUL \0 and lone surrogate \udc80"),
    ValueError("x" * 1_000_000),
    ExceptionGroup("several", [KeyError("\0"), Unspeakable()]),
    chained(2000),
    Cancel(5),  # type: ignore[arg-type]
    Cancel(Unspeakable()),  # type: ignore[arg-type]
    Dead(b"bytes"),  # type: ignore[arg-type]
    Retry("\udcff", after=-1),
    type("Evil", (Exception,), {"__module__": None})(),
    JobTimeout("ran longer than 3 s"),
]


@pytest.mark.parametrize("error", NASTY, ids=lambda error: type(error).__name__.encode().hex())
@pytest.mark.parametrize("dead_on", [(), (Exception,)])
@pytest.mark.parametrize("job", [JOB, LAST])
def test_there_is_an_outcome_that_postgresql_can_hold(
    error: BaseException, dead_on: tuple[type[BaseException], ...], job: Any
) -> None:
    ended = decide(raised(error), job, fixed(1), dead_on)
    assert (ended.id, ended.lease) == (job.id, job.lease)
    assert ended.state in ("ready", "dead", "cancelled")
    for text in (ended.error_type, ended.message, ended.traceback):
        assert holds(text)
    json.dumps(ended.message)


def test_an_error_that_cannot_be_told_does_not_hide_what_the_rule_raised() -> None:
    def rule(_: int) -> float:
        raise ZeroDivisionError

    ended = decide(raised(Unspeakable()), JOB, rule)
    assert (ended.state, ended.error_type) == ("dead", "ZeroDivisionError")


def test_a_long_message_keeps_its_ends_and_says_what_was_cut() -> None:
    ended = decide(raised(ValueError("a" * 500_000 + "b" * 500_000)), JOB, fixed(1))
    assert ended.message is not None
    assert ended.traceback is not None
    assert len(ended.message) < MAX_MESSAGE + 100
    assert len(ended.traceback) < MAX_TRACEBACK + 100
    assert ended.message.startswith("aaa")
    assert ended.message.endswith("bbb")
    assert "... 990000 characters cut ..." in ended.message


def test_types_of_the_users_are_named_with_their_module() -> None:
    assert decide(Hopeless(), JOB, fixed(1)).error_type == f"{__name__}.Hopeless"
    assert decide(Dead(), JOB, fixed(1)).error_type == "Dead"
    assert decide(JobTimeout("slow"), JOB, fixed(1)).error_type == "JobTimeout"


@given(st.text(st.characters(exclude_categories=[]), max_size=50) | st.none(), st.integers(2, 60))
def test_clean_text_is_what_postgresql_takes_and_short(text: str | None, limit: int) -> None:
    cleaned = clean(text, limit=limit)
    assert holds(cleaned)
    assert (cleaned is None) == (text is None)
    if cleaned is not None and text is not None and len(text) <= limit:
        assert len(cleaned) == len(text)


def test_text_without_fault_stays_as_it_is() -> None:
    assert clean("straße \U0001f600\n") == "straße \U0001f600\n"


def test_a_released_job_is_due_at_once_and_costs_nothing() -> None:
    assert outcome.release(JOB) == Unsuccessful(7, 3, "ready", delay=0.0, refund=1)


def test_an_expired_job_gives_its_attempt_back() -> None:
    assert outcome.expired(JOB) == Unsuccessful(7, 3, "expired", refund=1, ending="expired")


def test_an_interrupted_attempt_is_kept_and_given_back() -> None:
    ended = outcome.interrupted(JOB, "stopped")
    assert ended == Unsuccessful(7, 3, "ready", refund=1, ending="interrupted", message="stopped")


def test_a_cancel_says_who_asked() -> None:
    assert decide(Cancel("sold out"), JOB, fixed(1)).message == "sold out"
    assert decide(Cancel(), JOB, fixed(1)).message == "the handler cancelled it"
