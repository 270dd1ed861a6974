"""Where a worker looks for work: its lanes, each with a floor. Pure.

A lane is (queue, priority). Its floor is the pair (run_at, id) last claimed there: without one,
every claim walks the index entries of all jobs claimed before, and while some transaction holds
an old snapshot those cannot be cleaned away (100,000 jobs under a held snapshot: 13,400 jobs/s
without floors, 23,700 with). A floor may hide a job that became visible late; the probe finds the
true head of each lane, and `lower` brings the floor down to it.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from pgqueue.job import PRIORITY_MAX, PRIORITY_MIN
from pgqueue.store import LaneClaim

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgqueue.job import ClaimedJob

    Floor = tuple[datetime, int]
    Lane = tuple[str, int]

FIRST_PRIORITY: Final = 0
REST: Final = 0.0002
"""Seconds, times the number of lanes, for which a lane that had nothing is passed over: looking at
one takes 5 us of the server and 3 of Python, so that all that looking costs some 4 % of a core.
With 1,000 lanes that is 0.2 s; with one it is nothing."""
LEAST_REACH: Final = 32
"""Lanes that had jobs, or may have, in each claim at least. To plan and write down one takes 2 us:
all of 1,000 lanes in each claim of 500 jobs would be 4 us a job. Four times those that the last one
emptied, for the claim that is under way already looks there too."""

_LANE: Final = attrgetter("queue", "priority")


class Lanes:
    """The lanes of one worker.

    Args:
        queues: the queues that it works.
        shares: of claims that take from a queue first, in relation to those of the others;
            1 where nothing is said.
        least_reach: lanes with jobs, as far as we know, in each claim at least.
    """

    def __init__(
        self,
        queues: Sequence[str],
        shares: Mapping[str, int] | None = None,
        *,
        least_reach: int = LEAST_REACH,
    ) -> None:
        self.queues, self._shares = tuple(queues), dict(shares or {})
        self._floors: dict[Lane, Floor | None] = {(name, FIRST_PRIORITY): None for name in queues}
        self._order: list[list[Lane]] = []
        self._rests: dict[Lane, float] = {}  # lanes that had nothing, and until when they rest
        self._seen: set[Lane] = set()  # looked at since a claim was full
        self._reach, self._least_reach = math.inf, least_reach
        self._credits: dict[Lane, int] = {}
        self._arrange()

    def add(self, queue: str, priority: int) -> bool:
        """Know a lane from now on; False when it was known, or is not for this worker."""
        lane = (queue, priority)
        self._rests.pop(lane, None)
        fits = queue in self.queues and PRIORITY_MIN <= priority <= PRIORITY_MAX
        if not fits or lane in self._floors:
            return False
        self._floors[lane] = None
        self._arrange()
        return True

    def plan(self, room: int, now: float) -> list[LaneClaim]:
        """The lanes of the next claim: highest priority first, equals in turn by their shares.

        Lanes at rest are left out, unless all are; while claims come back full, so are those after
        as many as are likely to fill the next one.
        """
        rests = self._rests
        if len(rests) == len(self._floors) and min(rests.values()) > now:
            rests.clear()
        plan: list[LaneClaim] = []
        likely = 0
        for lane in self._in_turn(now):
            plan.append(LaneClaim(*lane, self._floors[lane], room))
            likely += lane not in rests
            if likely >= self._reach:
                break
        return plan

    def _in_turn(self, now: float) -> Iterator[Lane]:
        for equals in self._order:
            awake = [lane for lane in equals if self._rests.get(lane, now) <= now]
            first = self._next(awake) if len(awake) > 1 else 0
            yield from awake[first:]
            yield from awake[:first]

    def _next(self, equals: list[Lane]) -> int:
        """Whose turn it is: each gains its share, and who comes first pays for all.

        So the turns of a lane are as many as its share, and spread evenly.
        """
        shares = {lane: self._shares.get(lane[0], 1) for lane in equals}
        for lane, share in shares.items():
            self._credits[lane] = self._credits.get(lane, 0) + share
        first = max(equals, key=self._credits.__getitem__)
        self._credits[first] -= sum(shares.values())
        return equals.index(first)

    def rest(self, plan: Sequence[LaneClaim], jobs: Sequence[ClaimedJob], now: float) -> bool:
        """Let the lanes rest that were looked at and had nothing.

        Args:
            plan: the lanes in the order in which they were looked at.
            jobs: what came of them.
            now: monotonic seconds.

        Returns:
            Whether there is room for jobs of lanes that were left out: these come next. Claim after
            claim that is not full, until each lane was looked at once.
        """
        brought = set(map(_LANE, jobs))
        looked = [(lane.queue, lane.priority) for lane in plan]
        full = len(jobs) >= plan[0].cap
        if full:
            # Nobody knows about the lanes after the last that brought jobs.
            places = (place for place, lane in enumerate(looked) if lane in brought)
            looked = looked[: max(places, default=-1) + 1]
            self._seen.clear()
        self._reach = max(self._least_reach, 4 * len(brought)) if full else math.inf
        self._note(looked, brought, now)
        return not full and self._left_out(looked)

    def _note(self, looked: Iterable[Lane], brought: Container[Lane], now: float) -> None:
        end = now + REST * len(self._floors)
        for lane in looked:
            if lane in brought or len(self._floors) == 1:
                self._rests.pop(lane, None)
            else:
                self._rests[lane] = end

    def _left_out(self, looked: Iterable[Lane]) -> bool:
        self._seen.update(looked)
        if len(self._seen) < len(self._floors):
            for lane in self._rests.keys() - self._seen:
                self._rests[lane] = 0.0
            return True
        self._seen.clear()
        return False

    def claimed(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raise the floors to what was claimed; within a lane `jobs` are in order."""
        for lane, job in dict(zip(map(_LANE, jobs), jobs, strict=True)).items():
            if lane not in self._floors:
                continue  # a suspect's: those are claimed wherever they stand
            floor = self._floors[lane]
            claimed = (job.due_at, job.id)
            if floor is None or claimed > floor:
                self._floors[lane] = claimed

    def lower(self, heads: Iterable[tuple[str, int, datetime, int]]) -> bool:
        """Bring floors down to the heads that the probe found.

        Args:
            heads: (queue, priority, run_at, id) of the first due job of each lane.

        Returns:
            Whether a claim can now see a job that it could not see before.
        """
        found = False
        for queue, priority, run_at, id_ in heads:
            if self.add(queue, priority):
                found = True
            self._rests.pop((queue, priority), None)
            floor = self._floors.get((queue, priority))
            if floor is not None and (run_at, id_) <= floor:
                self._floors[queue, priority] = (run_at, id_ - 1)
                found = True
        return found

    def _arrange(self) -> None:
        by_priority: dict[int, list[Lane]] = {}
        for lane in self._floors:
            by_priority.setdefault(lane[1], []).append(lane)
        self._order = [by_priority[priority] for priority in sorted(by_priority, reverse=True)]
