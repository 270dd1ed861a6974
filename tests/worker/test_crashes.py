"""Jobs that kill their process, among healthy ones: who is blamed, and what it costs the others.

Long jobs run until the last poison is dead, so that each death finds somebody to be blamed wrongly.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests import memory
from tests.waiting import wait_until
from tests.worker import poison
from tests.worker.processes import Supervised

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.worker.table import Table

APP = "tests.worker.poison:app"
WAYS = ["sigkill", "memory", "exit", "segfault"]
MOST_DEATHS = 5
"""Of processes for one poison: twice among others, then alone until the cap of 3."""
RESCUES = """
select job.id, count(attempt.job_id) from pgqueue.jobs as job
left join pgqueue.attempts as attempt on attempt.job_id = job.id and attempt.outcome = 'rescued'
group by job.id"""


class Scene:
    """1,000 healthy jobs, some of them long, and poison among them."""

    def __init__(self, table: Table, folder: Path, *ways: str) -> None:
        self._table, self._folder = table, folder
        self._gate, self._starts = folder / "gate", folder / "starts"
        self._starts.touch()
        self.long = self._long("long", 3) + self._long("long_thread", 1)
        self.healthy = [*self.long]
        self.poison: list[int] = []
        parts = len(ways) + 1
        for way in ways:
            self._short(996 // parts)
            self.poison.append(table.add_one("poison", args={"how": way}))
        self._short(1000 - len(self.healthy))

    def _long(self, task: str, count: int) -> list[int]:
        return self._table.add(task, count=count, args={"gate": str(self._gate)})

    def _short(self, count: int) -> None:
        self.healthy += self._table.add("healthy", count=count - count // 4)
        self.healthy += self._table.add("healthy_thread", count=count // 4)

    def play(self, dsn: str, processes: int) -> int:
        """Run it to its end under a supervisor; how many processes died."""
        options = ("--processes", str(processes))
        with Supervised(dsn, *options, app=APP) as supervised:
            self._table.wait(self.poison, "dead", timeout=25)
            self._gate.touch()
            self._table.wait(self.healthy, "succeeded", timeout=30)
            supervised.terminate()
            assert supervised.wait() == 0
            return len(re.findall(r"worker \d+ \(.*?\) died: ", supervised.output()))

    def starts(self) -> Counter[int]:
        """How often each job has started."""
        return Counter(map(int, self._starts.read_text().split()))

    def rescues(self) -> dict[int, int]:
        """How often each job was rescued, as its history says."""
        return dict(self._table.connection.execute(RESCUES).fetchall())

    def assert_just(self) -> None:
        """The poison is blamed and nobody else; attempts are not lost, starts are explained."""
        for id_ in self.poison:
            assert self._table.row(id_)["crash_count"] == 3
            assert self._table.attempts(id_)[-1]["error_type"] == "crashed"
        assert self._table.count("crash_count > 0") == len(self.poison)
        assert self._table.count("state = 'succeeded' and attempt <> 1") == 0
        starts, rescues = self.starts(), self.rescues()
        unexplained = [id_ for id_ in self.healthy if not 1 <= starts[id_] <= 1 + rescues[id_]]
        assert unexplained == []


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv(poison.STARTS, str(tmp_path / "starts"))
    with memory.limited(64 << 20) as group:
        monkeypatch.setenv(poison.GROUP, str(group or ""))
        yield


@pytest.mark.parametrize(
    ("way", "processes"), [("sigkill", 1), ("memory", 2), ("exit", 2), ("segfault", 1)]
)
def test_poison_is_dead_at_its_cap_and_costs_nobody_anything(
    dsn: str, table: Table, tmp_path: Path, way: str, processes: int
) -> None:
    scene = Scene(table, tmp_path, way)
    assert scene.play(dsn, processes) <= MOST_DEATHS * len(scene.poison)
    scene.assert_just()


@pytest.mark.parametrize("processes", [1, 2])
def test_four_poisons_at_once_are_told_apart(
    dsn: str, table: Table, tmp_path: Path, processes: int
) -> None:
    scene = Scene(table, tmp_path, *WAYS)
    assert scene.play(dsn, processes) <= MOST_DEATHS * len(scene.poison)
    scene.assert_just()


def test_no_exit_code_excuses_a_job(dsn: str, table: Table) -> None:
    """A worker that gives up by itself ends with 75; a handler may do so too."""
    id_ = table.add_one("poison", args={"how": "fenced"})
    with Supervised(dsn, app=APP):
        wait_until(lambda: table.row(id_)["crash_count"] > 0, 20, "it is blamed")
    assert table.attempts(id_)[0]["error_type"] == "crashed"
