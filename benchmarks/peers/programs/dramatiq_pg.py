"""Dramatiq on PostgreSQL through the broker dramatiq-pg, which needs Dramatiq 1.

It fetches and acknowledges message by message: no setting changes that.
https://pypi.org/project/dramatiq-pg/
"""

from __future__ import annotations

import dramatiq
import psycopg2
from dramatiq_pg import PostgresBroker
from dramatiq_pg.schema import generate_init_sql

from benchmarks.peers.programs import dramatiq_command
from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, dsn

dramatiq.set_broker(PostgresBroker(url=dsn()))


@dramatiq.actor(queue_name="default")
def nothing(number: int, text: str) -> None:
    """Do nothing."""
    del number, text


def worker() -> list[str]:
    return dramatiq_command.worker(__name__)


def install() -> None:
    with psycopg2.connect(dsn()) as connection, connection.cursor() as cursor:
        cursor.execute(generate_init_sql())


def enqueue(one: int, many: int) -> Enqueued:
    watch = Stopwatch()
    for given in arguments(one):
        nothing.send(**given)
    singles = watch()
    for given in arguments(many):
        nothing.send(**given)
    return Enqueued(singles, None)
