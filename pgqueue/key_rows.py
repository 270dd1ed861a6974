"""The key rows of jobs that an operator acts on, locked in the same order as by enqueue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgqueue import store

if TYPE_CHECKING:
    from collections.abc import Collection

    from pgqueue.connections import Connection

Key = tuple[str, str]
"""Scope and key."""


def take_keys(connection: Connection, wanted: dict[Key, int]) -> dict[Key, int]:
    """Lock the keys, taking those that nobody has; the job that each maps to.

    Another round is for a key that existed at the insert and was deleted before the lock.
    """
    holders: dict[Key, int] = {}
    while missing := {key: wanted[key] for key in wanted.keys() - holders.keys()}:
        store.execute(connection, "operator_insert_keys", _key_values(missing))
        holders |= lock_keys(connection, missing)
    return holders


def lock_keys(connection: Connection, keys: Collection[Key]) -> dict[Key, int]:
    """Lock key rows; the job that each maps to."""
    values = {"scopes": [scope for scope, _ in keys], "keys": [key for _, key in keys]}
    rows = store.execute(connection, "operator_lock_keys", values)
    return {(scope, key): job_id for scope, key, job_id in rows}


def held_keys(connection: Connection, keys: Collection[Key]) -> set[Key]:
    """Those of the locked keys that are held now; needs a statement after the jobs are locked."""
    values = {"scopes": [scope for scope, _ in keys], "keys": [key for _, key in keys]}
    rows = store.execute(connection, "operator_held_keys", values)
    return {(scope, key) for scope, key in rows}


def hold_keys(connection: Connection, winners: dict[Key, int]) -> None:
    """Let locked keys map to their new holders."""
    store.execute(connection, "operator_hold_keys", _key_values(winners))


def _key_values(wanted: dict[Key, int]) -> dict[str, list[str] | list[int]]:
    # By bytes, as the table's collation "C" sorts them: everybody locks keys in this one order.
    ordered = sorted(wanted.items(), key=lambda item: [part.encode() for part in item[0]])
    return {
        "scopes": [scope for (scope, _), _ in ordered],
        "keys": [key for (_, key), _ in ordered],
        "job_ids": [job_id for _, job_id in ordered],
    }
