"""Which jobs match a filter, and how those that ended badly group by cause: the queries.

No index knows errors or times, and none is paid for at every transition. So what asks for them
walks along the index of jobs that ended badly, window by window: each statement is bounded,
however many jobs there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    and_,
    any_,
    bindparam,
    cast,
    func,
    lateral,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from pgqueue.schema import attempts, jobs
from pgqueue.views import COUNT_CAP, ENDED_BADLY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, FromClause, Select

    from pgqueue.views import JobFilter

WINDOW: Final = 10_000
"""Jobs that one statement walks past: about 50 ms where each one's error is looked up."""

REACH: Final = 1_000_000
"""Jobs among which a sample for groups is looked for."""

IDS_SHOWN: Final = 3
MESSAGE_LENGTH: Final = 200

# In the text and not as parameters: so every plan knows that the partial index holds them all.
_ENDED_BADLY: Final = jobs.c.state.in_(
    [literal_column(f"'{state}'") for state in ENDED_BADLY]  # fixed words
)
_SEEN: Final = ("id", "lease", "state", "queue", "task", "finished_at")


def matching(query: Select[Any], which: JobFilter) -> Select[Any]:
    """The query, of jobs that match alone."""
    return query.where(*_plain(jobs, which), *_by_error(jobs, which))


def walks(which: JobFilter) -> bool:
    """Whether matching jobs are to be looked for by `window`."""
    return which.is_selective and bool(_states(which)) and set(_states(which)) <= set(ENDED_BADLY)


def window(which: JobFilter, after: int | None, *, newest_first: bool) -> Select[Any]:
    """The next window of jobs that ended badly: (last id, how many there were, ids that match)."""
    order = jobs.c.id.desc() if newest_first else jobs.c.id
    query = select(*(jobs.c[name] for name in _SEEN)).where(_ENDED_BADLY)
    if after is not None:
        query = query.where(jobs.c.id < after if newest_first else jobs.c.id > after)
    walked = query.order_by(order).limit(WINDOW).cte("walked")
    last = func.min(walked.c.id) if newest_first else func.max(walked.c.id)
    in_order = walked.c.id.desc() if newest_first else walked.c.id
    ids = func.array_agg(aggregate_order_by(walked.c.id, in_order))
    wanted = and_(true(), *_plain(walked, which), *_by_error(walked, which))
    return select(last, func.count(), ids.filter(wanted))


def groups(which: JobFilter) -> Select[Any]:
    """The groups of the newest matching jobs that ended badly; see `_grouped`."""
    reached = select(*(jobs.c[name] for name in _SEEN)).where(_ENDED_BADLY)
    near = reached.order_by(jobs.c.id.desc()).limit(REACH).subquery("near")
    picked = select(near).where(*_plain(near, which)).order_by(near.c.id.desc())
    return _grouped(picked.limit(COUNT_CAP + 1), which)


def groups_of(ids: Sequence[int], which: JobFilter) -> Select[Any]:
    """The groups of these jobs."""
    return _grouped(
        select(*(jobs.c[name] for name in _SEEN)).where(jobs.c.id == any_of(ids)), which
    )


def any_of(ids: Sequence[int]) -> ColumnElement[Any]:
    """What an id is compared to, to be one of many."""
    found: ColumnElement[Any] = any_(cast(bindparam("ids", list(ids)), ARRAY(BigInteger)))
    return found


def _grouped(picks: Select[Any], which: JobFilter) -> Select[Any]:
    """By cause: JobGroup's columns, and how many jobs were looked at."""
    picked = picks.cte("picked").prefix_with("materialized", dialect="postgresql")
    last = _last(picked)
    causes = (picked.c.state, last.c.fingerprint, picked.c.queue, picked.c.task, last.c.error_type)
    newest = picked.c.id.desc()
    messages = func.array_agg(aggregate_order_by(last.c.message, newest))
    ids = func.array_agg(aggregate_order_by(picked.c.id, newest))
    query = select(
        *causes,
        func.count().label("jobs"),
        func.left(messages[1], MESSAGE_LENGTH).label("message"),
        func.min(picked.c.finished_at).label("first_at"),
        func.max(picked.c.finished_at).label("last_at"),
        ids[1:IDS_SHOWN].label("ids"),
        select(func.count()).select_from(picked).scalar_subquery().label("sampled"),
    ).select_from(picked.outerjoin(last, true()))
    for column, values in (
        (last.c.fingerprint, which.fingerprints),
        (last.c.error_type, which.error_types),
    ):
        if values:
            query = query.where(column.in_(values))
    return query.group_by(*causes).order_by(func.count().desc(), func.max(picked.c.id).desc())


def _last(table: FromClause) -> Any:
    """The attempt that ended each job: it stands under the lease before the job's own.

    The limit makes it one look into the primary key for each job, whatever the statistics say.
    """
    found = select(attempts.c.fingerprint, attempts.c.error_type, attempts.c.message).where(
        attempts.c.job_id == table.c.id, attempts.c.lease == table.c.lease - 1
    )
    return lateral(found.limit(1), "last")


def _states(which: JobFilter) -> Sequence[str]:
    return which.states or (ENDED_BADLY if which.by_error else ())


def _plain(table: FromClause, which: JobFilter) -> list[ColumnElement[bool]]:
    """What the job's own row says."""
    wanted = ((table.c.state, _states(which)), (table.c.queue, which.queues))
    found: list[ColumnElement[bool]] = [
        column.in_(values) for column, values in (*wanted, (table.c.task, which.tasks)) if values
    ]
    if which.since is not None:
        found.append(table.c.finished_at >= which.since)
    if which.until is not None:
        found.append(table.c.finished_at < which.until)
    return found


def _by_error(table: FromClause, which: JobFilter) -> list[ColumnElement[bool]]:
    """What the attempt that ended it says."""
    pairs = (
        (attempts.c.fingerprint, which.fingerprints),
        (attempts.c.error_type, which.error_types),
    )
    wanted = [column.in_(values) for column, values in pairs if values]
    if not wanted:
        return []
    ended = (attempts.c.job_id == table.c.id, attempts.c.lease == table.c.lease - 1)
    # A scalar and not `exists`, which some plans turn into a hash of all attempts.
    look = select(and_(*wanted)).where(*ended).limit(1)
    return [look.scalar_subquery().is_(true())]
