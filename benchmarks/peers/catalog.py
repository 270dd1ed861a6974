"""The entries of the comparison: who runs, on what, how many jobs, and how its end is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

ALL: Final = 50_000
"""Jobs in the drain of the fastest entries."""


@dataclass(frozen=True)
class Rows:
    """How a database says where a drain stands.

    Attributes:
        left: how many jobs are not done.
        began: whether a job was claimed.
        done: how many jobs succeeded, and the seconds from first claim to last finish by the
            rows' own times; seconds null where the rows do not say: then it is watched.
    """

    left: str
    began: str
    done: str


@dataclass(frozen=True)
class Keys:
    """How a Redis-compatible server says where a drain stands: commands that answer a number.

    Attributes:
        left: the sum of their answers is what is not done, acknowledged or recorded.
        done: the sum of their answers is what is done; taken instead where keys say so.
    """

    left: tuple[str, ...] = ()
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    Attributes:
        name: on the command line.
        label: in the table.
        program: module of `benchmarks.peers.programs`.
        seen: how its progress is read.
        jobs: how many it drains at most: about what it does in three seconds.
        tuned: its fastest documented settings, else its defaults.
        durable: whether what it has acknowledged survives a crash of the server's machine.
        kept: what becomes of rows of jobs that succeeded.
        needs: packages of its environment.
        python: the oldest Python that it runs on.
        enqueues: whether its producer is measured in this line (once for each producer).
        bulk: whether that has a form for many jobs.
    """

    name: str
    label: str
    program: str
    seen: Rows | Keys
    jobs: int
    tuned: bool
    kept: str
    needs: tuple[str, ...]
    python: tuple[int, int] = (3, 11)
    durable: bool = True
    enqueues: bool = True
    bulk: bool = True


PGQUEUE: Final = Rows(
    """select case when (select finished_at is null from pgqueue.jobs order by id desc limit 1)
        then 1 else (select count(*) from pgqueue.jobs where state in ('ready', 'running')) end""",
    "select state <> 'ready' from pgqueue.jobs order by id limit 1",
    """select count(*) filter (where state = 'succeeded' and lease = 2 and attempt = 1),
        extract(epoch from max(finished_at) - min(started_at))::float8 from pgqueue.jobs""",
)
PGQUEUER: Final = Rows(
    "select exists (select from pgqueuer)::int",
    "select exists (select from pgqueuer where status = 'picked')",
    """select count(distinct job_id) filter (where status = 'successful'),
        extract(epoch from max(created) filter (where status = 'successful')
            - min(created) filter (where status = 'picked'))::float8 from pgqueuer_log""",
)
PROCRASTINATE: Final = Rows(
    "select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
    "select status <> 'todo' from procrastinate_jobs order by id limit 1",
    """select count(*) filter (where type = 'succeeded'),
        extract(epoch from max(at) filter (where type = 'succeeded')
            - min(at) filter (where type = 'started'))::float8 from procrastinate_events""",
)
OBAN: Final = Rows(
    "select count(*) from oban_jobs where state in ('available', 'executing', 'retryable')",
    "select state <> 'available' from oban_jobs order by id limit 1",
    """select count(*) filter (where state = 'completed' and attempt = 1),
        extract(epoch from max(completed_at) - min(attempted_at))::float8 from oban_jobs""",
)
CHANCY: Final = Rows(
    "select count(*) from chancy_jobs where state in ('pending', 'running', 'retrying')",
    "select exists (select from chancy_jobs where state <> 'pending')",
    """select count(*) filter (where state = 'succeeded'),
        null::float8 from chancy_jobs""",  # its times are the worker's, before they are written
)
DRAMATIQ_PG: Final = Rows(
    "select count(*) from dramatiq.queue where state in ('queued', 'consumed')",
    "select exists (select from dramatiq.queue where state <> 'queued')",
    "select count(*) filter (where state = 'done'), null::float8 from dramatiq.queue",
)
DRAMATIQ_POSTGRES: Final = Rows(
    "select count(*) from dramatiq.queue where state in ('queued', 'consumed')",
    "select exists (select from dramatiq.queue where state = 'consumed')",
    "select null::bigint, null::float8",
)
DRAMATIQ_REDIS: Final = Keys(left=("HLEN dramatiq:default.msgs",))
CELERY: Final = Keys(left=("LLEN celery", "HLEN unacked"))
RQ: Final = Keys(done=("ZCARD rq:finished:default",))

YARD: Final = "yardstick"
OURS: Final = "pgqueue"

