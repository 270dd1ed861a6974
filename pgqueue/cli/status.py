"""pgqueue status: queues and workers at a glance."""

from typing import TYPE_CHECKING

from pgqueue.cli.options import Dsn, Json, database
from pgqueue.cli.output import for_people, print_json, print_table, warn

if TYPE_CHECKING:
    from pgqueue.views import QueueStatus, Status, WorkerView

_QUEUE_COLUMNS = (
    "queue",
    "ready",
    "waiting",
    "running",
    "oldest due",
    "dead",
    "cancelled",
    "expired",
    "limit",
)
_WORKER_COLUMNS = ("worker", "state", "heartbeat", "running", "pid", "version", "queues")


def status(dsn: Dsn = None, as_json: Json = False) -> None:
    """Show each queue's jobs, and the workers. Counts stop at 10k."""
    with database(dsn) as app:
        found = app.inspector.status()
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: "Status") -> None:
    # In a pipe the first cell says what a line is about.
    queue, worker = ((), ()) if for_people() else (("queue",), ("worker",))
    print_table(
        _QUEUE_COLUMNS,
        [(*queue, *_queue(each)) for each in found.queues],
        empty="no live jobs, and none that ended badly",
    )
    print_table(
        _WORKER_COLUMNS,
        [(*worker, *_worker(each)) for each in found.workers],
        empty="no workers: start one with pgqueue worker -A module:app",
    )
    for warning in found.upkeep.warnings():
        warn(f"warning: {warning}")


def _queue(queue: "QueueStatus") -> tuple[object, ...]:
    ended = [queue.ended.get(state, 0) for state in ("dead", "cancelled", "expired")]
    age = None if queue.oldest_due is None else _age(queue.oldest_due)
    return (queue.queue, queue.ready, queue.waiting, queue.running, age, *ended, *_limit(queue))


def _limit(queue: "QueueStatus") -> tuple[object, ...]:
    full = "full" if queue.is_full else ""
    if not for_people():
        return queue.max_depth, full
    return (f"{full} {queue.max_depth or ''}".strip(),)


def _worker(worker: "WorkerView") -> tuple[object, ...]:
    state = "alive" if worker.alive else "dead"
    queues = ",".join(worker.queues)
    age = f"{_age(worker.heartbeat_age)} ago" if for_people() else _age(worker.heartbeat_age)
    return worker.name, state, age, worker.running, worker.pid, worker.version, queues


def _age(seconds: float) -> str:
    """Seconds in a pipe; for people in the unit that fits."""
    if not for_people():
        return f"{seconds:.3f}"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
