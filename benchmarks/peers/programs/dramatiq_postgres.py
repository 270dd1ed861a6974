"""Dramatiq 2 on PostgreSQL through the broker dramatiq-postgres, which claims in batches.

https://pypi.org/project/dramatiq-postgres/
"""

from __future__ import annotations

import dramatiq
import psycopg
from dramatiq_postgres import PostgresBroker
from dramatiq_postgres.schema import init

from benchmarks.peers.programs import dramatiq_command
from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, dsn

dramatiq.set_broker(PostgresBroker(url=dsn()))


@dramatiq.actor
def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


def worker() -> list[str]:
    return dramatiq_command.worker(__name__)


def install() -> None:
    with psycopg.connect(dsn()) as connection, connection.cursor() as cursor:
        init(cursor)


def enqueue(one: int, many: int) -> Enqueued:
    watch = Stopwatch()
    for given in arguments(one):
        nothing.send(**given)
    singles = watch()
    for given in arguments(many):
        nothing.send(**given)
    return Enqueued(singles, None)
