"""One job as it goes on, for people: a line that is rewritten, or in a pipe one for each change."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from pgqueue.cli.output import clean, cut, for_people, terminal_width
from pgqueue.job import FINAL_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.views import JobView, ProgressView

BAR: Final = 24
"""Characters of the bar."""
ROOMY: Final = 100
"""Columns from which on a terminal has room for the bar."""
_CLEAR: Final = "\r\x1b[K"


def follow(read: Callable[[], JobView], every: float) -> JobView:
    """Show a job until it has ended, and return it then.

    Args:
        read: looks at it.
        every: seconds between two looks.
    """
    rate, last = Rate(), ""
    while True:
        job = read()
        line = clean(describe(job, rate))
        if for_people():
            # A line that wraps cannot be rewritten; the last one stays, and is shown whole.
            ended = job.state in FINAL_STATES
            sys.stdout.write(_CLEAR + (line if ended else cut(line, terminal_width() - 1)))
        elif line != last:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
        last = line
        if job.state in FINAL_STATES:
            sys.stdout.write("\n" if for_people() else "")
            return job
        time.sleep(every)


class Rate:
    """How fast one attempt goes on, from what was seen of it first and last."""

    def __init__(self) -> None:
        self._first: ProgressView | None = None

    def __call__(self, now: ProgressView) -> float | None:
        """Units a second; None while that cannot be said."""
        first = self._first
        if first is None or first.lease != now.lease or now.done < first.done:
            self._first = now
            return None
        passed = (now.reported_at - first.reported_at).total_seconds()
        return (now.done - first.done) / passed if passed > 0 and now.done > first.done else None


def describe(job: JobView, rate: Rate) -> str:
    """A job in one line."""
    parts = [f"job {job.id} ({job.task}): {job.shown_state}"]
    if job.state == "running" and job.started_at is not None:
        passed = (job.read_at - job.started_at).total_seconds()
        parts[0] += f" for {_duration(passed)}"
        if job.attempt > 1:
            parts[0] += f", attempt {job.attempt} of {job.max_attempts}"
    elif job.finished_at is not None and job.started_at is not None:
        parts[0] += f" after {_duration((job.finished_at - job.started_at).total_seconds())}"
    parts += told(job, rate)
    if job.state == "dead" and job.attempts:
        parts.append(f"{job.attempts[-1].error_type or ''}: {job.attempts[-1].message or ''}")
    return "  ".join(parts)


def told(job: JobView, rate: Rate) -> list[str]:
    """What the handler of a job said last, in parts of a line."""
    said = job.progress
    if said is None:
        return []
    share, parts = said.share, []
    if share is not None:
        parts.append(f"{_bar(share)}{share:4.0%}")
    total = f" of {said.total:,g}" if said.total is not None else ""
    parts.append(f"{said.done:,g}{total}")
    if job.state == "running" and said.lease == job.lease:
        speed = rate(said)
        if speed is not None:
            parts.append(f"{speed:,.3g}/s")
        if speed and said.total is not None and said.total > said.done:
            parts.append(f"about {_duration((said.total - said.done) / speed)} left")
        parts.append(f"{_duration(said.age)} ago")
    elif job.state == "running":
        parts.append("said by an earlier attempt")
    return [*parts, said.message] if said.message else parts


def _bar(share: float) -> str:
    """A bar, where the terminal has room for one beside what is told in words."""
    if for_people() and terminal_width() < ROOMY:
        return ""
    full = int(share * BAR)
    return f"[{'#' * full}{'.' * (BAR - full)}] "


def _duration(seconds: float) -> str:
    whole = max(int(seconds), 0)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
