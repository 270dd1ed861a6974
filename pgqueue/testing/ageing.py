"""Time that passes: every time in pgqueue's tables moves back, instead of a test that sleeps."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pgqueue import store
from pgqueue.testing.asking import Ask, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgqueue.handle import JobHandle
    from pgqueue.testing.asking import Asking

LEFT_ALONE: Final = frozenset({"workers"})
"""Tables whose times do not move: a worker that is running would look dead."""
FIRST: Final = "'2000-01-01 00:00:00+00'"
"""No time moves to before this: the tables allow none."""


def ageing(seconds: float, jobs: Iterable[int] | None) -> Asking[None]:
    """Let seconds pass, for all that is in the tables or for these jobs alone."""
    ids = None if jobs is None else store.array(sorted(jobs))
    for table, times, job_id in _aged():
        if ids is not None and job_id is None:
            continue
        moved = ", ".join(
            f"{time} = case when {time} is not null then "  # greatest() would take null for none
            f"greatest({time} - make_interval(secs => {literal(seconds)}), {FIRST}) end"
            for time in times
        )
        where = "" if ids is None else f" where {job_id} = any ('{ids}'::bigint[])"
        yield Ask(f"update {table} set {moved}{where}")  # noqa: S608 - names of our own schema


def seconds_of(span: Any) -> float:
    """The seconds of a number or a timedelta.

    Raises:
        ValueError: time does not pass backwards.
        TypeError: neither of the two.
    """
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"age({span!r}): expected seconds, or a timedelta")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"age({span!r}): expected 0 seconds or more")
    return float(seconds)


def ids_of(jobs: Any) -> list[int] | None:
    """The ids of jobs, given as handles, seen jobs or numbers; None for all."""
    if jobs is None:
        return None
    many: list[JobHandle[Any] | int] = (
        [jobs] if isinstance(jobs, int) or hasattr(jobs, "id") else jobs
    )
    return [job if isinstance(job, int) else job.id for job in many]


@cache
def _aged() -> list[tuple[str, list[str], str | None]]:
    """Each table with times: its name, their columns, and the column that names a job."""
    from sqlalchemy import DateTime  # noqa: PLC0415 - as schema: only what ages needs it

    from pgqueue.schema import metadata  # noqa: PLC0415 - as above

    found = []
    for table in metadata.sorted_tables:
        times = [column.name for column in table.columns if isinstance(column.type, DateTime)]
        named = "id" if table.name == "jobs" else "job_id"
        if times and table.name not in LEFT_ALONE:
            found.append((str(table), times, named if named in table.columns else None))
    return found
