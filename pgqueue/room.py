"""Waiting for room in a full queue, between transactions and never inside of one."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from pgqueue import store
from pgqueue.errors import QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pgqueue.connections import Connection

PAUSE: Final = 0.25
"""Seconds between two looks: workers count about once a second."""


def wait(
    transaction: Callable[[], AbstractContextManager[Connection]], queue: str, timeout: float
) -> None:
    """Return when the queue is not full.

    Args:
        transaction: opens a short transaction on a connection of our own.
        queue: its name; one without a limit is never full.
        timeout: seconds.

    Raises:
        QueueFull: it was full for all that time.
    """
    end = time.monotonic() + timeout
    while True:
        with transaction() as connection:
            found = store.execute(connection, "queue_full", {"name": queue}).fetchone()
        if found is None:
            return
        left = end - time.monotonic()
        if left <= 0:
            depth, max_depth = found
            raise QueueFull(
                f'queue "{queue}" is full: {depth} due jobs wait in it, its max_depth is '
                f"{max_depth}; waited for {timeout:g} s"
            )
        time.sleep(min(PAUSE * random.uniform(0.8, 1.2), left))  # noqa: S311 - jitter
