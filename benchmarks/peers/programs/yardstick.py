"""The yardstick: what PostgreSQL gives to a worker and a producer that do nothing else.

The producer is a bare INSERT with NOTIFY in one round trip, and one INSERT from JSON for many jobs.
"""

from __future__ import annotations

import json

import psycopg

from benchmarks.peers.programs.pgqueue import install
from benchmarks.peers.programs.shared import Enqueued, Stopwatch, arguments, chunks, dsn

__all__ = ["enqueue", "install", "worker"]

ONE = """
    with job as (insert into pgqueue.jobs (task, args) values ('async_nothing', %s) returning id)
    select id, pg_notify('pgqueue.default', '') from job"""
MANY = """
    insert into pgqueue.jobs (task, args)
    select 'async_nothing', args from jsonb_array_elements(%s::jsonb) as args returning id"""


def worker() -> list[str]:
    return ["python", "-m", "benchmarks.yardstick"]


def enqueue(one: int, many: int) -> Enqueued:
    with psycopg.connect(dsn(), autocommit=True) as connection:
        connection.prepare_threshold = 0
        watch = Stopwatch()
        for given in arguments(one):
            connection.execute(ONE, [json.dumps(given)]).fetchall()
        singles = watch()
        with connection.transaction():
            for chunk in chunks(list(arguments(many)), 10_000):
                connection.execute(MANY, [json.dumps(chunk)]).fetchall()
        return Enqueued(singles, watch())
