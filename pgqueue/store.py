"""The only module that runs the fixed statements of the hot path; each is a file under sql/.

Every function takes a connection and plain values and gives plain values back. None of them
decides anything, and none keeps state.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import resources
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg
from psycopg.rows import tuple_row

from pgqueue import session
from pgqueue.job import ClaimedJob
from pgqueue.wire import Statement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from pgqueue.config import Settings
    from pgqueue.connections import Connection
    from pgqueue.outcome import Ephemeral, Succeeded, Unsuccessful
    from pgqueue.wire import Flight, Wire

Verdict = Literal["mine", "succeeded", "cancelled", "recorded", "lost", "gone", "busy"]
Takes = Literal["all", "unsuspected", "suspects"]
"""Which jobs a worker claims: suspects only when it is there for them, one at a time."""

BATCH: Final = 1000
"""Jobs in one exchange: the plans are checked up to here. With 500 a drain has 0.68 to 0.70 of the
yardstick and with 1,000 has 0.75 to 0.78, for each commit waits for the disk; 1,500 gained no more,
and a reply must fit what a socket buffers, or the server waits for us with the rows locked."""

AVOIDED: Final = dict.fromkeys(
    ("enable_hashjoin", "enable_mergejoin", "enable_sort", "enable_seqscan", "jit"), "off"
)
"""What some plans would do to all of `jobs`, and compiling them: limits.sql says why."""

_ID: Final = attrgetter("id")
_ORDER: Final = attrgetter("run_at", "id")
_PRIORITY: Final = attrgetter("priority")
# As ClaimedJob._make, but without a call into Python for each row.
_MADE: Final = partial(tuple.__new__, ClaimedJob)

# The server could not be reached, ended the connection, or is not the primary any more.
GONE: Final = (psycopg.OperationalError, psycopg.InterfaceError)


@cache
def statement(name: str) -> bytes:
    """The statement in sql/NAME.sql, without its comments."""
    text = resources.files("pgqueue").joinpath("sql", f"{name}.sql").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).encode()


@dataclass(frozen=True, slots=True)
class LaneClaim:
    """One lane of a claim: where to look, from which floor on, and how much to take at most.

    Attributes:
        floor: (run_at, id) last claimed; None looks from the beginning.
    """

    queue: str
    priority: int
    floor: tuple[datetime, int] | None
    cap: int


@dataclass(slots=True)
class ExchangeReply:
    """What one exchange brought: ids whose outcome is recorded, and claimed jobs, best first.

    Attributes:
        cancelled: of the recorded, those that the table made of other failures, releases and
            snoozes, because somebody had asked for a cancel.
    """

    recorded: list[int]
    claimed: list[ClaimedJob]
    cancelled: Collection[int] = ()


class Sent:
    """An exchange on its way: the server works on it while we do something else."""

    def __init__(
        self, wire: Wire, flight: Flight, finishes: slice, failures: int | None, *, claims: bool
    ) -> None:
        self._wire, self._flight, self._finishes, self._claims = wire, flight, finishes, claims
        self._failures = failures

    @property
    def landed(self) -> bool:
        """Whether it was answered."""
        return self._flight.landed

    def receive(self) -> ExchangeReply:
        """Wait for what it brought.

        Raises:
            psycopg.Error: nothing of it is recorded, or, when the connection broke, nobody knows.
        """
        self._wire.wait(self._flight)
        results = self._flight.results
        recorded = [
            id_
            for finish in results[self._finishes]
            for id_ in self._wire.rows(finish, itemgetter(0))
        ]
        claimed = self._wire.rows(results[-1], _MADE) if self._claims else []
        # Two stable sorts by C functions: a third of the time of one by a function of ours.
        claimed.sort(key=_ORDER)
        claimed.sort(key=_PRIORITY, reverse=True)
        if self._failures is None:
            return ExchangeReply(recorded, claimed)
        failures = self._wire.rows(results[self._failures], itemgetter(0, 2))
        return ExchangeReply(recorded, claimed, {id_ for id_, cancelled in failures if cancelled})


def send(
    wire: Wire,
    settings: Settings,
    *,
    worker_id: int,
    worker: str,
    succeeded: Sequence[Succeeded] = (),
    unsuccessful: Sequence[Unsuccessful] = (),
    ephemeral: Sequence[Ephemeral] = (),
    lanes: Sequence[LaneClaim] = (),
    room: int = 0,
    suspect_id: int | None = None,
    progress: Sequence[tuple[Any, ...]] = (),
    careful: bool = True,
    takes: Takes = "all",
) -> Sent:
    """Send an exchange: finish what came out, claim what there is room for, in one commit.

    Args:
        wire: goes on with it when it has done those before.
        settings: gives the time limits.
        worker_id: who claims.
        worker: the worker's name, kept with unsuccessful attempts.
        succeeded: outcomes, in any order; at most BATCH.
        unsuccessful: outcomes, in any order; at most BATCH.
        ephemeral: outcomes, in any order; at most BATCH.
        lanes: where to claim, best first.
        room: how many jobs to claim at most; 0 claims nothing.
        suspect_id: the suspect that this worker is about to start; None names none.
        progress: last words of the jobs that are finished, by the columns of `progress`.
        careful: skip rows that somebody has locked; without it they are waited for, up to the
            lock timeout, and all else is a sixth faster.
        takes: which jobs to claim; of suspects alone one at most, wherever in the queues of
            `lanes` it stands.

    Raises:
        psycopg.OperationalError: the connection is broken.
    """
    claims = room > 0 and bool(lanes)
    held = session.held(wire.connection, held_limits(settings))
    statements = [] if held else [_statement("limits", limits(settings))]
    if progress:
        statements.append(_statement("progress", {"reports": reports_document(progress)}))
    if succeeded:
        name = "finish_succeeded" if careful else "finish_succeeded_waiting"
        statements.append(_statement(name, _successes(succeeded)))
    if unsuccessful:
        values = {"outcomes": _documents(unsuccessful), "worker": worker}
        statements.append(_statement("finish_unsuccessful", values))
    if ephemeral:
        statements.append(_statement("finish_ephemeral", _successes(ephemeral)))
    count = bool(succeeded) + bool(unsuccessful) + bool(ephemeral)
    first = 0 if held else 1
    finishes = slice(first, first + count)
    failures = first + bool(succeeded) if unsuccessful else None
    if not settings.synchronous_commit:
        statements.append(_statement("asynchronous", {}))
    if suspect_id is not None:
        names = {"worker_id": worker_id, "job_id": suspect_id}
        statements.append(_statement("name_suspect", names))
    if claims:
        name = "claim_suspect" if takes == "suspects" else "claim"
        values = _claim(worker_id, lanes, room) | {"suspects": takes == "all"}
        statements.append(_statement(name, values))
    return Sent(wire, wire.start(statements), finishes, failures, claims=claims)


def _statement(name: str, given: Mapping[str, str | int | None]) -> Statement:
    query, names = _numbered(name)
    ordered = (given[each] for each in names)
    values = [None if value is None else str(value).encode() for value in ordered]
    return Statement(name, query, values)


@cache
def _numbered(name: str) -> tuple[bytes, tuple[str, ...]]:
    """A statement with $1, $2 ... for its parameters, and their names in that order."""
    text = statement(name).decode()
    names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", text)
    return numbered.replace("%%", "%").encode(), names


def limits(settings: Settings) -> dict[str, str]:
    """The parameters of limits.sql, in milliseconds as PostgreSQL reads them."""
    return _limits(settings.statement_timeout, settings.lock_timeout)


def _limits(statement: float, lock: float) -> dict[str, str]:
    return {"statement_timeout": f"{int(statement * 1000)}", "lock_timeout": f"{int(lock * 1000)}"}


def held_limits(settings: Settings) -> Mapping[str, str]:
    """What limits.sql sets, by name: to be held for a whole session, where that may be."""
    return _held_limits(settings.statement_timeout, settings.lock_timeout)


@cache
def _held_limits(statement: float, lock: float) -> Mapping[str, str]:
    """Made once, for it is compared at every exchange."""
    return _limits(statement, lock) | AVOIDED


def execute(
    connection: Connection, name: str, values: Mapping[str, Any] | None = None
) -> psycopg.Cursor[Any]:
    """Run sql/NAME.sql; prepared at once, unless the connection forbids it."""
    prepare = connection.prepare_threshold is not None or None
    # A handler may have set a row factory on the connection that it shares with us.
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    return cursor.execute(statement(name), values or {}, prepare=prepare)


def run(
    connection: Connection, settings: Settings, name: str, values: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run sql/NAME.sql in a transaction of its own, with time limits; the rows it returns."""
    if session.held(connection, held_limits(settings)):
        cursor = execute(connection, name, values)
        return cursor.fetchall() if cursor.description else []
    with connection.pipeline():
        execute(connection, "limits", limits(settings))
        cursor = execute(connection, name, values)
    return cursor.fetchall() if cursor.description else []


