"""Read-only lists and counts: one service behind CLI, dashboard and metrics.

Every read is a transaction of its own with a time limit, and no count walks through a large
table. What is asked for varies, so lists are SQLAlchemy Core; what does not is a file under sql/.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Double, NullPool, Text, cast, create_engine, func, literal_column, select
from sqlalchemy.exc import DBAPIError

from pgqueue import connections, payload, store
from pgqueue.codec import is_sealed, opened
from pgqueue.errors import InvalidPayload, JobNotFound, KeyMissing
from pgqueue.redaction import HIDDEN, MARK, Redaction
from pgqueue.schema import attempts, jobs, progress
from pgqueue.views import (
    COUNT_CAP,
    REACH,
    AttemptView,
    Count,
    JobFilter,
    JobRow,
    JobView,
    ProgressView,
    QueueStatus,
    Status,
    Upkeep,
    WorkerView,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from pgqueue.codec import Codec
    from pgqueue.config import Settings

PAGE: Final = 1000
"""Rows of one statement; longer lists are read page by page."""

_JSON_COLUMNS: Final = ("args", "meta", "result")
# Arguments as lists show them. Where some are hidden, what lies deeper is not shown at all: a list
# is no place to look into it, and this need not know the paths. Names of `?`, `#>`, `jsonb_each`
# never fail on what a stranger wrote; whole arguments never leave the server.
_SHOWN_ARGS: Final[ColumnElement[str]] = literal_column("""
    case
        when not jobs.meta ? '$pgqueue' then left(jobs.args::text, 200)
        when jsonb_typeof(jobs.args) <> 'object' then '***'
        else (
            select left(coalesce(jsonb_object_agg(member.key, case
                when jsonb_typeof(member.value) in ('object', 'array') then '"..."'
                when jobs.meta #> '{$pgqueue,redact}' ? member.key then '"***"'
                else member.value
            end), '{}')::text, 200)
            from jsonb_each(jobs.args) as member
        )
    end
""")
_WAITING: Final = (jobs.c.run_at > func.clock_timestamp()).label("waiting")


class Inspector:
    """Looks at the queue's tables over connections of its own, one for each look.

    Args:
        dsn: as libpq reads it.
        settings: give the time limits.
        codec: opens encrypted arguments and results; without it they are shown as envelopes.
    """

    def __init__(self, dsn: str, settings: Settings, codec: Codec | None = None) -> None:
        self._settings, self._codec = settings, codec
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: connections.connect(dsn, settings, "inspect", autocommit=False),
            poolclass=NullPool,
            hide_parameters=True,
        )

    def jobs(self, which: JobFilter, *, limit: int = 50, after: int | None = None) -> list[JobRow]:
        """Jobs, newest first.

        Args:
            which: the jobs to list.
            limit: the most to return.
            after: continue a list: only jobs with a smaller id than this.
        """
        columns = [column for column in jobs.c if column.name in _LIST_COLUMNS]
        query = _matching(select(*columns, _WAITING, _SHOWN_ARGS.label("args")), which)
        if after is not None:
            query = query.where(jobs.c.id < after)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).mappings()
            return [JobRow(**dict(row)) for row in rows]

    def ids(self, which: JobFilter, *, limit: int | None = None) -> Iterator[int]:
        """The ids of jobs, oldest first, read page by page.

        Args:
            which: the jobs.
            limit: the most to return; None for all.
        """
        last, left = 0, limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            query = _matching(select(jobs.c.id), which).where(jobs.c.id > last)
            with self._reading() as connection:
                page = connection.scalars(query.order_by(jobs.c.id).limit(size)).all()
            yield from page
            if len(page) < size:
                return
            last = page[-1]
            left = None if left is None else left - size

    def job(self, job_id: int) -> JobView:
        """A job, and its attempts that did not succeed.

        Raises:
            JobNotFound: there is none of that id.
        """
        plain = [column for column in jobs.c if column.name not in _JSON_COLUMNS]
        texts = [cast(jobs.c[name], Text).label(name) for name in _JSON_COLUMNS]
        query = select(*plain, *texts, _WAITING).where(jobs.c.id == job_id)
        history = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.lease)
        with self._reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                raise JobNotFound(f"no job has the id {job_id}")
            views = [_attempt(dict(found)) for found in connection.execute(history).mappings()]
            said = connection.execute(_said_of(job_id)).mappings().one_or_none()
        values = dict(row) | {name: _decoded(row[name]) for name in _JSON_COLUMNS}
        told = None if said is None else ProgressView(**said)
        return JobView(**self._readable(values), attempts=views, progress=told)

    def _readable(self, values: dict[str, Any]) -> dict[str, Any]:
        """Open what is encrypted, and hide what the job's meta says to hide."""
        for name in ("args", "result"):
            if is_sealed(values[name]):
                # Whoever lacks the key sees the envelope: this is for looking, not for running.
                with suppress(KeyMissing, InvalidPayload):
                    context = f"{name} of {values['task']}"
                    values[name] = payload.decode(opened(self._codec, values[name], context))
        meta = values["meta"]
        if isinstance(meta, dict) and MARK in meta:
            shown = Redaction.marked(meta).hide(values["args"])
            values["args"] = shown if isinstance(shown, dict) else HIDDEN
            values["meta"] = {name: value for name, value in meta.items() if name != MARK}
        return values

    def status(self) -> Status:
        """Queues and workers now."""
        cap = {"cap": COUNT_CAP + 1}
        with self._reading() as connection:
            lanes = _fixed(connection, "status_lanes", cap)
            running = _fixed(connection, "status_running", cap)
            ended = _fixed(connection, "status_ended", cap)
            workers = _fixed(connection, "status_workers", {})
            limits = _fixed(connection, "queue_list", {})
            [(dead, oldest)] = _fixed(connection, "count_dead", cap | {"reach": REACH})
            [pruned] = _fixed(connection, "status_prune", {})
        queues = _queues(lanes, running, ended, limits)
        upkeep = Upkeep(Count.capped(dead), oldest, *pruned)
        return Status(queues=queues, workers=_workers(workers, running), upkeep=upkeep)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(connections.LIMITS, connections.limits(self._settings))
                yield connection
        except DBAPIError as error:
            # The driver's own error says the same in fewer words, and is what callers know.
            raise (error.orig or error) from None


