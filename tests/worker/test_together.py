"""Features that were built apart, in one job: real workers, their children, and who waits."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.handle import JobHandle
from tests.waiting import wait_until
from tests.worker import together_jobs
from tests.worker.processes import Supervised, alive, pids, wait_for_workers
from tests.worker.proxy import Proxy
from tests.worker.test_control import request_cancel
from tests.worker.together_jobs import Bill, tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.app import PgQueue
    from tests.worker.table import Table

APP = "tests.worker.together_jobs:app"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LONG = 12.0


class Notes:
    """What handlers, middleware and hooks have written down."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def read(self, **wanted: Any) -> list[dict[str, Any]]:
        """The lines with these fields."""
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]

    def moments(self, id_: int) -> list[str]:
        """What hooks were told of a job."""
        return [line["moment"] for line in self.read(id=id_) if "moment" in line]

    def wait_moments(self, id_: int, *moments: str) -> None:
        wait_until(lambda: self.moments(id_) == [*moments], what=f"hooks are told {moments}")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    path = tmp_path / "notes"
    monkeypatch.setenv(together_jobs.NOTES, str(path))
    return Notes(path)


@pytest.fixture
def client(dsn: str) -> Iterator[PgQueue]:
    with together_jobs.make(dsn) as made:
        yield made


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _effects(table: Table) -> None:
    table.connection.execute("create table effects (job_id bigint)")


def effects(table: Table) -> list[int]:
    query = "select job_id from effects order by 1"
    return [id_ for (id_,) in table.connection.execute(query)]


def rows(table: Table, name: str, id_: int) -> int:
    """How many rows of a table belong to a job."""
    query = f"select count(*) from pgqueue.{name} where job_id = %s"
    row = table.connection.execute(query.encode(), [id_]).fetchone()
    assert row is not None
    return int(row[0])


def enqueue(client: PgQueue, task: str, *args: Any, **options: Any) -> JobHandle[Any]:
    handle = client.tasks[task].using(**options).enqueue(*args)
    assert isinstance(handle, JobHandle)
    return handle


def there(gate: Path, count: int) -> set[int]:
    """Wait until so many handlers stand at a gate; their processes."""

    def at_it() -> list[Path]:
        return list(gate.parent.glob(f"{gate.name}.*"))

    wait_until(lambda: len(at_it()) == count, LONG, f"{count} handlers at the gate")
    return {int(path.suffix[1:]) for path in at_it()}


def wait_gone(table: Table, *ids: int) -> None:
    wait_until(lambda: table.count("id = any (%s)", list(ids)) == 0, LONG, "they are gone")


def test_a_job_in_a_child_has_all_that_a_job_has(
    dsn: str, table: Table, client: PgQueue, notes: Notes
) -> None:
    def produce() -> tuple[JobHandle[Any], JobHandle[Any], JobHandle[Any]]:
        tenant.set("acme")
        bill = enqueue(client, "bills", 7, "4111", meta={"traceparent": TRACE})
        return bill, enqueue(client, "pays"), enqueue(client, "vanishes")

    bill, paid, vanished = copy_context().run(produce)
    with Supervised(dsn, "--children", "2", app=APP) as supervised:
        billed, payment = bill.result(LONG), paid.result(LONG)
        wait_gone(table, vanished.id)
        wait_until(lambda: table.count("task = 'follows' and state = 'succeeded'"))
        [worker] = wait_for_workers(table).values()
        notes.wait_moments(bill.id, "start", "retry", "start", "success")
        notes.wait_moments(vanished.id, "start", "success")
        supervised.terminate()
        assert supervised.wait() == 0
        assert "4111" not in supervised.output()

    assert billed == Bill(Decimal("9.90"), date(2026, 11, 22), billed.pid)
    assert (payment.total, effects(table)) == (Decimal("1.10"), [paid.id])
    # Steps, effects and progress: over the retry, each once.
    assert table.outcomes(bill.id) == ["retried"]
    assert len(notes.read(what="reserve 7")) == len(notes.read(what="charge 7 4111")) == 1
    said = "select job_id, done, message from pgqueue.progress order by 1"
    assert table.connection.execute(said).fetchall() == [
        (bill.id, 2, "attempt 2"),
        (paid.id, 1, "paid"),
    ]
    # What travels with a job reaches its handler, its middleware, and the jobs it enqueues.
    [handler] = notes.read(handler=bill.id)
    assert (handler["tenant"], handler["trace"]) == ("acme", TRACE)
    args = {"order": 7, "card": "4111"}
    assert len(notes.read(around="bills", args=args, tenant="acme")) == 2
    assert table.count("task = 'follows' and result = '\"acme\"'") == 1
    # Handlers and middleware run in children, hooks in the worker.
    assert {line["pid"] for line in notes.read(around="bills")}.isdisjoint({worker})
    assert {line["pid"] for line in notes.read() if "moment" in line} == {worker}
    [success] = notes.read(moment="success", id=bill.id)
    assert success["args"] == {"order": 7, "card": "***"}
    assert success["result"]["total"] == "9.90"
    [retry] = notes.read(moment="retry")
    assert (retry["error_type"], retry["args"]["card"]) == ("ValueError", "***")
    view = client.job(bill.id)
    assert view.args == {"order": 7, "card": "***"}
    assert rows(table, "checkpoints", vanished.id) == rows(table, "progress", vanished.id) == 0


