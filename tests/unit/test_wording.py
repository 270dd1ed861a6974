"""Every event has a line, its level says who must act, and one event is one line."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, get_args

import pytest

from pgqueue.telemetry import events, wording
from pgqueue.telemetry.events import Event, Events

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES: dict[str, Any] = {
    "bool": True,
    "int": 7,
    "float": 1.5,
    "str": "first\nsecond\r\x1b[31m third",
    "float | None": 1.5,
    "int | None": 3,
    "str | None": "name\nsecond",
    "BaseException": ValueError("first\nsecond"),
    "BaseException | None": ValueError("first\nsecond"),
    "tuple[int, ...]": (1, 2),
    "tuple[str, ...]": ("a", "b"),
}


def example(kind: type[Event]) -> Event:
    build: Callable[..., Event] = kind
    return build(**{field.name: EXAMPLES[str(field.type)] for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
def test_every_event_is_one_printable_line(kind: type[Event]) -> None:
    level, line = wording.words(example(kind))
    assert level in (logging.INFO, logging.WARNING, logging.ERROR)
    assert line.isprintable()
    assert "  " not in line


def test_a_long_message_does_not_flood_the_log() -> None:
    _, line = wording.words(events.JobFailed(1, "t", 1, "ValueError", "x" * 10_000, None))
    assert len(line) < 1000


def test_a_retried_job_is_a_warning_and_a_dead_one_an_error() -> None:
    failed = events.JobFailed(5, "app.work", 2, "KeyError", "'x'", 16.04)
    assert wording.words(failed) == (
        logging.WARNING,
        "job 5 (app.work), attempt 2 failed, retried in 16.0 s: KeyError: 'x'",
    )
    dead = dataclasses.replace(failed, delay=None, message="")
    assert wording.words(dead) == (
        logging.ERROR,
        "job 5 (app.work), attempt 2 is dead: KeyError",
    )


def test_jobs_that_killed_too_many_workers_are_an_error_that_names_them() -> None:
    level, line = wording.words(events.JobsRescued(3, None, 4, ()))
    assert (level, line) == (logging.WARNING, "4 jobs rescued from worker 3")
    level, line = wording.words(events.JobsRescued(3, "w", 4, (8, 9)))
    assert level == logging.ERROR
    assert "worker 3 (w)" in line
    assert line.endswith("too many crashes: 8, 9")


def test_one_job_is_not_called_jobs() -> None:
    _, line = wording.words(events.JobsRescued(3, None, 1, ()))
    assert line == "1 job rescued from worker 3"


def test_the_log_record_names_its_event(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pgqueue.worker"):
        wording.write(events.JobsExpired(3))
    [record] = caplog.records
    assert record.__dict__["event"] == "JobsExpired"
    assert record.getMessage() == "3 jobs expired unstarted"


def test_a_per_cent_sign_is_only_a_per_cent_sign(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pgqueue.worker"):
        wording.write(events.StepFailed("probe", "100%s %d %(x)s"))
    assert "100%s %d %(x)s" in caplog.text


def test_a_listener_that_raises_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise KeyError(event)

    Events(broken, heard.append)(events.JobsExpired(1))
    assert heard == [events.JobsExpired(1)]
    assert "a listener failed on JobsExpired" in caplog.text
