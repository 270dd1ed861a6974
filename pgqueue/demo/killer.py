"""Kills one worker while the table shows it running jobs, and proves that jobs were rescued."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgqueue.demo.app import PAUSE, PIECES, QUEUE

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from pgqueue.connections import Connection
    from pgqueue.demo.screen import Screen
    from pgqueue.demo.workers import Workers

PATIENCE: Final = 10.0
"""Seconds for workers to come up and run something, and for a rescue."""

# A slow document: a handler that is done before the kill arrives proves nothing.
_RUNNING: Final = """
select distinct worker.id, worker.pid
from pgqueue.workers as worker
join pgqueue.jobs as job on job.worker_id = worker.id and job.state = 'running'
join pgqueue_demo.documents as document
    on document.id = (job.args ->> 'document_id')::bigint and document.fate = 'slow'
where worker.hostname = %s and worker.queues = array[%s]
order by worker.id
"""
_HELD: Final = """
select id, lease, started_at from pgqueue.jobs
where state = 'running' and worker_id = %s
"""
_NOTE: Final = """
insert into pgqueue_demo.killed (worker_id, process, job_id, lease, started_at)
values (%s, %s, %s, %s, %s)
"""
_BURIED: Final = """
select not exists (select from pgqueue.workers where id = %(worker)s)
    and not exists (
        select from pgqueue.jobs where worker_id = %(worker)s and state = 'running'
    )
"""
_RESCUED: Final = """
select count(*) from pgqueue_demo.killed as killed
join pgqueue.attempts as attempt using (job_id, lease, worker_id)
where killed.worker_id = %(worker)s and attempt.outcome = 'rescued'
"""


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed.

    Attributes:
        held: jobs that the table showed it running right before.
        rescued: those of them that had started, and were taken over.
    """

    worker_id: int
    process: int
    held: int
    rescued: int


class Killer:
    """Strikes until a kill has cost a worker jobs that had started.

    Args:
        connection: in autocommit mode.
        workers: the only processes that it may kill.
        dice: chooses the worker and the moment.
        screen: told what happened.
        tick: called while it waits.
    """

    def __init__(
        self,
        connection: Connection,
        workers: Workers,
        dice: random.Random,
        screen: Screen,
        tick: Callable[[], None],
    ) -> None:
        self._connection, self._workers = connection, workers
        self._dice, self._screen, self._tick = dice, screen, tick
        self.kills: list[Kill] = []

    @property
    def proved(self) -> bool:
        """Whether jobs were rescued from a killed worker."""
        return any(kill.rescued for kill in self.kills)

    def strike(self) -> None:
        """Kill a worker that runs jobs, at a random moment, and wait for the rescue."""
        if self._until(lambda: bool(self._candidates())):
            time.sleep(self._dice.uniform(0.0, PAUSE * PIECES))
            if candidates := self._candidates():
                self._kill(*self._dice.choice(candidates))

    def _candidates(self) -> list[tuple[int, int]]:
        """The workers of ours that run jobs: id and process."""
        rows = self._connection.execute(_RUNNING, [socket.gethostname(), QUEUE]).fetchall()
        return [(id_, pid) for id_, pid in rows if self._workers.owns(pid)]

    def _kill(self, worker_id: int, process: int) -> None:
        held = self._connection.execute(_HELD, [worker_id]).fetchall()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(_NOTE, [(worker_id, process, *job) for job in held])
        self._screen.say(
            f"worker {worker_id} (process {process}) killed with SIGKILL, while the table showed "
            f"it running {len(held)} jobs"
        )
        self._prove(worker_id, process, len(held))

    def _prove(self, worker_id: int, process: int, held: int) -> None:
        self._until(lambda: bool(self._ask(_BURIED, worker_id)))
        rescued = self._ask(_RESCUED, worker_id)
        self.kills.append(Kill(worker_id, process, held, rescued))
        again = "" if rescued else ": another worker is to be killed"
        self._screen.say(f"{rescued} of these jobs had started, and were rescued{again}")

    def _ask(self, query: str, worker_id: int) -> int:
        row = self._connection.execute(query, {"worker": worker_id}).fetchone()
        return int(row[0]) if row else 0

    def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; False when patience or the workers end first."""
        end = time.monotonic() + PATIENCE
        while not condition():
            self._workers.check()
            if time.monotonic() > end:
                return False
            self._tick()
            time.sleep(0.005)
        return True
