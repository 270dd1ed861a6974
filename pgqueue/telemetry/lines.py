"""Log records as lines: for people, or as JSON. Nothing that a record holds can forge a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pgqueue.telemetry.fields import FIELDS

Form = Literal["text", "json"]

_STANDARD: Final = frozenset(
    {*logging.makeLogRecord({}).__dict__, *FIELDS, "message", "asctime", "event", "taskName"}
)
"""What every record has, and what has a member of its own."""


def printable(text: str) -> str:
    """Text in which whatever ends a line or steers a terminal is an escape, as in Python's code."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TextLines(logging.Formatter):
    """A line for people: time, level, message, and in brackets the job that its writer runs for.

    Tracebacks follow on lines of their own, each behind a bar, so that no message in them looks
    like a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, and those of the traceback."""
        line = f"{self.formatTime(record)} {record.levelname:<7} {printable(record.getMessage())}"
        job_id = getattr(record, "job_id", None)
        if job_id is not None and not hasattr(record, "event"):
            job = {name: getattr(record, name, None) for name in FIELDS[1:]}
            about = f"job {job_id}, {job['task']}, attempt {job['attempt']}, {job['queue']}"
            line += f" [{printable(about)}]"
        below = "\n".join(filter(None, (_traceback(self, record), record.stack_info)))
        return "\n  | ".join([line, *map(printable, below.split("\n"))]) if below else line


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII.

    Always time (UTC), level, logger and message; where they apply event, job_id, task, attempt,
    queue, exc and stack, and extra, which holds what else the record was given.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        named = {name: getattr(record, name, None) for name in ("event", *FIELDS)}
        named |= {"exc": _traceback(self, record), "stack": record.stack_info}
        line |= {name: value for name, value in named.items() if value is not None}
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if extra:
            line["extra"] = extra
        try:
            return json.dumps(line, default=repr, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # of what the record was given
            shown = {name: repr(value) for name, value in extra.items()}
            return json.dumps(line | {"extra": shown}, default=repr)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    if record.exc_info and record.exc_info[0] is not None:
        return formatter.formatException(record.exc_info)
    return record.exc_text
