"""Read-only lists and counts: one service behind CLI, dashboard and metrics.

Every read is a transaction of its own with a time limit, and no count walks through a large
table. What is asked for varies, so lists are SQLAlchemy Core; what does not is a file under sql/.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Double, NullPool, Text, cast, create_engine, func, literal_column, select
from sqlalchemy.exc import DBAPIError

from pgqueue import connections, payload, queries, store
from pgqueue.codec import is_sealed, opened
from pgqueue.errors import ConfigError, InvalidPayload, JobNotFound, KeyMissing
from pgqueue.redaction import HIDDEN, MARK, Redaction
from pgqueue.schema import attempts, jobs, progress
from pgqueue.views import (
    COUNT_CAP,
    ENDED_BADLY,
    AttemptView,
    Count,
    JobFilter,
    JobGroup,
    JobGroups,
    JobRow,
    JobView,
    ProgressView,
    QueueStatus,
    Status,
    Upkeep,
    WorkerView,
)
from pgqueue.views.upkeep import REACH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from pgqueue.codec import Codec
    from pgqueue.config import Settings

PAGE: Final = 1000
"""Rows of one statement; longer lists are read page by page."""

DEAD: Final = JobFilter(states=["dead"])

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
        query: Select[Any] = select(*columns, _WAITING, _SHOWN_ARGS.label("args"))
        if queries.walks(which):
            found = list(islice(self._walk(which, after, newest_first=True), limit))
            query = query.where(jobs.c.id == queries.any_of(found))
        else:
            query = queries.matching(query, which)
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
        walk = self._walk(which, None) if queries.walks(which) else self._pages(which, limit)
        return islice(walk, limit)

    def _pages(self, which: JobFilter, limit: int | None) -> Iterator[int]:
        last, left = 0, limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            query = queries.matching(select(jobs.c.id), which).where(jobs.c.id > last)
            with self._reading() as connection:
                page = connection.scalars(query.order_by(jobs.c.id).limit(size)).all()
            yield from page
            if len(page) < size:
                return
            last = page[-1]
            left = None if left is None else left - size

    def _walk(
        self, which: JobFilter, after: int | None, *, newest_first: bool = False
    ) -> Iterator[int]:
        """As `_pages`, but each statement looks at a bounded number of jobs, matching or not."""
        while True:
            query = queries.window(which, after, newest_first=newest_first)
            with self._walking() as connection:
                after, walked, found = connection.execute(query).one()
            yield from found or ()
            if walked < queries.WINDOW:
                return

    def groups(self, which: JobFilter = DEAD, *, ids: Sequence[int] | None = None) -> JobGroups:
        """Jobs that ended badly, by cause: the newest 10,000 that match, or the ones named.

        Args:
            which: by default dead jobs; without states all that ended badly. Fingerprints and
                error types choose among the newest 10,000 that match all else.
            ids: of these jobs alone.

        Raises:
            ConfigError: a state in which jobs do not end badly.
        """
        for state in which.states:
            if state not in ENDED_BADLY:
                raise ConfigError(
                    f"state {state!r}: jobs are grouped by how they ended badly: expected "
                    f"{', '.join(ENDED_BADLY)}"
                )
        query = queries.groups(which) if ids is None else queries.groups_of(ids, which)
        with self._walking() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        sampled = Count.capped(max((row.pop("sampled") for row in rows), default=0))
        for row in rows:
            row["jobs"] = Count(row["jobs"], sampled.more)
        return JobGroups(groups=[JobGroup(**row) for row in rows], sampled=sampled)

    def job(self, job_id: int) -> JobView:
        """A job, and its attempts that did not succeed.

        Raises:
            JobNotFound: there is none of that id.
        """
        plain = [column for column in jobs.c if column.name not in _JSON_COLUMNS]
        texts = [cast(jobs.c[name], Text).label(name) for name in _JSON_COLUMNS]
        if not 0 < job_id < 2**63:  # no number that the column holds
            raise JobNotFound(f"no job has the id {job_id}")
        query = select(*plain, *texts, _WAITING, func.clock_timestamp().label("read_at")).where(
            jobs.c.id == job_id
        )
        columns = [each for each in attempts.c if each.name not in _NOT_SHOWN]
        old_args = cast(attempts.c.old_args, Text).label("old_args")
        history = select(*columns, old_args).where(attempts.c.job_id == job_id)
        with self._reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                raise JobNotFound(f"no job has the id {job_id}")
            found = connection.execute(history.order_by(attempts.c.lease)).mappings().all()
            said = connection.execute(_said_of(job_id)).mappings().one_or_none()
        values = dict(row) | {name: _decoded(row[name]) for name in _JSON_COLUMNS}
        meta, task = values["meta"], values["task"]
        values["result"] = self._opened(values["result"], f"result of {task}")
        values["args"] = self._shown(values["args"], task, meta)
        if isinstance(meta, dict):
            values["meta"] = {name: value for name, value in meta.items() if name != MARK}
        views = [self._attempt(dict(each), task, meta) for each in found]
        requeues = sum(view.outcome == "requeued" for view in views)
        told = None if said is None else ProgressView(**said)
        return JobView(**values, attempts=views, requeues=requeues, progress=told)

    def _attempt(self, row: dict[str, Any], task: str, meta: Any) -> AttemptView:
        if row["old_args"] is not None:
            row["old_args"] = self._shown(_decoded(row["old_args"]), task, meta)
        return AttemptView(**row)

    def _shown(self, args: Any, task: str, meta: Any) -> Any:
        """Arguments, opened, and without what the job's meta says to hide."""
        args = self._opened(args, f"args of {task}")
        if not isinstance(meta, dict) or MARK not in meta:
            return args
        shown = Redaction.marked(meta).hide(args)
        return shown if isinstance(shown, dict) else HIDDEN

    def _opened(self, value: Any, context: str) -> Any:
        if is_sealed(value):
            # Whoever lacks the key sees the envelope: this is for looking, not for running.
            with suppress(KeyMissing, InvalidPayload):
                return payload.decode(opened(self._codec, value, context))
        return value

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
    def _walking(self) -> Iterator[Connection]:
        """As `_reading`, along indexes alone: other scans read all, then sort for the newest."""
        with self._reading() as connection:
            for scan in ("bitmapscan", "seqscan"):
                connection.exec_driver_sql(f"set local enable_{scan} = off")
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(connections.LIMITS, connections.limits(self._settings))
                yield connection
        except DBAPIError as error:
            # The driver's own error says the same in fewer words, and is what callers know.
            raise (error.orig or error) from None


_NOT_SHOWN: Final = frozenset({"job_id", "worker_id", "old_args"})
_LIST_COLUMNS: Final = frozenset(JobRow.__dataclass_fields__) - {"waiting", "args"}


def _said_of(job_id: int) -> Select[Any]:
    said = progress.c
    age = func.extract("epoch", func.clock_timestamp() - said.reported_at).cast(Double)
    columns = (said.done, said.total, said.message, said.lease, said.reported_at)
    return select(*columns, age.label("age")).where(said.job_id == job_id)


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
