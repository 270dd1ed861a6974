"""What a worker and its child processes say to each other: one JSON object a line. Pure.

Down: the order, then jobs, one at a time, and the wish that the running one ends. Up: that the
child is ready, and the outcomes. Arguments and results pass as the JSON text that they are.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from pgqueue.job import ClaimedJob
from pgqueue.outcome import Doubtful, Ephemeral, Lost, Settled, Succeeded, Unsuccessful

if TYPE_CHECKING:
    from pgqueue.outcome import Outcome
    from pgqueue.telemetry.lines import Form

_KINDS: Final = (Doubtful, Ephemeral, Lost, Settled, Succeeded, Unsuccessful)
KINDS: Final = {kind.__name__: kind for kind in _KINDS}

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """How a child process comes to the tasks, and how it logs.

    Attributes:
        app: as `module:attribute`.
        app_dir: the folder from which that module is imported.
        log_level: of pgqueue's log.
        log_format: of all that it logs to standard error.
    """

    app: str
    app_dir: str
    log_level: int = logging.INFO
    log_format: Form = "text"


@dataclass(frozen=True, slots=True)
class ChildOrder:
    """What a worker tells a child process first; it never stands on a command line.

    Attributes:
        settings: the worker's, as a dict.
        answers: the file descriptor on which the child answers.
    """

    source: Source
    dsn: str
    settings: dict[str, Any]
    answers: int = -1

    def line(self) -> bytes:
        """This order as the line to send."""
        return line(asdict(self))


def read_order(text: bytes) -> ChildOrder:
    """The order of such a line."""
    message = json.loads(text)
    return ChildOrder(**message | {"source": Source(**message["source"])})


def line(message: Message) -> bytes:
    """A message as the line to send."""
    return json.dumps(message).encode() + b"\n"


def job_line(job: ClaimedJob) -> bytes:
    """The line that hands a job over."""
    return line({"job": job._asdict()})


def read_job(message: Message) -> ClaimedJob:
    """The job of such a line."""
    return ClaimedJob(**message["job"])


def outcome_line(outcome: Outcome) -> bytes:
    """The line that answers with an outcome."""
    return line({"outcome": type(outcome).__name__, **asdict(outcome)})


def read_outcome(message: Message) -> Outcome:
    """The outcome of such a line."""
    values = dict(message)
    kind = KINDS[values.pop("outcome")]
    if kind is Doubtful:
        values["otherwise"] = Unsuccessful(**values["otherwise"])
    outcome: Outcome = kind(**values)
    return outcome
