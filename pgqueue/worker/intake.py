"""What comes in, and to whom it goes: claimed jobs to their executors, and back where need be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue import outcome
from pgqueue.worker import execution
from pgqueue.worker.parts import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgqueue.durable import Keeper
    from pgqueue.job import ClaimedJob
    from pgqueue.options import ExecutorName
    from pgqueue.tasks import Task
    from pgqueue.telemetry.events import Events
    from pgqueue.worker.ledger import Ledger
    from pgqueue.worker.parts import Executor, Why
    from pgqueue.worker.registry import Registry
    from pgqueue.worker.reports import Reports

    Maker = Callable[[ClaimedJob, Task[..., object], Reports, Keeper | None], Attempt]

LEAST_SHARE: Final = 0.01
"""Of an executor in the mix of jobs: one with less lately holds up the others only when it has more
than it wants. With 16 threads and none for them, only 800 jobs were ever claimed for the loop."""


class Intake:
    """Hands claimed jobs out, and knows how many more would fit.

    Args:
        executors: who runs handlers, by the name that tasks call them.
        registry: what this worker can run.
        ledger: what is held and owed.
        emit: takes events.
        make: makes an attempt of a job; for hooks that are told of starts.
        reports: takes what handlers say of their progress.
        alone: one job at a time is all that fits.

    Attributes:
        keeper: keeps the results of steps; every attempt gets it.
    """

    def __init__(
        self,
        executors: Mapping[ExecutorName, Executor],
        registry: Registry,
        ledger: Ledger,
        emit: Events,
        *,
        reports: Reports,
        make: Maker = Attempt,
        alone: bool = False,
    ) -> None:
        self.keeper: Keeper | None = None
        self._alone = alone
        self._executors, self._registry = executors, registry
        self._ledger, self._emit, self._make = ledger, emit, make
        self._reports, self._taken = reports, 0
        self._shares = dict.fromkeys(executors, 1.0)

    def room(self) -> int:
        """How many jobs fit every executor, if they come in the mix of late."""
        if self._alone:
            return 0 if self._ledger.held else 1
        shares = self._shares
        rooms = ((executor.room(), shares[kind]) for kind, executor in self._executors.items())
        counts = (room / share for room, share in rooms if share > LEAST_SHARE or room < 0)
        return int(min(counts)) - len(self._ledger.suspects)

    def take(self, claimed: list[ClaimedJob], now: float) -> None:
        """Start what was claimed, best first; give back what cannot run here."""
        make, hold = self._make, self._ledger.hold
        reports, keeper = self._reports, self.keeper
        batches: dict[ExecutorName, list[Attempt]] = {kind: [] for kind in self._executors}
        for job in claimed:
            task = self._registry.find(job.task, job.version)
            if task is None:
                delay = self._registry.missed(job.task, now, job.version)
                self._ledger.owe(outcome.release(job, delay=delay))
            elif job.expired:
                self._ledger.owe(outcome.expired(job))
            else:
                attempt = make(job, task, reports, keeper)
                hold(attempt)
                (self._ledger.suspects if job.suspect else batches[task.executor]).append(attempt)
        starting = sum(map(len, batches.values()))
        for kind, attempts in batches.items():
            self._note_share(kind, len(attempts), starting)
            if attempts:
                self._taken += len(attempts)
                self._executors[kind].start(attempts)
        for unknown in self._registry.warnings(now):
            self._emit(unknown)

    def _note_share(self, kind: ExecutorName, count: int, total: int) -> None:
        if total:
            share = self._shares[kind]
            self._shares[kind] = max(share + 0.2 * (count / total - share), LEAST_SHARE / 10)

    def next_suspect(self) -> Attempt | None:
        """The suspect to name in the table before it starts; at most one runs."""
        waiting = self._ledger.suspects
        return waiting[0] if waiting and self._ledger.suspect is None else None

    def start_suspect(self) -> None:
        """Start the suspect that was named."""
        self._taken += 1
        suspect = self._ledger.suspect = self._ledger.suspects.popleft()
        self._executors[suspect.task.executor].start([suspect])

    def end(self, attempt: Attempt, why: Why) -> None:
        """Ask an attempt to end; once is enough."""
        if attempt.why is not None:
            return
        if attempt not in self._ledger.suspects:
            self._executors[attempt.task.executor].cancel(attempt, why)
            return
        self._ledger.suspects.remove(attempt)
        attempt.why = why
        self._ledger.owe(execution.cut(attempt))

    def end_all(self, why: Why) -> int:
        """Ask every attempt that has no outcome yet to end; how many those are."""
        running = self._ledger.running()
        for attempt in running:
            self.end(attempt, why)
        return len(running)

    def give_back(self, older_than: float, *, delay: float) -> None:
        """Release what waits for a slot, so that another worker can have it."""
        for executor in self._executors.values():
            for attempt in executor.unstarted(older_than):
                self._taken -= 1
                self._ledger.owe(outcome.release(attempt.job, delay=delay))

    def give_all_back(self) -> None:
        """Release whatever has not started."""
        self.give_back(0.0, delay=0.0)
        while self._ledger.suspects:
            self._ledger.owe(outcome.release(self._ledger.suspects.popleft().job))

    def forget_unstarted(self) -> None:
        """Start nothing that has not started, and say nothing about it: it is not ours any more."""
        for executor in self._executors.values():
            executor.unstarted(0.0)

    def ended(self) -> int:
        """How many jobs have run to their end, whatever that was."""
        in_hand = sum(executor.in_hand() for executor in self._executors.values())
        return self._taken - in_hand

    def idle(self) -> bool:
        """Whether no handler runs."""
        return not any(executor.in_hand() for executor in self._executors.values())
