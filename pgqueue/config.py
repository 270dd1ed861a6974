"""Settings, validated once, and the one rule by which the database is found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from pgqueue.errors import ConfigError
from pgqueue.retention import Retention, by_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgqueue.job import State

DSN_VARIABLES: Final = ("PGQUEUE_DATABASE_URL", "DATABASE_URL")
LIBPQ_VARIABLES: Final = ("PGHOST", "PGDATABASE", "PGSERVICE", "PGUSER", "PGPORT", "PGHOSTADDR")

LoopName = Literal["auto", "asyncio", "uvloop"]

_SCHEME = re.compile(r"^(?:postgres|postgresql)(?:\+[a-z0-9_]+)?://", re.IGNORECASE)
# To the last @, even past a slash: people forget to escape what their passwords hold.
_URL_PASSWORD = re.compile(r"(?P<head>://[^/?#:@]*:).*(?=@)", re.DOTALL)
_URL_OPTION = re.compile(r"(?P<head>[?&](?:ssl)?password=)[^&\s]+", re.IGNORECASE)
_KEYWORD_PASSWORD = re.compile(
    r"(?P<head>(?<![?&])\b(?:ssl)?password\s*=\s*)"
    r"(?:'(?:[^'\\]|\\.)*'?|(?:\\.|[^ \t\n\r\f\v])+)"
    r"(?:\s+[^\s=]+(?=\s|$)(?!\s*=))*",  # words after a space that somebody forgot to quote
    re.IGNORECASE | re.DOTALL,
)
_PASSWORDS: Final = (_URL_PASSWORD, _URL_OPTION, _KEYWORD_PASSWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an app's jobs are enqueued and worked. Every duration is in seconds.

    Attributes:
        max_payload: largest arguments, in bytes of JSON.
        max_result: largest result, in bytes of JSON; what is above it is a dead job.
        warn_payload: arguments above this, in bytes of JSON, are logged, once for each task.
        statement_timeout: limit of each statement on pgqueue's own connections.
        lock_timeout: longest wait for a row lock on pgqueue's own connections.
        connect_timeout: limit of one attempt to connect.
        pool_size: connections of the app's own pool, for enqueues without a caller's connection.
        shares: of a worker's claims, by queue, in relation to its other queues; 1 unless given.
        concurrency: `async def` handlers that one worker runs at the same time.
        loop: the event loop that they run on: "uvloop", "asyncio", or "auto" for uvloop where that
            is installed.
        threads: plain `def` handlers that one worker runs at the same time.
        children: handlers with `executor="process"` that one worker runs at the same time, each
            in a child process of its own.
        cancel_grace: how long a handler may take to end once it was asked to; then its process is
            killed, or its slot is written off: it is *stuck*.
        max_stuck: a worker retires when so many of its handlers are stuck; by default half of its
            threads.
        stall_warning: a handler that blocks the event loop for longer is named in the log.
        max_jobs: a worker retires after about so many jobs; None for never.
        max_rss: MiB of resident memory from which on a worker retires, and a child process is
            replaced after its job; None for no limit.
        poll_interval: mean pause between two looks for work of an idle worker.
        heartbeat: pause between two heartbeats of a worker; 3 seconds when it is longer, because
            a heartbeat also looks for workers that have died.
        ttl: a worker whose heartbeat is older than this is dead.
        crash_cap: a job that was blamed for this many dead processes is dead itself.
        retention: how long jobs are kept after their end: a time for all final states, or by
            state, in seconds or as a timedelta, None for ever. Of states that it does not name it
            says nothing: unless somebody else does, succeeded jobs are kept for 1 day, cancelled
            and expired ones for 7, dead ones for ever. A task may have times of its own. Read
            back, it is seconds by state.
        shutdown_timeout: how long a stopping worker lets handlers run.
        listen: whether workers LISTEN; without it they find work by polling alone.
        listen_dsn: a direct connection for LISTEN, where the main one goes through a pooler.
        synchronous_commit: whether a worker's claims and outcomes wait for the disk; without it a
            crash of the server, not of a worker, may undo the last fraction of a second of them,
            and those jobs run again. What handlers write is not touched by it.
        prepare: whether workers use prepared statements; off for a pooler in transaction mode
            that does not support them.
        require_transaction: enqueues are refused without a connection, and through one whose
            next statement would commit on its own; `using(require_transaction=...)` overrides.
    """

    max_payload: int = 1024 * 1024
    max_result: int = 1024 * 1024
    warn_payload: int = 64 * 1024
    statement_timeout: float = 10.0
    lock_timeout: float = 2.0
    connect_timeout: float = 5.0
    pool_size: int = 4
    shares: Mapping[str, int] = field(default_factory=dict)
    concurrency: int = 100
    loop: LoopName = "auto"
    threads: int = 16
    children: int = 4
    cancel_grace: float = 5.0
    max_stuck: int | None = None
    stall_warning: float = 1.0
    max_jobs: int | None = None
    max_rss: int | None = None
    poll_interval: float = 1.5
    heartbeat: float = 3.0
    ttl: float = 12.0
    crash_cap: int = 3
    retention: Retention = field(default_factory=dict)
    shutdown_timeout: float = 30.0
    listen: bool = True
    listen_dsn: str | None = None
    synchronous_commit: bool = True
    prepare: bool = True
    require_transaction: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            if (value := getattr(self, name)) is not None or name not in _OPTIONAL:
                _check_range(name, value, low, high)
        if self.loop not in get_args(LoopName):
            names = ", ".join(map(repr, get_args(LoopName)))
            raise ConfigError(f"loop={self.loop!r}: expected one of {names}")
        for queue, share in self.shares.items():
            _check_range(f"shares[{queue!r}]", share, 1, MAX_SHARE)
        object.__setattr__(self, "retention", by_state("retention", self.retention))
        if self.ttl < 3 * self.heartbeat:
            raise ConfigError(
                f"ttl={self.ttl!r} is too short for heartbeat={self.heartbeat!r}: a worker must be "
                f"able to miss two beats; set ttl to at least {3 * self.heartbeat:g}"
            )

    @property
    def keeps(self) -> Mapping[State, float | None]:
        """Seconds by final state, as `retention` is read back."""
        return cast("Mapping[State, float | None]", self.retention)

    @property
    def slots(self) -> int:
        """How many handlers one worker runs at the same time, in all."""
        return self.concurrency + self.threads + self.children

    @property
    def most_stuck(self) -> int:
        """The stuck handlers at which a worker retires."""
        return self.max_stuck or max(self.threads // 2, 1)


MAX_SHARE: Final = 1000

_RANGES: Final = (
    ("max_payload", 1, 256 * 1024 * 1024),
    ("max_result", 1, 256 * 1024 * 1024),
    ("warn_payload", 1, 256 * 1024 * 1024),
    ("statement_timeout", 0.1, 3600),
    ("lock_timeout", 0.01, 3600),
    ("connect_timeout", 1, 600),
    ("pool_size", 1, 1000),
    ("concurrency", 1, 100_000),
    ("threads", 1, 10_000),
    ("children", 1, 1000),
    ("cancel_grace", 0, 3600),
    ("max_stuck", 1, 100_000),
    ("stall_warning", 0.05, 3600),
    ("max_jobs", 1, 1_000_000_000),
    ("max_rss", 1, 16 * 1024 * 1024),
    ("poll_interval", 0.01, 60),
    ("heartbeat", 0.05, 3600),
    ("ttl", 0.15, 24 * 3600),
    ("crash_cap", 1, 1000),
    ("shutdown_timeout", 0, 24 * 3600),
)
_WHOLE: Final = frozenset(
    {
        "max_payload",
        "max_result",
        "warn_payload",
        "pool_size",
        "concurrency",
        "threads",
        "crash_cap",
    }
    | {"children", "max_stuck", "max_jobs", "max_rss"}
)
_OPTIONAL: Final = frozenset({"max_stuck", "max_jobs", "max_rss"})


def _check_range(name: str, value: object, low: float, high: float) -> None:
    whole = name in _WHOLE or name.startswith("shares")
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"{name}={value!r}: expected {what} from {low:g} to {high:g}")


