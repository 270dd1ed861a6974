"""COPY: the fastest way in, for jobs without keys, through psycopg.

The same checks as for a document, the same rows, the same wake-ups; only keys cannot be honoured,
for COPY asks nobody who holds them, and ids are not known. The caller's iterable is read while no
COPY is open, so it may use the connection. A job that is refused ends its COPY in good order
before the error is raised: the caller's transaction goes on, with the jobs before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import tuple_row

from pgqueue import payload, store
from pgqueue.enqueue import contract
from pgqueue.enqueue.callers import psycopg3
from pgqueue.enqueue.callers.explained import explained
from pgqueue.errors import InvalidJob
from pgqueue.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pgqueue.codec import Codec
    from pgqueue.payload import SizeWatch

COPY_JOBS: Final = 1_000
"""Jobs of one COPY: ten times as many would be 3 % faster, and ten times as many in memory."""

BLOCK: Final = 250
"""Lines of one write: the server works on a block while the next is made."""

PLAIN: Final = "copy_plain"
FULL: Final = "copy_jobs"
"""Statements: most jobs of a load have default options, and reading those costs the server a third
more than the rest of a job."""

_NULL: Final = r"\N"
_NO_TIME: Final = contract.EARLIEST


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all jobs of a load.

    Attributes:
        limit: the largest arguments, and the largest meta, in bytes of JSON.
        on_progress: called with the number of jobs so far, after each COPY.
        require_transaction: refuse a caller whose next statement commits on its own.
        watch: told of large arguments.
        codec: encrypts the arguments; None stores them as they are.
    """

    limit: int
    on_progress: Callable[[int], object] | None = None
    require_transaction: bool = False
    watch: SizeWatch | None = None
    codec: Codec | None = None


def copy(conn: Any, jobs: Iterable[NewJob], terms: Terms) -> int:
    """Copy jobs in the transaction of a psycopg Connection.

    Args:
        conn: with its transaction open; in autocommit mode each 1,000 jobs are committed.
        jobs: read 1,000 at a time.
        terms: what holds for all of them.

    Returns:
        The number of jobs.

    Raises:
        InvalidJob: as `contract.encode`, with the job's place; also for a job with a key.
        TypeError: `conn` is no psycopg Connection.
        TransactionUnusable, SchemaError, EnqueueError: as `callers.send`.
    """
    _require(conn, psycopg.Connection, "copy_jobs", "acopy_jobs")
    load = _Load(jobs, terms)
    while batch := load.read():
        psycopg3.check(conn, terms.require_transaction)
        with explained:
            cursor = psycopg.Cursor(conn, row_factory=tuple_row)
            clock = cursor.execute(store.statement("copy_clock")).fetchone()
            cursor.execute(store.statement("copy_room"), load.queues(batch))
            form = load.form(batch)
            with cursor.copy(store.statement(form)) as lines:
                for block in load.blocks(batch, clock, form):
                    lines.write(block)
        load.finished(len(batch))
    if load.lanes:
        with explained:
            psycopg.Cursor(conn).execute(store.statement("copy_wake"), load.lanes_document)
    return load.copied


async def acopy(conn: Any, jobs: Iterable[NewJob], terms: Terms) -> int:
    """As `copy`, for a psycopg AsyncConnection."""
    _require(conn, psycopg.AsyncConnection, "acopy_jobs", "copy_jobs")
    load = _Load(jobs, terms)
    while batch := load.read():
        psycopg3.check(conn, terms.require_transaction)
        with explained:
            cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
            clock = await (await cursor.execute(store.statement("copy_clock"))).fetchone()
            await cursor.execute(store.statement("copy_room"), load.queues(batch))
            form = load.form(batch)
            async with cursor.copy(store.statement(form)) as lines:
                for block in load.blocks(batch, clock, form):
                    await lines.write(block)
        load.finished(len(batch))
    if load.lanes:
        with explained:
            wake = store.statement("copy_wake")
            await psycopg.AsyncCursor(conn).execute(wake, load.lanes_document)
    return load.copied


