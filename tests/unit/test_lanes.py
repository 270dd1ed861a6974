"""Floors and turns: whatever lands below a floor, every job is claimed in the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pgqueue.worker.lanes import REST, Lanes
from tests.unit.claims import claimed_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.job import ClaimedJob
    from pgqueue.store import LaneClaim

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def claimed(*pairs: tuple[int, datetime], queue: str = "a", priority: int = 0) -> list[ClaimedJob]:
    return [claimed_job(id=id_, queue=queue, priority=priority, run_at=at) for id_, at in pairs]


def floor(lanes: Lanes, queue: str = "a", priority: int = 0) -> tuple[datetime, int] | None:
    [found] = [x.floor for x in lanes.plan(1, 0.0) if (x.queue, x.priority) == (queue, priority)]
    return found


def order(plan: Sequence[LaneClaim]) -> list[tuple[str, int]]:
    return [(lane.queue, lane.priority) for lane in plan]


def test_a_new_worker_looks_from_the_beginning_at_priority_zero() -> None:
    lanes = Lanes(["a", "b"])
    plan = lanes.plan(10, 0.0)
    assert sorted(order(plan)) == [("a", 0), ("b", 0)]
    assert {(lane.floor, lane.cap) for lane in plan} == {(None, 10)}


def test_higher_priorities_come_first_and_equals_take_turns() -> None:
    lanes = Lanes(["a", "b", "c"])
    lanes.add("b", 9)
    lanes.add("a", -3)
    firsts = set()
    for _ in range(3):
        plan = order(lanes.plan(1, 0.0))
        assert plan[0] == ("b", 9)
        assert plan[-1] == ("a", -3)
        assert sorted(plan[1:4]) == [("a", 0), ("b", 0), ("c", 0)]
        firsts.add(plan[1])
    assert firsts == {("a", 0), ("b", 0), ("c", 0)}


def test_a_lane_of_a_stranger_or_out_of_range_is_not_added() -> None:
    lanes = Lanes(["a"])
    assert not lanes.add("b", 0)
    assert not lanes.add("a", 101)
    assert not lanes.add("a", -101)
    assert not lanes.add("a", 0)
    assert lanes.add("a", 100)
    assert order(lanes.plan(1, 0.0)) == [("a", 100), ("a", 0)]


def test_a_claim_raises_the_floor_to_its_last_pair_and_never_lowers_it() -> None:
    lanes = Lanes(["a"])
    lanes.claimed(claimed((4, T0), (5, T0), (9, T0)))
    assert floor(lanes) == (T0, 9)
    lanes.claimed(claimed((100, T0 - SECOND), (3, T0)))
    assert floor(lanes) == (T0, 9)
    lanes.claimed(claimed((1, T0 + SECOND)))
    assert floor(lanes) == (T0 + SECOND, 1)
    lanes.claimed([])
    assert floor(lanes) == (T0 + SECOND, 1)


def test_lanes_keep_their_floors_apart() -> None:
    lanes = Lanes(["a", "b"])
    lanes.add("a", 5)
    lanes.claimed(claimed((4, T0), priority=5))
    assert floor(lanes, "a", 5) == (T0, 4)
    assert floor(lanes, "a", 0) is None
    assert floor(lanes, "b", 0) is None


def test_a_head_below_the_floor_brings_it_down_to_just_before_the_head() -> None:
    lanes = Lanes(["a"])
    lanes.claimed(claimed((9, T0)))
    assert lanes.lower([("a", 0, T0, 7)])
    assert floor(lanes) == (T0, 6)


def test_the_floors_own_job_can_come_back() -> None:
    lanes = Lanes(["a"])
    lanes.claimed(claimed((9, T0)))
    assert lanes.lower([("a", 0, T0, 9)])
    assert floor(lanes) == (T0, 8)


def test_a_head_above_the_floor_changes_nothing() -> None:
    lanes = Lanes(["a"])
    lanes.claimed(claimed((9, T0)))
    assert not lanes.lower([("a", 0, T0, 10)])
    assert floor(lanes) == (T0, 9)


def test_a_head_makes_a_new_priority_known_but_no_strange_queue() -> None:
    lanes = Lanes(["a"])
    assert lanes.lower([("a", 50, T0, 1)])
    assert order(lanes.plan(1, 0.0)) == [("a", 50), ("a", 0)]
    assert not lanes.lower([("b", 0, T0, 1)])
    assert len(lanes.plan(1, 0.0)) == 2


@dataclass
class Row:
    lane: tuple[str, int]
    run_at: datetime
    visible: bool = True
    locked: bool = False


class Table(RuleBasedStateMachine):
    """One worker's lanes beside a model of the table that claims as claim.sql does."""

    @initialize()
    def start(self) -> None:
        self.now = T0
        self.rows: dict[int, Row] = {}
        self.lanes = Lanes(["a", "b"], least_reach=1)
        self.next_id = 1

    @rule(
        queue=st.sampled_from(["a", "b"]),
        priority=st.sampled_from([-1, 0, 1]),
        late=st.booleans(),
        delay=st.sampled_from([0, 0, 0, 3]),
        count=st.integers(1, 4),
    )
    def arrive(self, queue: str, priority: int, late: bool, delay: int, count: int) -> None:
        """Insert jobs that share one run_at; a late transaction commits them some time after."""
        for _ in range(count):
            at = self.now + delay * SECOND
            self.rows[self.next_id] = Row((queue, priority), at, visible=not late)
            self.next_id += 1

    @rule()
    def commit(self) -> None:
        for row in self.rows.values():
            row.visible = True

    @rule(index=st.integers(0, 9))
    def lock_or_unlock(self, index: int) -> None:
        for id_ in sorted(self.rows)[index : index + 1]:
            self.rows[id_].locked = not self.rows[id_].locked

    @rule(tenths=st.integers(1, 40))
    def wait(self, tenths: int) -> None:
        self.now += tenths * SECOND / 10

    @rule(room=st.integers(1, 5), retried=st.booleans())
    def claim(self, room: int, retried: bool) -> None:
        """Claim; a job that fails comes back with a new run_at."""
        plan = self.lanes.plan(room, self.seconds())
        jobs = self.select(plan, room)
        brought = [
            claimed_job(id=id_, queue=row.lane[0], priority=row.lane[1], run_at=row.run_at)
            for id_, row in jobs
        ]
        self.lanes.claimed(brought)
        self.lanes.rest(plan, brought, self.seconds())
        for id_, row in jobs:
            if retried:
                row.run_at = self.now
            else:
                del self.rows[id_]

    def seconds(self) -> float:
        return (self.now - T0).total_seconds()

    def select(self, plan: Sequence[LaneClaim], room: int) -> list[tuple[int, Row]]:
        found: list[tuple[int, Row]] = []
        horizon = self.now - SECOND
        for lane in plan:
            low = (datetime.min.replace(tzinfo=UTC), 0)
            if lane.floor:
                time, id_ = lane.floor
                low = (time, id_) if time <= horizon else (horizon, 0)
            due = [
                (row.run_at, id_)
                for id_, row in self.rows.items()
                if row.lane == (lane.queue, lane.priority)
                and row.visible
                and not row.locked
                and low < (row.run_at, id_)
                and row.run_at <= self.now
            ]
            found += [(id_, self.rows[id_]) for _, id_ in sorted(due)[: lane.cap]]
        return found[:room]

    @rule()
    def probe(self) -> None:
        """As probe.sql: it sees locked rows, and heads that are due."""
        heads: dict[tuple[str, int], tuple[datetime, int]] = {}
        for id_, row in self.rows.items():
            if row.visible:
                heads[row.lane] = min(heads.get(row.lane, (row.run_at, id_)), (row.run_at, id_))
        self.lanes.lower((*lane, *head) for lane, head in heads.items() if head[0] <= self.now)

    @invariant()
    def no_floor_is_ahead_of_time(self) -> None:
        assert all(x.floor is None or x.floor[0] <= self.now for x in self.lanes.plan(1, 0.0))

    def teardown(self) -> None:
        """When nothing holds a job back any more, probes and claims get them all."""
        if not hasattr(self, "rows"):
            return
        for row in self.rows.values():
            row.visible, row.locked = True, False
        self.now += 10 * SECOND
        for _ in range(len(self.rows) + 1):
            self.probe()
            self.claim(2, retried=False)
        assert not self.rows


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_lane_that_had_nothing_rests_longer_the_more_lanes_there_are() -> None:
    lanes = Lanes(["a", "b"])
    lanes.add("b", 1)
    assert not lanes.rest(lanes.plan(1, 0.0), claimed((1, T0)), 5.0)
    assert ("b", 1) not in order(lanes.plan(1, 5.0))
    assert ("b", 1) in order(lanes.plan(1, 5.0 + 3 * REST))


