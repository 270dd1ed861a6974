"""Who a worker is: its row in the table of workers, new at every boot."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from pgqueue import store
from pgqueue._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.config import Settings
    from pgqueue.connections import Connection


def register(
    connection: Connection, settings: Settings, queues: Sequence[str], *, cell: bool
) -> tuple[int, str]:
    """Make this process known as a worker.

    Args:
        connection: in autocommit mode.
        settings: its limits, and its time-to-live.
        queues: what it works.
        cell: it runs suspects alone; its name says so.

    Returns:
        Its id and its name.
    """
    hostname, pid = socket.gethostname(), os.getpid()
    name = f"{hostname}:{pid}{'/cell' if cell else ''}"
    values = {
        "name": name,
        "hostname": hostname,
        "pid": pid,
        "version": __version__,
        "queues": list(queues),
        "concurrency": settings.concurrency,
        "threads": settings.threads,
        "children": settings.children,
        "ttl": settings.ttl,
    }
    [(worker_id,)] = store.run(connection, settings, "register_worker", values)
    return worker_id, name