class _Load:
    """What does not depend on the colour of the connection: reading, lines, errors, progress.

    Attributes:
        copied: jobs so far.
        lanes: (queue, priority) of those that are due.
    """

    def __init__(self, jobs: Iterable[NewJob], terms: Terms) -> None:
        self._jobs = iter(jobs)
        self._terms = terms
        self._error: Exception | None = None
        self.copied = 0
        self.lanes: set[tuple[str, int]] = set()

    @property
    def lanes_document(self) -> dict[str, str]:
        """The parameter of copy_wake.sql."""
        lanes = [{"queue": queue, "priority": priority} for queue, priority in sorted(self.lanes)]
        return {"lanes": json.dumps(lanes)}

    @staticmethod
    def queues(batch: Sequence[NewJob]) -> dict[str, list[str]]:
        """The parameter of copy_room.sql."""
        return {"queues": sorted({str(getattr(job, "queue", "")) for job in batch})}

    def read(self) -> list[NewJob]:
        """The next jobs; empty at the end. The first are checked here, before any SQL."""
        batch = list(islice(self._jobs, COPY_JOBS))
        if not self.copied:
            for _ in self.blocks(batch, None, FULL):
                pass
            self._raise()
        return batch

    @staticmethod
    def form(batch: Sequence[NewJob]) -> str:
        """The statement that these jobs need: the short one where all have default options."""
        return PLAIN if all(map(_is_plain, batch)) else FULL

    def blocks(self, batch: Sequence[NewJob], clock: Any, form: str) -> Iterator[bytes]:
        """The lines of jobs, block by block; they end early at a job that is refused.

        Args:
            batch: the jobs.
            clock: the row of copy_clock.sql; None only checks them, as far as no clock is needed.
            form: the statement that takes the lines.
        """
        now = clock and datetime.fromisoformat(_text(clock[0]))
        rows = _Rows(self._terms, now, plain=form == PLAIN)
        for start in range(0, len(batch), BLOCK):
            lines: list[str] = []
            try:
                lines.extend(map(rows.line, batch[start : start + BLOCK]))
            except Exception as error:  # noqa: BLE001 - raised when the COPY has ended in order
                self._error = _placed(error, self.copied + start + len(lines))
            yield "".join(lines).encode()
            if self._error is not None:
                return
        if clock:
            self.lanes |= rows.lanes

    def finished(self, jobs: int) -> None:
        """Count jobs that were copied, or raise what was wrong with one of them."""
        self._raise()
        self.copied += jobs
        if self._terms.on_progress is not None:
            self._terms.on_progress(self.copied)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class _Rows:
    """Makes lines. Most jobs of a load differ in their arguments alone, so the rest is kept."""

    def __init__(self, terms: Terms, now: datetime | None, *, plain: bool) -> None:
        self._terms, self._limit, self._plain = terms, terms.limit, plain
        self._now = now and now.replace(tzinfo=UTC)
        # Equal options give equal text, whatever their types: True is 1 as a priority.
        self._known: dict[tuple[Any, ...], str] = {}
        self.lanes: set[tuple[str, int]] = set()

    def line(self, job: NewJob) -> str:
        """The job in COPY's text format.

        Raises:
            InvalidJob, TypeError: as `contract.encode`.
        """
        options = _options(job)
        try:
            text = self._known.get(options)
        except TypeError:  # something that is no value of any option
            text = None
        if text is None or job.key is not None:
            text = self._known[options] = self._render(job)
        terms = self._terms
        args = payload.encode_args(job.args, limit=self._limit)
        args = contract.stored(job.task, args, terms.watch, terms.codec)
        if self._plain:
            return text + f"{args}\n".replace("\\", "\\\\")
        meta = "{}"
        if job.meta or type(job.meta) is not dict:
            meta = payload.encode_args(job.meta, limit=self._limit, path="meta")
        return text + f"{meta}\t{args}\n".replace("\\", "\\\\")

    def _render(self, job: NewJob) -> str:
        contract.encode(job, limit=self._limit)
        if job.key is not None:
            raise InvalidJob(
                f"key: {job.key!r} is refused; COPY honours no keys: use enqueue_many for such jobs"
            )
        created = self._now or _NO_TIME
        due = _due(job, created)
        if job.expires_at is not None and job.expires_at <= due:
            raise InvalidJob(
                f"expires_at: {job.expires_at} is refused; expected a time after {due}, when the "
                "job is due"
            )
        if due == created:
            self.lanes.add((job.queue, job.priority))
        if self._plain:
            return f"{job.task}\t{job.queue}\t"
        timeout = _NULL if job.timeout is None else repr(float(_seconds(job.timeout)))
        expires_at = job.expires_at
        if job.ttl is not None:
            expires_at = min(due + timedelta(seconds=_seconds(job.ttl)), contract.LATEST)
        expires = _NULL if expires_at is None else expires_at.astimezone(UTC).isoformat()
        return (
            f"{job.task}\t{job.queue}\t{job.priority}\t{job.max_attempts}\t{timeout}"
            f"\t{job.version}\t{created.isoformat()}\t{due.isoformat()}\t{expires}\t"
        )


_all_options: Final = attrgetter(
    "task",
    "queue",
    "priority",
    "max_attempts",
    "timeout",
    "version",
    "delay",
    "run_at",
    "expires_at",
    "ttl",
    "key_scope",
    "unique_for",
)
_DEFAULTS: Final = _all_options(NewJob(task=""))[2:]


def _options(job: Any) -> Any:
    """Everything of a job but what each has for itself; TypeError if it is none."""
    if not isinstance(job, NewJob):
        contract.encode(job, limit=0)
    return _all_options(job)


def _is_plain(job: Any) -> bool:
    """Whether only its task, queue and arguments need to be told."""
    if type(job) is not NewJob or job.meta or type(job.meta) is not dict:
        return False
    return bool(_all_options(job)[2:] == _DEFAULTS)


def _due(job: NewJob, created: datetime) -> datetime:
    """When the job is due; a past time is raised to its creation."""
    if job.delay is not None:
        return created + timedelta(seconds=float(_seconds(job.delay)))
    return created if job.run_at is None else max(created, job.run_at.astimezone(UTC))


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _placed(error: Exception, place: int) -> Exception:
    return type(error)(f"[{place}].{error}") if isinstance(error, InvalidJob) else error


def _require(conn: Any, kind: type, called: str, other: str) -> None:
    if isinstance(conn, kind):
        return
    name = f"{type(conn).__module__}.{type(conn).__qualname__}"
    if isinstance(conn, psycopg.Connection | psycopg.AsyncConnection):
        raise TypeError(f"{called}() got a {name}: use {other}(...)")
    raise TypeError(
        f"{called}() goes through psycopg alone, and got a {name}: pass its psycopg connection, "
        "or use enqueue_many, which takes every caller"
    )
