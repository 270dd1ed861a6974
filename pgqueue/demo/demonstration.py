"""One demo: documents and their jobs written in common transactions, a kill, and the sums."""

from __future__ import annotations

import random
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgqueue.demo import database, documents, reconcile
from pgqueue.demo.app import QUEUE, count_words
from pgqueue.demo.killer import Killer
from pgqueue.demo.workers import Workers

if TYPE_CHECKING:
    from pathlib import Path

    from pgqueue.connections import Connection
    from pgqueue.demo.app import Fate
    from pgqueue.demo.killer import Kill
    from pgqueue.demo.reconcile import Line
    from pgqueue.demo.screen import Screen

BURST: Final = 8
"""Slow documents that are written before each try to kill a worker."""
STUCK: Final = 30.0
"""Seconds without any change in the jobs after which the demo no longer waits for them."""

_INSERT: Final = (
    "insert into pgqueue_demo.documents (path, fate, body) values (%s, %s, %s) returning id"
)
_UNDONE: Final = (
    "insert into pgqueue_demo.rolled_back (document_id, job_id, path) values (%s, %s, %s)"
)
_STATES: Final = """
select case when state = 'ready' and attempt > 0 then 'retrying' else state end, count(*)
from pgqueue.jobs where queue = %s group by 1
"""
_UNENDED: Final = ("running", "retrying", "ready", "blocked")
_ORDER: Final = ("succeeded", "dead", *_UNENDED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a demo does: the same seed and files give the same plan.

    Attributes:
        folder: where the files are; None for the default.
        documents: the files in the order in which they are written, and their fates.
        kill_at: the number of the document after which a worker is killed.
        dice: for the moment of the kill.
    """

    folder: Path | None
    seed: int
    documents: list[tuple[Path, Fate]]
    kill_at: int
    workers: int
    dice: random.Random

    @classmethod
    def make(cls, folder: Path | None, *, seed: int, limit: int, workers: int) -> Plan:
        """Find the files, and throw the dice.

        Raises:
            ConfigError: the folder does not hold what the demo needs.
        """
        dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        chosen = documents.choose(documents.find(folder), limit, dice)
        kill_at = dice.randrange(len(chosen) // 10, len(chosen) * 6 // 10)
        return cls(folder, seed, chosen, kill_at, workers, dice)

    def like(self, *, seed: int) -> Plan:
        """A plan for as many documents of the same folder, with other dice."""
        limit = len(self.documents)
        return Plan.make(self.folder, seed=seed, limit=limit, workers=self.workers)

    def command(self) -> str:
        """The command line that gives this plan again."""
        folder = f" {shlex.quote(str(self.folder))}" if self.folder else ""
        count = len(self.documents)
        return f"pgqueue demo{folder} --seed {self.seed} --limit {count} --workers {self.workers}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a demo.

    Attributes:
        exit_code: of the workers; 0 when they stopped clean.
        last_words: the end of the workers' log.
    """

    lines: list[Line]
    kills: list[Kill]
    exit_code: int
    seconds: float
    last_words: str

    @property
    def holds(self) -> bool:
        """Whether every line does."""
        return self.exit_code == 0 and all(line.holds for line in self.lines)

    @property
    def rescued(self) -> int:
        """Jobs that were rescued from killed workers."""
        return sum(kill.rescued for kill in self.kills)


def run(plan: Plan, dsn: str, log: Path, screen: Screen) -> Result:
    """Run a plan on a database to the end, and reconcile.

    Args:
        plan: what to do.
        dsn: the database.
        log: a file for what the workers log.
        screen: where progress is shown.

    Raises:
        PgQueueError: it could not be run: the workers do not start, the database is lost.
    """
    began = time.monotonic()
    with database.prepared(dsn) as connection:
        with Workers(dsn, plan.workers, log) as workers:
            demonstration = _Demonstration(plan, connection, workers, screen)
            demonstration.write_all()
            demonstration.wait_for_end()
            code = workers.stop()
        screen.say("the workers have stopped; now the words are counted again, in SQL")
        lines = reconcile.lines(connection)
    kills, seconds = demonstration.killer.kills, time.monotonic() - began
    return Result(lines, kills, code, seconds, workers.last_words())


class _Demonstration:
    """A demo on its way."""

    def __init__(
        self, plan: Plan, connection: Connection, workers: Workers, screen: Screen
    ) -> None:
        self._plan, self._connection = plan, connection
        self._workers, self._screen = workers, screen
        self._written = self._undone = 0
        self.killer = Killer(connection, workers, plan.dice, screen, self._tick)

    def write_all(self) -> None:
        """Write the documents; from the chosen one on slow ones, until a kill was proved."""
        for number, (path, fate) in enumerate(self._plan.documents, start=1):
            waiting = 0 if self.killer.proved else number - self._plan.kill_at
            self._write(path, "slow" if waiting > 0 and fate == "plain" else fate)
            if waiting > 0 and waiting % BURST == 0:
                self.killer.strike()
            self._tick()
        if not self.killer.proved:
            self.killer.strike()

    def _write(self, path: Path, fate: Fate) -> None:
        """A document and the job that is to process it: one transaction."""
        try:
            body = documents.read(path)
        except OSError as error:
            self._screen.say(f"left out: {error}")
            return
        undo = fate == "rolls back"
        with self._connection.transaction(force_rollback=undo):
            cursor = self._connection.execute(_INSERT, [str(path), "plain" if undo else fate, body])
            [(document_id,)] = cursor.fetchall()
            job = count_words.using(self._connection).enqueue(document_id=document_id)
        self._written += not undo
        if undo:
            self._undone += 1
            self._connection.execute(_UNDONE, [document_id, job.id, str(path)])

    def wait_for_end(self) -> None:
        """Wait until all jobs have ended, or nothing changes any more."""
        seen, since = self._states(), time.monotonic()
        while any(seen.get(state) for state in _UNENDED):
            self._workers.check()
            self._tick()
            time.sleep(0.02)
            now = self._states()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > STUCK:
                self._screen.say(f"nothing has changed for {STUCK:.0f} s: no longer waiting")
                return

    def _states(self) -> dict[str, int]:
        return dict(self._connection.execute(_STATES, [QUEUE]).fetchall())

    def _tick(self) -> None:
        if not self._screen.due():
            return
        states = self._states()
        told = [f"{states[state]:,} {state}" for state in _ORDER if state in states]
        self._screen.progress(
            f"{self._written:,} of {len(self._plan.documents):,} written, "
            f"{self._undone:,} rolled back; {', '.join(told) or 'no jobs'}"
        )