def test_a_child_opens_what_is_encrypted_and_seals_what_it_keeps(dsn: str, table: Table) -> None:
    with (
        together_jobs.sealing(dsn) as client,
        Supervised(dsn, app="tests.worker.together_jobs:sealed_app"),
    ):
        handle = enqueue(client, "sealed", "desrever")
        assert handle.result(LONG) == "reversed"
    row = table.row(handle.id)
    kept = table.connection.execute("select result::text from pgqueue.checkpoints").fetchone()
    for stored in (row["args"], row["result"], json.loads(str(kept and kept[0]))):
        assert stored["$pgqueue"]["kid"] == "k"
    assert "verse" not in f"{row}{kept}"


def test_a_retry_after_a_killed_child_goes_on_after_the_step_that_was_kept(
    dsn: str, table: Table, client: PgQueue, notes: Notes, tmp_path: Path
) -> None:
    handle = enqueue(client, "fragile", "die", str(tmp_path / "flag"))
    with Supervised(dsn, app="tests.worker.together_jobs:lenient"):
        wait_until(lambda: table.outcomes(handle.id) == ["retried"], LONG)
        table.make_due(handle.id)
        assert handle.result(LONG) == "die"
    assert len(notes.read(what=f"one of {handle.id}")) == 1
    assert table.attempts(handle.id)[0]["error_type"] == "crashed"
    assert (table.row(handle.id)["attempt"], table.row(handle.id)["crash_count"]) == (1, 1)


def test_a_child_that_dies_right_after_its_commit_has_succeeded(
    dsn: str, table: Table, client: PgQueue, notes: Notes
) -> None:
    """Nobody has heard of it but the table; at a crash cap of 1 it would be dead otherwise."""
    kept, ephemeral = (enqueue(client, task) for task in ("commits", "commits_ephemeral"))
    interrupted = enqueue(client, "commits", "interrupt")
    with Supervised(dsn, app=APP) as supervised:
        assert kept.wait(LONG) == interrupted.wait(LONG) == "succeeded"
        wait_gone(table, ephemeral.id)
        for handle in (kept, ephemeral, interrupted):
            notes.wait_moments(handle.id, "start", "success")
        assert "somebody else" not in supervised.output()
    assert effects(table) == [kept.id, ephemeral.id, interrupted.id]
    assert table.attempts(kept.id) == table.attempts(interrupted.id) == []
    assert table.row(kept.id)["crash_count"] == 0


def test_a_child_that_is_told_to_end_in_its_commit_has_succeeded_if_that_went_through(
    dsn: str, table: Table, client: PgQueue, notes: Notes
) -> None:
    handle = enqueue(client, "pays", timeout=0.5)
    with Proxy(dsn) as proxy:
        proxy.role, proxy.hold = b"pgqueue:handler", "after"
        proxy.released.clear()
        with Supervised(proxy.dsn, app=APP):
            wait_until(lambda: proxy.held == 1, LONG, "the answer to the COMMIT is held")
            # Told to end, and killed a grace later if it waits on.
            notes.wait_moments(handle.id, "start", "success")
    assert (table.state(handle.id), table.attempts(handle.id)) == ("succeeded", [])
    assert effects(table) == [handle.id]


def test_ephemeral_jobs_on_sessions_vanish_with_their_commit_or_leave_all(
    dsn: str, table: Table, client: PgQueue, notes: Notes
) -> None:
    done = [enqueue(client, task).id for task in ("writes", "awrites")]
    failed = [enqueue(client, task, True, max_attempts=1).id for task in ("writes", "awrites")]
    with Supervised(dsn, app=APP):
        wait_gone(table, *done)
        table.wait(failed, "dead")
        for id_ in done:
            notes.wait_moments(id_, "start", "success")
    assert effects(table) == sorted(done)
    assert [table.outcomes(id_) for id_ in failed] == [["dead"], ["dead"]]


