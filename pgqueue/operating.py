"""What an app offers to operators: change jobs, set up queues, keep house."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from pgqueue import editing
from pgqueue.handle import id_of
from pgqueue.housekeeping import Housekeeper
from pgqueue.operations import Operator
from pgqueue.queues import Queues

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Unpack

    from pgqueue.client import OwnConnections
    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.handle import JobHandle
    from pgqueue.options import RequeueOptions
    from pgqueue.tasks import Task
    from pgqueue.views import QueueLimit


class Operating:
    """The part of an app that changes jobs and queues as they stand in the tables."""

    settings: Settings
    codec: Codec | None
    _own: OwnConnections
    _tasks: dict[str, Task[..., Any]]

    @property
    def operator(self) -> Operator:
        """Cancels, requeues and deletes many jobs at once; see `operations.Operator`."""
        return Operator(self._own)

    def cancel(self, job: JobHandle | int) -> Literal["cancelled", "requested"]:
        """Cancel a job.

        Returns:
            "cancelled", or for a running job "requested": its worker is told, and the job is
            cancelled when the attempt ends, unless a success comes first.

        Raises:
            JobNotFound: no job has that id.
            JobConflict: it has ended already.
        """
        done = self.operator.cancel([id_of(job)]).only()
        return "requested" if done == "requested" else "cancelled"

    def requeue(self, job: JobHandle | int, **options: Unpack[RequeueOptions]) -> None:
        """Make a dead, cancelled or expired job ready again, with all its attempts.

        Args:
            job: which.
            options: new arguments, and who asks; see RequeueOptions.

        Raises:
            JobNotFound: no job has that id.
            JobConflict: its state forbids it, or another job holds its key.
            InvalidPayload: the new arguments do not fit the task.
            KeyMissing: its arguments are encrypted, and this app lacks the key to edit them.
        """
        by, edit = editing.chosen(self._tasks, self.codec, self.settings.max_payload, options)
        self.operator.requeue([id_of(job)], by=by, edit=edit).only()

    def delete(self, job: JobHandle | int) -> None:
        """Delete a job that has ended, and what is recorded of it.

        Raises:
            JobNotFound: no job has that id.
            JobConflict: it has not ended: cancel it first.
        """
        self.operator.delete([id_of(job)]).only()

    @property
    def queues(self) -> Queues:
        """Sets and lists the limits of queues; see `queues.Queues`."""
        return Queues(self._own)

    @property
    def retention(self) -> Housekeeper:
        """Lists and sets how long jobs are kept, and prunes; see `housekeeping.Housekeeper`."""
        return Housekeeper(self._own, self.settings)

    def set_queue(self, name: str, *, max_depth: int | None) -> QueueLimit:
        """Set how many due jobs may wait in a queue before it takes no more; None for no limit.

        Raises:
            InvalidJob: out of range, or not the name of a queue.
        """
        return self.queues.set(name, max_depth=max_depth)

    def wait_for_room(self, queue: str, *, timeout: float | timedelta = 30) -> None:
        """Return when the queue is not full: for producers, before their transaction begins.

        Args:
            queue: its name.
            timeout: seconds, or a timedelta.

        Raises:
            QueueFull: it was full for all that time.
        """
        self.queues.wait_for_room(queue, timeout)

    async def await_for_room(self, queue: str, *, timeout: float | timedelta = 30) -> None:  # noqa: ASYNC109 - as in wait_for_room
        """As `wait_for_room`, in a thread."""
        await asyncio.to_thread(self.wait_for_room, queue, timeout=timeout)
