"""Every write of `state` bumps `lease` by one, without exception: the first outcome is the only."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import store
from tests.store.tables import SETTINGS, Tables, claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.connections import Connection

LEASE = 41


def outcomes(job_id: int) -> str:
    outcome = {"id": job_id, "lease": LEASE, "state": "dead", "outcome": "dead"}
    return json.dumps([{**outcome, "delay": 0, "refund": 0}])


def rescue_values(worker_id: int) -> dict[str, Any]:
    return {
        "worker_id": worker_id,
        "worker": None,
        "started": None,
        "culprit": None,
        "intended": False,
        "crash_cap": 3,
    }


# By statement: the state from which it starts, and its parameters.
WRITERS: dict[str, tuple[str, Callable[[int, int], dict[str, Any]]]] = {
    "claim": ("ready", lambda _, worker: {"worker_id": worker}),
    "expire": ("ready", lambda *_: {}),
    "finish_succeeded": (
        "running",
        lambda job, _: {"ids": f"{{{job}}}", "leases": f"{{{LEASE}}}", "results": None},
    ),
    "finish_succeeded_waiting": (
        "running",
        lambda job, _: {"ids": f"{{{job}}}", "leases": f"{{{LEASE}}}", "results": None},
    ),
    "finish_transactional": (
        "running",
        lambda job, _: {"id": job, "lease": LEASE, "result": None},
    ),
    "finish_unsuccessful": (
        "running",
        lambda job, _: {"outcomes": outcomes(job), "worker": "w"},
    ),
    "operator_cancel": ("ready", lambda job, _: {"ids": [job]}),
    "operator_requeue": ("dead", lambda job, _: {"ids": [job], "actor": None, "spread": 0}),
    "rescue": ("running", lambda _, worker: rescue_values(worker)),
}


def writes_state(name: str) -> bool:
    text = store.statement(name.removesuffix(".sql")).decode()
    return "pgqueue.jobs" in text and "set state" in " ".join(text.split())


def test_every_statement_that_writes_state_is_tested_here() -> None:
    files = [file.name for file in resources.files("pgqueue").joinpath("sql").iterdir()]
    assert {name.removesuffix(".sql") for name in files if writes_state(name)} == set(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_the_lease_grows_by_one(own: Connection, tables: Tables, name: str) -> None:
    state, values = WRITERS[name]
    worker = tables.worker()
    expires_at = "2024-01-01" if name == "expire" else None
    job_id = tables.job(
        state, lease=LEASE, attempt=1, worker_id=worker, started_at="now", expires_at=expires_at
    )
    if name == "claim":
        claim(own, worker)
    else:
        store.run(own, SETTINGS, name, values(job_id, worker))
    row = tables.row(job_id)
    assert row["state"] != state
    assert row["lease"] == LEASE + 1


def test_a_new_job_starts_without_a_lease(own: Connection, tables: Tables) -> None:
    own.execute("""select pgqueue.enqueue('{"v": 1, "task": "t"}')""")
    assert tables.run("select state, lease from pgqueue.jobs") == [("ready", 0)]


def test_asking_for_a_cancel_is_no_change_of_state(own: Connection, tables: Tables) -> None:
    job_id = tables.job("running", worker_id=1, lease=LEASE)
    store.run(own, SETTINGS, "operator_request_cancel", {"ids": [job_id]})
    row = tables.row(job_id)
    assert (row["state"], row["lease"]) == ("running", LEASE)
    assert row["cancel_requested_at"] is not None


def test_no_outcome_of_an_old_lease_is_ever_recorded(own: Connection, tables: Tables) -> None:
    """Whatever ended the lease, whoever held it comes too late with every kind of outcome."""
    for name, (state, values) in WRITERS.items():
        if state != "running":
            continue
        worker = tables.worker()
        job_id = tables.job("running", lease=LEASE, worker_id=worker)
        store.run(own, SETTINGS, name, values(job_id, worker))
        ended = tables.row(job_id)
        for late, (kind, late_values) in WRITERS.items():
            if kind == "running" and late != "rescue":
                assert store.run(own, SETTINGS, late, late_values(job_id, worker)) == []
        assert tables.row(job_id) == ended