_LIST_COLUMNS: Final = frozenset(JobRow.__dataclass_fields__) - {"waiting", "args"}


def _matching(query: Select[Any], which: JobFilter) -> Select[Any]:
    parts = ((jobs.c.state, which.states), (jobs.c.queue, which.queues), (jobs.c.task, which.tasks))
    for column, values in parts:
        if values:
            query = query.where(column.in_(values))
    return query


def _said_of(job_id: int) -> Select[Any]:
    said = progress.c
    age = func.extract("epoch", func.clock_timestamp() - said.reported_at).cast(Double)
    columns = (said.done, said.total, said.message, said.lease, said.reported_at)
    return select(*columns, age.label("age")).where(said.job_id == job_id)


def _attempt(row: dict[str, Any]) -> AttemptView:
    del row["job_id"], row["worker_id"]
    return AttemptView(**row)


def _decoded(text: str | None) -> Any:
    try:
        return None if text is None else payload.decode(text)
    except InvalidPayload:
        return text


def _fixed(connection: Connection, name: str, values: dict[str, int]) -> Sequence[Any]:
    return connection.exec_driver_sql(store.statement(name).decode(), values).all()


def _queues(
    lanes: Sequence[Any], running: Sequence[Any], ended: Sequence[Any], limits: Sequence[Any]
) -> list[QueueStatus]:
    limited = {queue: (most, is_full) for queue, most, _, is_full, _ in limits if most is not None}
    names = sorted({row[0] for rows in (lanes, running, ended) for row in rows} | limited.keys())
    cut = sum(jobs for _, _, jobs in ended) > COUNT_CAP
    return [
        QueueStatus(
            queue=name,
            ready=Count.capped(sum(due for queue, due, _, _ in lanes if queue == name)),
            waiting=Count.capped(sum(later for queue, _, later, _ in lanes if queue == name)),
            running=Count.capped(sum(jobs for queue, _, jobs in running if queue == name)),
            oldest_due=max(
                (age for queue, *_, age in lanes if queue == name and age), default=None
            ),
            ended={state: Count(jobs, cut) for queue, state, jobs in ended if queue == name},
            max_depth=limited.get(name, (None, False))[0],
            is_full=limited.get(name, (None, False))[1],
        )
        for name in names
    ]


def _workers(rows: Sequence[Any], running: Sequence[Any]) -> list[WorkerView]:
    counts: dict[int, int] = defaultdict(int)
    for _, worker_id, count in running:
        counts[worker_id] += count
    names = [name for name in WorkerView.__dataclass_fields__ if name != "running"]
    return [
        WorkerView(**dict(zip(names, row, strict=True)), running=Count.capped(counts[row[0]]))
        for row in rows
    ]
