"""Many producers at little cost: one thread that keeps an enqueue under way on each connection."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg

from benchmarks.drain import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.pq.abc import PGconn

NAME: Final = b"enqueue"
STATEMENT: Final = b"select pgqueue.enqueue($1)"


@dataclass
class Pumped:
    """What was committed: when, by the number of the transaction, and how late each was begun."""

    committed: dict[int, int] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)


class Pump:
    """Producers that commit an enqueue, and then the next.

    Args:
        dsn: the database.
        producers: how many connections.
        document: what the transaction with a number enqueues.

    Attributes:
        begun: transactions so far; the next has this number.
    """

    def __init__(self, dsn: str, producers: int, document: Callable[[int], bytes]) -> None:
        self._document = document
        self.begun = 0
        self._open = contextlib.ExitStack()
        self._selector = selectors.DefaultSelector()
        self._free: deque[PGconn] = deque()
        self._busy: dict[PGconn, int] = {}
        for _ in range(producers):
            connection: psycopg.Connection[Any] = self._open.enter_context(
                psycopg.connect(dsn, autocommit=True)
            )
            line = connection.pgconn
            line.prepare(NAME, STATEMENT)
            self._selector.register(line.socket, selectors.EVENT_READ, line)
            self._free.append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        self._open.close()

    def run(self, seconds: float, rate: float | None = None) -> Pumped:
        """Enqueue for so long, then wait for what is under way.

        Args:
            seconds: how long.
            rate: transactions a second, begun by the clock whatever became of the last;
                None begins each as soon as a producer is free.
        """
        pumped = Pumped()
        begun = due = time.monotonic()
        while (now := time.monotonic()) < begun + seconds or self._busy:
            while self._free and due <= now < begun + seconds:
                pumped.late.append(now - due)
                self._send()
                due = now if rate is None else due + 1 / rate
            patience = 1.0 if not self._free or now >= begun + seconds else max(due - now, 0)
            for key, _ in self._selector.select(patience):
                self._receive(key.data, pumped)
        return pumped

    def _send(self) -> None:
        line = self._free.popleft()
        self._busy[line] = self.begun
        line.send_query_prepared(NAME, [self._document(self.begun)])
        line.flush()
        self.begun += 1

    def _receive(self, line: PGconn, pumped: Pumped) -> None:
        line.consume_input()
        if line.is_busy():
            return
        while (result := line.get_result()) is not None:
            if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
                raise BenchmarkError(f"an enqueue failed: {result.get_error_message()}")
        pumped.committed[self._busy.pop(line)] = time.monotonic_ns()
        self._free.append(line)
