"""The demo over and over on one server, until it fails: each time another seed and moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgqueue.demo import demonstration, report
from pgqueue.demo.screen import Screen
from pgqueue.errors import PgQueueError

if TYPE_CHECKING:
    from pathlib import Path

    from pgqueue.demo.database import Place
    from pgqueue.demo.demonstration import Plan, Result

DEFAULT_LIMIT: Final = 120
"""Documents in each repetition."""


def repeat(times: int, first: Plan, place: Place, log: Path) -> bool:
    """Run plans like the first `times` times, the seed one higher each time; whether all held.

    The first failure ends it, is reported in full, and keeps its database.
    """
    screen = Screen()
    documents = rescued = 0
    for number in range(times):
        plan = first.like(seed=first.seed + number)
        screen.show(f"{number + 1} of {times}  seed {plan.seed}", end="  ")
        result = _one(screen, plan, place, log)
        if not result.holds:
            return False
        documents += len(plan.documents)
        rescued += result.rescued
    screen.show(
        f"\n{times} of {times} held: {documents:,} documents, {rescued:,} jobs rescued from "
        f"killed workers, 0 lost, 0 counted twice; {screen.seconds:.0f} s"
    )
    return True


def _one(screen: Screen, plan: Plan, place: Place, log: Path) -> Result:
    dsn = place.fresh()
    try:
        result = demonstration.run(plan, dsn, log, Screen(quiet=True))
    except PgQueueError:
        screen.show("FAILED")
        raise
    screen.show(_summary(plan, result))
    if not result.holds:
        place.keep = True
        report.sums(screen, result)
        report.verdict(screen, result, plan.command())
        report.where_to_look(screen, place, dsn)
    return result


def _summary(plan: Plan, result: Result) -> str:
    kills = ", ".join(f"{kill.rescued} of {kill.held}" for kill in result.kills) or "none"
    verdict = "ok" if result.holds else "FAILED"
    return (
        f"{len(plan.documents)} documents, killed at document {plan.kill_at}, "
        f"rescued {kills} running  {result.seconds:.1f} s  {verdict}"
    )
