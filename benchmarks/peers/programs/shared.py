"""What all programs share: where to connect, what a job's arguments are, and a stopwatch."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DSN: Final = "PEERS_DSN"
BROKER: Final = "PEERS_BROKER"
TUNED: Final = "PEERS_TUNED"

CHUNK: Final = 1000
"""Jobs a call, where a peer's bulk form takes what it is given in one statement."""


class Enqueued(NamedTuple):
    """How long a producer took, in seconds.

    Attributes:
        one: for the jobs that were enqueued in a transaction each.
        bulk: for those that were enqueued in bulk; None where the peer has no such form.
    """

    one: float
    bulk: float | None


def dsn() -> str:
    """The database of this measurement."""
    return os.environ[DSN]


def broker() -> str:
    """The URL of the Redis-compatible server of this measurement."""
    return os.environ[BROKER]


def tuned() -> bool:
    """Whether the peer's fastest documented settings are measured, rather than its defaults."""
    return os.environ[TUNED] == "1"


def arguments(count: int) -> Iterator[dict[str, Any]]:
    """The arguments of so many jobs: a number and a text, about 100 bytes."""
    for number in range(count):
        yield {"number": number, "text": "x" * 72}


def chunks(items: list[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Stopwatch:
    """Seconds since it was made, or since the last look."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> float:
        before, self._since = self._since, time.perf_counter()
        return self._since - before
