"""Log lines: their fields are pinned, and nothing that is logged can look like another line."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import logging.handlers
import queue
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.context import JobContext, enter_job
from pgqueue.telemetry import events, wording
from pgqueue.telemetry.fields import JobFields, cover_handlers
from pgqueue.telemetry.lines import JsonLines, TextLines

if TYPE_CHECKING:
    from collections.abc import Callable

JOB = JobContext(id=17, task="app.work", queue="mail", attempt=2, max_attempts=8, lease=3)
NASTY = "done\n2026-01-01 00:00:00,000 ERROR   job 1 is dead\r\x1b[31m\u2028\u202e\x00"
OF_JOB = {"job_id": 17, "task": "app.work", "attempt": 2, "queue": "mail"}


def in_job(call: Callable[[], Any]) -> None:
    def run() -> None:
        enter_job(lambda: JOB)
        call()

    contextvars.copy_context().run(run)


class Log:
    """A logger of its own with one handler, and what that wrote."""

    def __init__(
        self, formatter: logging.Formatter, handler: logging.Handler | None = None
    ) -> None:
        self.stream = io.StringIO()
        self.handler = handler or logging.StreamHandler(self.stream)
        self.handler.setFormatter(formatter)
        self.handler.addFilter(JobFields())
        self.logger = logging.Logger("library.module")  # noqa: LOG001 - of this test alone
        self.logger.addHandler(self.handler)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


def fail(logger: logging.Logger) -> None:
    try:
        int(NASTY)
    except ValueError:
        logger.exception("it %s", "failed", stack_info=True)


def test_a_json_line_of_a_handler_has_exactly_these_fields() -> None:
    log = Log(JsonLines())
    in_job(partial(log.logger.warning, "charged %d", 5, extra={"order": 7, "odd": {1}}))
    [line] = log.objects()
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "library.module",
        "message": "charged 5",
        **OF_JOB,
        "extra": {"order": 7, "odd": "{1}"},
    }


def test_outside_of_a_handler_a_json_line_names_no_job() -> None:
    log = Log(JsonLines())
    log.logger.error("alone")
    assert log.objects()[0].keys() == {"time", "level", "logger", "message"}


def test_a_json_line_of_an_error_has_its_traceback_in_one_member() -> None:
    log = Log(JsonLines())
    in_job(partial(fail, log.logger))
    [line] = log.objects()
    assert line["message"] == "it failed"
    assert line["exc"].startswith("Traceback (most recent call last):\n")
    assert repr(NASTY) in line["exc"]
    assert line["stack"].startswith("Stack (most recent call last):")


class Unshowable:
    def __repr__(self) -> str:
        return "<unshowable>"


@pytest.mark.parametrize("value", [float("nan"), {(1, 2): 3}, Unshowable()])
def test_whatever_a_record_was_given_there_is_a_line_of_json(value: Any) -> None:
    log = Log(JsonLines())
    log.logger.error("odd", extra={"value": value})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = json.loads(log.stream.getvalue(), parse_constant=refuse)
    assert line["extra"] == {"value": repr(value)}


def test_a_text_line_names_the_job_that_its_writer_runs_for() -> None:
    log = Log(TextLines())
    in_job(partial(log.logger.warning, "charged %d", 5))
    log.logger.warning("alone")
    first, second = log.lines()
    assert first.endswith(" WARNING charged 5 [job 17, app.work, attempt 2, mail]")
    assert second.endswith(" WARNING alone")


def test_nothing_that_is_logged_as_text_can_forge_a_line() -> None:
    log = Log(TextLines())
    in_job(partial(log.logger.error, NASTY))
    in_job(partial(fail, log.logger))
    log.logger.error("third", exc_info=KeyboardInterrupt(NASTY))
    first, second, *below = log.lines()
    assert "done\\n2026-01-01" in first
    assert first.isprintable()
    assert "it failed [job 17" in second
    assert len(below) > 5
    below.remove(next(line for line in below if line.endswith("third")))
    assert all(line.startswith("  | ") and line.isprintable() for line in below)
    assert any(line.startswith("  | 2026-01-01 00:00:00,000 ERROR") for line in below)


def test_a_field_that_a_library_gives_itself_stays_and_raises_nothing() -> None:
    log = Log(JsonLines())
    in_job(partial(log.logger.error, "x", extra={"task": "theirs", "queue": "theirs"}))
    [line] = log.objects()
    assert {name: line[name] for name in OF_JOB} == OF_JOB | {"task": "theirs", "queue": "theirs"}


def test_a_record_that_is_written_on_another_thread_keeps_its_job() -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    log = Log(logging.Formatter(), logging.handlers.QueueHandler(records))
    in_job(partial(log.logger.error, "x"))
    later = records.get_nowait()
    assert {name: getattr(later, name) for name in OF_JOB} == OF_JOB


def test_an_old_style_format_can_name_the_fields() -> None:
    log = Log(logging.Formatter("%(job_id)s %(task)s %(attempt)s %(queue)s %(message)s"))
    in_job(partial(log.logger.error, "x"))
    log.logger.error("y")
    assert log.lines() == ["17 app.work 2 mail x", "None None None None y"]


def test_our_own_events_have_the_fields_of_the_job_that_they_are_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log(JsonLines())
    caplog.handler.addFilter(JobFields())
    wording.write(events.JobFailed(17, "app.work", 2, "KeyError", "x", None, "mail"))
    wording.write(events.HookFailed("alert", 17, "KeyError: x", KeyError(NASTY)))
    failed, hook = (json.loads(log.handler.format(record)) for record in caplog.records)
    assert {name: failed[name] for name in OF_JOB} == OF_JOB
    assert (failed["event"], failed["level"]) == ("JobFailed", "ERROR")
    assert (hook["event"], hook["job_id"]) == ("HookFailed", 17)
    assert "KeyError" in hook["exc"]
    text = TextLines().format(caplog.records[0])
    assert text.endswith("job 17 (app.work), attempt 2 is dead: KeyError: x")


def test_every_handler_is_covered_once() -> None:
    child = logging.getLogger("tests.covered.child")
    handler = logging.NullHandler()
    child.addHandler(handler)
    try:
        cover_handlers()
        cover_handlers()
        assert len([each for each in handler.filters if isinstance(each, JobFields)]) == 1
    finally:
        child.removeHandler(handler)
        for other in logging.root.handlers:
            other.filters = [each for each in other.filters if not isinstance(each, JobFields)]
