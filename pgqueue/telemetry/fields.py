"""The running job on every log record that its handler writes, through whatever logger."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Final

from pgqueue.context import running_job

FIELDS: Final = ("job_id", "task", "attempt", "queue")
"""Attributes of a record: of the job that its writer runs for, or that an event is about."""


about: Final[ContextVar[tuple[int, str, int, str] | None]] = ContextVar(
    "pgqueue_about", default=None
)
"""The fields where no handler runs, and yet it is about a job: in a hook."""


class JobFields(logging.Filter):
    """Gives records `job_id`, `task`, `attempt` and `queue`; None where there is no job.

    It lets every record pass. `pgqueue worker` puts one on each handler that it finds once the app
    is loaded; on those of your own program, `handler.addFilter(JobFields())`. On the handler, not
    on a logger: a logger's filters do not see what loggers below it write.

    What a record has already stays: a library's own `extra={"task": ...}` is not overwritten.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields."""
        job = running_job()
        values = (job.id, job.task, job.attempt, job.queue) if job is not None else about.get()
        for name, value in zip(FIELDS, values or (None,) * 4, strict=True):
            record.__dict__.setdefault(name, value)
        return True


def of_event(event: object) -> dict[str, Any]:
    """The same fields of one of our events, where it has them."""
    return {name: getattr(event, name) for name in FIELDS if hasattr(event, name)}


def cover_handlers() -> None:
    """Put JobFields on every handler of every logger, where it is not there yet."""
    known = logging.root.manager.loggerDict.values()
    for logger in (logging.root, *(each for each in known if isinstance(each, logging.Logger))):
        for handler in logger.handlers:
            if not any(isinstance(each, JobFields) for each in handler.filters):
                handler.addFilter(JobFields())