def kill_a_worker(table: Table) -> None:
    query = "select pid from pgqueue.workers where name not like '%/cell'"
    os.kill(
        wait_until(
            lambda: next((pid for (pid,) in table.connection.execute(query) if alive(pid)), 0), LONG
        ),
        signal.SIGKILL,
    )


@pytest.mark.usefixtures("notes")
def test_suspects_that_run_in_children_run_in_cells_side_by_side(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    ids = table.add("waits_apart", count=2, args={"gate": str(gate)}, delay=3600)
    table.connection.execute("update pgqueue.jobs set suspect = true")
    with Supervised(dsn, app=APP):
        for count, id_ in enumerate(ids, 1):
            table.make_due(id_)
            kill_a_worker(table)  # then its supervisor looks for suspects at once
            there(gate, count)
        query = "select suspect_id, name from pgqueue.workers where suspect_id is not null"
        cells = table.connection.execute(query).fetchall()
        gate.touch()
        table.wait(ids, "succeeded")
    assert sorted(id_ for id_, _ in cells) == ids
    assert all(name.endswith("/cell") for _, name in cells)
    assert table.count("attempt <> 1 or crash_count <> 0") == 0


def test_a_job_that_died_of_its_child_is_requeued_clean_and_keeps_its_steps(
    dsn: str, table: Table, client: PgQueue, notes: Notes
) -> None:
    handle = enqueue(client, "fragile", "die")
    with Supervised(dsn, app=APP):
        assert handle.wait(LONG) == "dead"
        notes.wait_moments(handle.id, "start", "dead")
        assert table.row(handle.id)["crash_count"] == 1
        client.requeue(handle.id, set_args={"how": "live"}, by="ada")
        assert handle.result(LONG) == "live"
    assert table.outcomes(handle.id) == ["dead", "requeued"]
    row = table.row(handle.id)
    assert (row["attempt"], row["crash_count"], row["suspect"]) == (1, 0, False)
    # As the page of dead letters says: an edit does not undo the steps that are done.
    assert len(notes.read(what=f"one of {handle.id}")) == 1


def test_prune_takes_all_of_a_job_whatever_became_of_it_and_no_effect(
    dsn: str, table: Table, client: PgQueue, notes: Notes, tmp_path: Path
) -> None:
    done = enqueue(client, "bills", 1, "4111").id
    dead = enqueue(client, "fragile", "die").id
    cancelled = enqueue(client, "waits_apart", str(tmp_path / "gate")).id
    expired = enqueue(client, "fragile", "live").id
    expire(table, expired)
    with Supervised(dsn, app=APP):
        table.wait(done, "succeeded")
        table.wait(dead, "dead")
        there(tmp_path / "gate", 1)
        request_cancel(table, cancelled)
        table.wait(cancelled, "cancelled")
        table.wait(expired, "expired")
        notes.wait_moments(cancelled, "start", "cancelled")
    ids = [done, dead, cancelled, expired]
    # Who ends a job in time decides whether the one that expired has an attempt.
    for name, owners in (("attempts", ids[:3]), ("checkpoints", [done, dead])):
        assert [id_ for id_ in ids[:3] if rows(table, name, id_)] == owners
    assert rows(table, "progress", done) == 1
    old = "update pgqueue.jobs set created_at = '2001-01-01', finished_at = '2001-01-01'"
    table.connection.execute(old)
    client.retention.set("*", "dead", 60)
    assert client.retention.prune() == len(ids)
    for name in ("attempts", "checkpoints", "progress"):
        assert [id_ for id_ in ids if rows(table, name, id_)] == []
    # Another job for the same order is not charged again.
    again = enqueue(client, "bills", 1, "4111")
    with Supervised(dsn, app=APP):
        assert again.wait(LONG) == "succeeded"
    assert len(notes.read(what="charge 1 4111")) == 1
    assert len(notes.read(what="reserve 1")) == 2


def expire(table: Table, id_: int) -> None:
    query = "update pgqueue.jobs set expires_at = '2001-01-01' where id = %s"
    table.connection.execute(query, [id_])


def test_whoever_waits_hears_of_every_end_and_hooks_of_those_that_no_handler_saw(
    dsn: str, table: Table, client: PgQueue, notes: Notes, tmp_path: Path, aside: ThreadPoolExecutor
) -> None:
    gate = tmp_path / "gate"
    killed = enqueue(client, "kills", delay=3600)
    expired = enqueue(client, "noop", delay=3600)
    waiting = enqueue(client, "noop", delay=3600)
    running = enqueue(client, "waits_apart", str(gate))
    handles = [killed, expired, waiting, running]
    with Supervised(dsn, "--processes", "2", app=APP):
        there(gate, 1)
        ends = [aside.submit(handle.wait, LONG) for handle in handles]
        said = "select from pgqueue.waits"
        wait_until(lambda: len(table.connection.execute(said).fetchall()) == len(handles))
        assert client.cancel(waiting) == "cancelled"
        assert client.cancel(running) == "requested"
        assert ends[3].result(LONG) == "cancelled"
        expire(table, expired.id)
        table.connection.execute("update pgqueue.steps set ran_at = '2001-01-01'")
        table.make_due(killed.id)
        table.connection.execute("notify pgqueue_default")
        assert [end.result(LONG) for end in ends] == ["dead", "expired", "cancelled", "cancelled"]
        # Of its start they may not have heard any more.
        wait_until(lambda: notes.moments(killed.id)[-1:] == ["dead"], what="on_dead is called")
        notes.wait_moments(expired.id, "expired")
        notes.wait_moments(running.id, "start", "cancelled")
    assert notes.moments(waiting.id) == []
    assert [line["error_type"] for line in notes.read(moment="dead")] == ["crashed"]


@pytest.mark.usefixtures("notes")
def test_a_worker_that_retires_cuts_neither_transactions_nor_children(
    dsn: str, table: Table, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    options: dict[str, Any] = {"args": {"gate": str(gate)}, "priority": 1}
    held = [table.add_one(task, **options) for task in ("waits_writing", "waits_apart")]
    with Supervised(dsn, "--max-jobs", "20", "--shutdown-timeout", "0.1", app=APP) as supervised:
        there(gate, 2)
        [old] = wait_for_workers(table)
        table.wait(table.add("noop", count=20), "succeeded")
        wait_until(lambda: len(pids(table)) == 2, LONG, "a second worker, beside the first")
        late = table.add_one("noop")
        table.wait(late, "succeeded")
        assert table.row(late)["worker_id"] != old
        assert effects(table) == []
        gate.touch()
        table.wait(held, "succeeded")
        wait_for_workers(table, other_than=frozenset({old}))
        supervised.terminate()
        assert supervised.wait() == 0
    assert {table.row(id_)["worker_id"] for id_ in held} == {old}
    assert effects(table) == [held[0]]
    assert table.count("attempt <> 1 or crash_count <> 0 or suspect") == 0
    assert table.connection.execute("select from pgqueue.attempts").fetchall() == []


def test_a_worker_whose_executor_breaks_ends_says_so_and_blames_no_job(
    dsn: str,
    table: Table,
    client: PgQueue,
    notes: Notes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its jobs would hang unseen, under a worker that beats. At a cap of 1, blame is death."""
    monkeypatch.setenv(together_jobs.BREAKS, str(tmp_path / "broken"))
    gate = tmp_path / "gate"
    beside = enqueue(client, "waits_writing", str(gate))
    with Supervised(dsn, app=APP) as supervised:
        there(gate, 1)
        [old] = wait_for_workers(table)
        handle = enqueue(client, "pays")
        assert handle.result(LONG).total == Decimal("1.10")
        wait_for_workers(table, other_than=frozenset({old}))
        gate.touch()
        assert beside.wait(LONG) == "succeeded"
        output = supervised.output()
    assert "cannot go on, and ends: AssertionError: a defect of the executor" in output
    assert "in raise_once" in output
    assert table.outcomes(beside.id) == ["interrupted"]
    assert effects(table) == sorted([beside.id, handle.id])
    assert table.count("task <> 'follows' and (crash_count <> 0 or suspect or attempt <> 1)") == 0
    assert notes.read(moment="dead") == []


def test_what_a_handler_writes_into_its_childs_answers_costs_nobody_else_anything(
    dsn: str, table: Table, client: PgQueue, notes: Notes
) -> None:
    babbling = [enqueue(client, "babbles", said) for said in ("7", '{"outcome": "x"}', "hello")]
    with Supervised(dsn, app=APP) as supervised:
        [worker] = wait_for_workers(table)
        assert [handle.wait(LONG) for handle in babbling] == ["dead"] * 3
        assert enqueue(client, "vanishes").id
        wait_until(lambda: table.count("task = 'vanishes'") == 0, LONG)
        assert [*pids(table)] == [worker]
        assert "cannot go on" not in supervised.output()
    assert {table.attempts(handle.id)[0]["error_type"] for handle in babbling} == {"crashed"}
    assert notes.read(what="vanishing")
