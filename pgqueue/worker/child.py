"""The program that a worker starts to run handlers in: one attempt at a time, until told to end.

Run as `python -m pgqueue.worker.child`. Standard input brings the order and then jobs; when it
ends, the worker is gone, or wants this process to be. Handlers run on the main thread, so that a
signal reaches them wherever they stand.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pgqueue import outcome
from pgqueue.config import Settings
from pgqueue.discovery import load_app
from pgqueue.errors import PgQueueError
from pgqueue.telemetry import fields, wording
from pgqueue.worker import execution, messages, plain
from pgqueue.worker.keeper import Keeper
from pgqueue.worker.lifeline import take_stdin
from pgqueue.worker.parts import Attempt
from pgqueue.worker.reports import Reports
from pgqueue.worker.transactions import Transactions

if TYPE_CHECKING:
    from types import FrameType

    from pgqueue.app import PgQueue
    from pgqueue.job import ClaimedJob
    from pgqueue.outcome import Outcome

PROGRESS_EVERY: Final = 0.5
"""Seconds between two looks for progress to pass on: the worker writes it once a second."""
UNKNOWN_PAUSE: Final = 30.0
"""Seconds until a job is due again whose task the worker knows and its child does not."""


class Ended(KeyboardInterrupt):
    """Raised into a handler that should end.

    A KeyboardInterrupt, because libraries know what to do then: psycopg cancels its query,
    `subprocess.run` kills what it waits for, and `except Exception` lets it pass.
    """


class Child:
    """Runs the jobs that come, one after the other.

    Args:
        app: gives the tasks.
        settings: gives the limit of results.
        transactions: opens the connection of transactional tasks.
        keeper: keeps the results of steps.
        answers: the file descriptor on which to answer.
    """

    def __init__(
        self,
        app: PgQueue,
        settings: Settings,
        transactions: Transactions,
        keeper: Keeper,
        *,
        answers: int,
    ) -> None:
        self._answers = answers
        self._app, self._settings, self._transactions = app, settings, transactions
        self._reports, self._keeper = Reports(), keeper
        self._sending = threading.RLock()
        self._jobs: queue.SimpleQueue[ClaimedJob] = queue.SimpleQueue()
        self._attempt: Attempt | None = None
        self._interruptible = False
        self._main, self._pid = threading.main_thread().ident or 0, os.getpid()

    def hear(self, lifeline: Any) -> None:
        """Take messages until there are no more; then this process ends, whatever it does."""
        for line in lifeline:
            message = json.loads(line)
            if "job" in message:
                self._jobs.put(messages.read_job(message))
            elif (attempt := self._attempt) is not None:
                attempt.end(message["end"])
                signal.pthread_kill(self._main, signal.SIGTERM)
        os._exit(0)

    def work(self) -> None:
        """Say that we are ready, and run jobs as they come, for ever."""
        self._send(messages.line({"ready": True}))
        while True:
            job = self._jobs.get()
            done = contextvars.copy_context().run(self._run, job)
            if os.getpid() != self._pid:
                os._exit(1)  # a process that the handler has forked has no say in the job
            self._attempt = None
            self._tell_progress()
            _flush()
            self._send(messages.outcome_line(done))

    def tell_progress(self) -> None:
        """Pass on what handlers say of their progress, for ever."""
        while True:
            time.sleep(PROGRESS_EVERY)
            self._tell_progress()

    def _tell_progress(self) -> None:
        if not self._reports:
            return
        with self._sending:  # all of it: what is said before an outcome must not come after it
            for said in (unwritten := self._reports.unwritten()):
                self._send(messages.line({"progress": said[-3:]}))
            self._reports.written(unwritten)

    def _send(self, line: bytes) -> None:
        with self._sending:
            try:
                while line:
                    line = line[os.write(self._answers, line) :]
            except BrokenPipeError:  # the worker is gone; whoever hears that first ends us
                os._exit(0)

    def _run(self, job: ClaimedJob) -> Outcome:
        task = self._app.tasks.get(job.task)
        if task is None:
            reason = "its child process does not know the task: was the code changed meanwhile?"
            return outcome.release(job, delay=UNKNOWN_PAUSE, reason=reason)
        attempt = Attempt(job, task, self._reports)
        attempt.started, attempt.keeper = True, self._keeper
        self._attempt = attempt
        # Anew for each: a handler may have set its own.
        signal.signal(signal.SIGTERM, self._on_signal)
        try:
            self._interruptible = True
            try:
                return plain.run(attempt, self._settings, self._transactions)
            finally:
                self._interruptible = False
        except Ended:  # a moment before its handler began, or after it was done
            return execution.unsure(attempt, execution.cut(attempt))

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """End the handler, if the worker asked for it.

        Nobody else is obeyed: systemd and others send SIGTERM to every process of a service, and a
        graceful stop lets handlers run.
        """
        attempt = self._attempt
        if self._interruptible and attempt is not None and attempt.why is not None:
            self._interruptible = False  # once: what it cleans up is not interrupted
            raise Ended


def _flush() -> None:
    """Bring out what a handler printed: this process may be killed once it has answered."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def main() -> None:
    """Load the app, say that we are ready, and run jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lifeline = take_stdin(buffering=-1)
    order = messages.read_order(lifeline.readline())
    source = order.source
    os.set_inheritable(order.answers, False)
    wording.to_stderr(source.log_level, source.log_format)
    settings = Settings(**order.settings)
    app, _ = load_app(source.app, cwd=Path(source.app_dir), environ=os.environ)
    fields.cover_handlers()  # those that the app's modules have made
    transactions = Transactions(order.dsn, settings, 1)
    keeper = Keeper(order.dsn, settings, app.codec)
    child = Child(app, settings, transactions, keeper, answers=order.answers)
    for loop, *args in ((child.hear, lifeline), (child.tell_progress,)):
        threading.Thread(
            target=loop, args=args, name=f"pgqueue-{loop.__name__}", daemon=True
        ).start()
    child.work()


if __name__ == "__main__":
    try:
        main()
    except PgQueueError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a program
        logging.shutdown()
        os._exit(2)