def resolve_dsn(explicit: str | None, environ: Mapping[str, str]) -> str:
    """The DSN to use: explicit, then PGQUEUE_DATABASE_URL, DATABASE_URL, then libpq's PG*.

    Returns:
        A DSN for libpq; the empty string when libpq's own variables decide.

    Raises:
        ConfigError: nothing says where the database is; the message says what to set.
    """
    named = (environ.get(variable) for variable in DSN_VARIABLES)
    for candidate in (explicit, *named):
        if candidate and candidate.strip():
            return normalize_dsn(candidate)
    if any(environ.get(variable) for variable in LIBPQ_VARIABLES):
        return ""
    raise ConfigError(
        "no database is set: pass --dsn (or PgQueue(dsn)), or set PGQUEUE_DATABASE_URL, "
        "DATABASE_URL or libpq's PGHOST, PGDATABASE, ..."
    )


def normalize_dsn(dsn: str) -> str:
    """A DSN as libpq reads it: SQLAlchemy's `postgresql+driver://` becomes `postgresql://`.

    Raises:
        ConfigError: another scheme, such as `mysql://`.
    """
    dsn = dsn.strip()
    if _SCHEME.match(dsn):
        return _SCHEME.sub("postgresql://", dsn)
    if "://" in dsn.split("=", 1)[0]:
        raise ConfigError(
            f"{mask_dsn(dsn)!r} is not a PostgreSQL DSN: expected postgresql://user@host/database"
        )
    return dsn


def mask_dsn(dsn: str) -> str:
    """The DSN with its password replaced, for messages and logs; in doubt, with more than that."""
    for password in _PASSWORDS:
        dsn = password.sub(r"\g<head>***", dsn)
    return dsn