def test_lanes_that_were_left_out_come_next_when_there_was_room_for_them() -> None:
    lanes = Lanes(["a"])
    lanes.add("a", 1)
    lanes.rest(lanes.plan(1, 0.0), claimed((1, T0)), 5.0)
    plan = lanes.plan(2, 5.0)
    assert order(plan) == [("a", 0)]
    assert lanes.rest(plan, claimed((2, T0)), 5.0)
    assert order(lanes.plan(2, 5.0)) == [("a", 1), ("a", 0)]


def test_the_only_lane_never_rests_and_all_at_rest_are_all_looked_at() -> None:
    one, two = Lanes(["a"]), Lanes(["a", "b"])
    one.rest(one.plan(10, 0.0), [], 5.0)
    assert order(one.plan(10, 5.0)) == [("a", 0)]
    two.rest(two.plan(10, 0.0), [], 5.0)
    assert sorted(order(two.plan(10, 5.0))) == [("a", 0), ("b", 0)]


def test_a_full_claim_says_nothing_about_the_lanes_after_its_last() -> None:
    lanes = Lanes(["a"])
    for priority in (3, 2, 1):
        lanes.add("a", priority)
    plan = lanes.plan(2, 0.0)
    lanes.rest(plan, claimed((1, T0), (2, T0), priority=2), 5.0)
    assert order(lanes.plan(2, 5.0)) == [("a", 2), ("a", 1), ("a", 0)]