def settle(
    connection: Connection, settings: Settings, keys: Sequence[tuple[int, int]]
) -> list[tuple[int, int, Verdict]]:
    """What became of leases, given as (id, lease) by id: (id, lease, verdict)."""
    values = {"ids": array(key[0] for key in keys), "leases": array(key[1] for key in keys)}
    return run(connection, settings, "settle", values)


def _claim(worker_id: int, lanes: Sequence[LaneClaim], room: int) -> dict[str, Any]:
    return {
        "worker_id": worker_id,
        "room": room,
        "queues": array(_quoted(lane.queue) for lane in lanes),
        "priorities": array(lane.priority for lane in lanes),
        "floor_times": array(_time(lane.floor) for lane in lanes),
        "floor_ids": array(lane.floor[1] if lane.floor else 0 for lane in lanes),
        "caps": array(lane.cap for lane in lanes),
    }


def _time(floor: tuple[datetime, int] | None) -> str:
    return f'"{floor[0].isoformat()}"' if floor else "-infinity"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(items: Iterable[object]) -> str:
    """A PostgreSQL array literal of numbers or quoted text; thrice as fast as adapting a list."""
    return "{" + ",".join(map(str, items)) + "}"


def _successes(outcomes: Sequence[Succeeded]) -> dict[str, str | None]:
    ordered = sorted(outcomes, key=_ID)
    results = [f'"{done.id}":{done.result}' for done in ordered if done.result is not None]
    return {
        "ids": array(done.id for done in ordered),
        "leases": array(done.lease for done in ordered),
        "results": "{" + ",".join(results) + "}" if results else None,
    }


def reports_document(reports: Iterable[tuple[Any, ...]]) -> str:
    """The parameter of progress.sql."""
    names = ("job_id", "lease", "sequence", "done", "total", "message")
    return json.dumps([dict(zip(names, report, strict=True)) for report in reports])


def _documents(outcomes: Sequence[Unsuccessful]) -> str:
    documents = [asdict(outcome) for outcome in sorted(outcomes, key=_ID)]
    for document in documents:
        document["outcome"] = document.pop("ending")
    return json.dumps(documents)