# Its command stumbles over its own default for --log-level with a newer Typer (seen with 1.6.0).
_PGQUEUER: Final = ("pgqueuer[asyncpg]", "typer<0.21")
_PROCRASTINATE: Final = ("procrastinate", "psycopg[binary,pool]")
_OBAN: Final = ("oban", "psycopg[binary,pool]", "uvloop")
_CHANCY: Final = ("chancy[cli]", "psycopg[binary,pool]")
_DRAMATIQ_PG: Final = ("dramatiq-pg", "psycopg2-binary", "dramatiq")
_DRAMATIQ_POSTGRES: Final = ("dramatiq-postgres", "psycopg[binary,pool]", "dramatiq")
_DRAMATIQ: Final = ("dramatiq[redis]", "redis[hiredis]")
_CELERY: Final = ("celery[redis]", "redis[hiredis]")
_RQ: Final = ("rq", "redis[hiredis]")


@dataclass(frozen=True)
class Peer:
    """A peer: its lines share all this.

    Attributes:
        jobs: in a drain, tuned and at its defaults; else as in `Entry`, which see.
    """

    name: str
    label: str
    program: str
    seen: Rows | Keys
    jobs: tuple[int, int]
    kept: str
    needs: tuple[str, ...]
    python: tuple[int, int] = (3, 11)
    bulk: bool = True

    def lines(self) -> list[Entry]:
        """At its fastest documented settings, and at its defaults.

        On Redis the fastest settings are measured twice: with Redis as it comes, which answers
        before a write is on disk, and as durable as PostgreSQL.
        """
        tuned = self._line("", "tuned", tuned=True)
        defaults = self._line("-defaults", "defaults", tuned=False)
        if isinstance(self.seen, Rows):
            return [tuned, replace(defaults, enqueues=False)]
        durable = self._line("-durable", "tuned, durable", tuned=True)
        return [
            replace(tuned, durable=False),
            durable,
            replace(defaults, durable=False, enqueues=False),
        ]

    def _line(self, suffix: str, kind: str, *, tuned: bool) -> Entry:
        return Entry(
            name=f"{self.name}{suffix}",
            label=f"{self.label}, {kind}",
            program=self.program,
            seen=self.seen,
            jobs=self.jobs[0 if tuned else 1],
            tuned=tuned,
            kept=self.kept,
            needs=self.needs,
            python=self.python,
            bulk=self.bulk,
        )


def _ours(name: str, label: str, program: str) -> Entry:
    """A line that needs no environment of its own."""
    return Entry(name, label, program, PGQUEUE, ALL, tuned=False, kept="kept", needs=())


PEERS: Final = (
    Peer("pgqueuer", "PgQueuer", "pgqueuer", PGQUEUER, (ALL, 20_000), "deleted, logged", _PGQUEUER),
    Peer("oban", "Oban", "oban", OBAN, (10_000, 6000), "kept", _OBAN, (3, 12)),
    Peer("chancy", "Chancy", "chancy", CHANCY, (10_000, 6), "kept", _CHANCY),
    Peer(
        "procrastinate",
        "Procrastinate",
        "procrastinate",
        PROCRASTINATE,
        (1500, 1000),
        "kept",
        _PROCRASTINATE,
    ),
    Peer(
        "dramatiq-postgres",
        "Dramatiq on dramatiq-postgres",
        "dramatiq_postgres",
        DRAMATIQ_POSTGRES,
        (5000, 5000),
        "deleted",
        _DRAMATIQ_POSTGRES,
        bulk=False,
    ),
    Peer(
        "dramatiq-pg",
        "Dramatiq on dramatiq-pg",
        "dramatiq_pg",
        DRAMATIQ_PG,
        (2000, 1500),
        "kept",
        _DRAMATIQ_PG,
        bulk=False,
    ),
    Peer(
        "dramatiq",
        "Dramatiq on Redis",
        "dramatiq_redis",
        DRAMATIQ_REDIS,
        (10_000, 5000),
        "deleted",
        _DRAMATIQ,
        bulk=False,
    ),
    Peer(
        "celery",
        "Celery on Redis",
        "celery",
        CELERY,
        (3000, 3000),
        "deleted",
        _CELERY,
        bulk=False,
    ),
    Peer("rq", "RQ on Redis", "rq", RQ, (800, 150), "kept 500 s", _RQ),
)

ENTRIES: Final = {
    entry.name: entry
    for entry in (
        _ours(YARD, "yardstick", "yardstick"),
        _ours(OURS, "pgqueue, async handlers", "pgqueue"),
        replace(_ours("pgqueue-def", "pgqueue, def handlers", "pgqueue_def"), enqueues=False),
        *(line for peer in PEERS for line in peer.lines()),
    )
}