def test_news_of_a_lane_ends_its_rest() -> None:
    lanes = Lanes(["a", "b", "c"])
    lanes.rest(lanes.plan(10, 0.0), claimed((1, T0)), 5.0)
    assert order(lanes.plan(10, 5.0)) == [("a", 0)]
    lanes.add("b", 0)
    assert sorted(order(lanes.plan(10, 5.0))) == [("a", 0), ("b", 0)]
    lanes.lower([("c", 0, T0, 1)])
    assert sorted(order(lanes.plan(10, 5.0))) == [("a", 0), ("b", 0), ("c", 0)]


def test_a_worker_without_jobs_sleeps_once_it_has_looked_at_each_lane() -> None:
    """Two halves of the lanes that wake each other up would keep it looking for ever."""
    lanes = Lanes(["a", "b", "c", "d"])
    everything = [("a", 0), ("b", 0), ("c", 0), ("d", 0)]
    plan = lanes.plan(1, 0.0)
    lanes.rest(plan, claimed((1, T0), queue=plan[2].queue), 5.0)
    assert sorted(looked_at(lanes)) == everything
    for brings in (plan[2], None, plan[0]):
        jobs = claimed((2, T0), queue=brings.queue) if brings else []
        lanes.rest(lanes.plan(1, 5.0), jobs, 5.0)
    assert sorted(looked_at(lanes)) == everything


def looked_at(lanes: Lanes) -> list[tuple[str, int]]:
    """Where claims look that bring nothing, until there is nowhere else to look."""
    looked = []
    for _ in range(10):
        plan = lanes.plan(1, 5.0)
        looked += order(plan)
        if not lanes.rest(plan, [], 5.0):
            break
    return looked


def test_full_claims_are_planned_as_far_as_is_likely_to_fill_the_next() -> None:
    lanes = Lanes([f"q{number}" for number in range(100)], least_reach=4)
    plan = lanes.plan(6, 0.0)
    assert len(plan) == 100
    jobs = [*claimed((1, T0), queue=plan[0].queue), *claimed((2, T0), queue=plan[1].queue)]
    lanes.rest(plan, jobs * 3, 5.0)
    assert len(lanes.plan(6, 5.0)) == 8
    several = [job for lane in plan[:6] for job in claimed((1, T0), queue=lane.queue)]
    lanes.rest(plan, several, 5.0)
    assert len(lanes.plan(6, 5.0)) == 24
    assert lanes.rest(lanes.plan(6, 5.0), several[:2], 5.0)
    assert len(lanes.plan(6, 5.0)) >= 76


def test_a_lane_that_had_nothing_is_looked_at_beside_those_that_are_likely_to_have() -> None:
    lanes = Lanes(["a"], least_reach=2)
    for priority in range(1, 15):
        lanes.add("a", priority)
    lanes.rest(lanes.plan(1, 0.0), claimed((1, T0), priority=9), 5.0)
    assert order(lanes.plan(1, 5.0)) == [("a", priority) for priority in (9, 8, 7, 6)]
    assert order(lanes.plan(1, 6.0)) == [("a", priority) for priority in range(14, 5, -1)]


def firsts(lanes: Lanes, times: int) -> list[str]:
    return [lanes.plan(1, 0.0)[0].queue for _ in range(times)]


def test_turns_are_as_many_as_the_shares_and_spread_evenly() -> None:
    lanes = Lanes(["a", "b", "c"], {"a": 3, "c": 2})
    turns = firsts(lanes, 60)
    assert [turns.count(queue) for queue in "abc"] == [30, 10, 20]
    assert all("b" in turns[at : at + 6] for at in range(54))


def test_a_queue_at_rest_neither_saves_turns_nor_loses_them() -> None:
    lanes = Lanes(["a", "b", "c"], {"a": 4})
    plan = lanes.plan(10, 0.0)
    lanes.rest([lane for lane in plan if lane.queue != "c"], claimed((1, T0), queue="b"), 5.0)
    during = [lanes.plan(1, 5.0)[0].queue for _ in range(20)]
    assert [during.count(queue) for queue in "abc"] == [0, 10, 10]
    turns = firsts(Lanes(["a", "b", "c"], {"a": 4}), 12)
    after = [lanes.plan(1, 6.0)[0].queue for _ in range(12)]
    assert [after.count(queue) for queue in "abc"] == [turns.count(queue) for queue in "abc"]
