"""What the demo says at its end: the sums, what is worth a look, and where to look further."""

from __future__ import annotations

import shlex
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Final

import psycopg

from pgqueue.config import mask_dsn
from pgqueue.demo import reconcile
from pgqueue.embedded import wheel_bin_dir
from pgqueue.errors import EmbeddedError

if TYPE_CHECKING:
    from pgqueue.demo.database import Place
    from pgqueue.demo.demonstration import Result
    from pgqueue.demo.screen import Screen

_WIDTH: Final = 62

_HIGHLIGHTS: Final = {
    "the work, by worker process": """
select format('process %s counted %s documents, %s words', process, count(*), sum(words))
from pgqueue_demo.counts group by process order by process
""",
    "a dead job, with its attempts": """
select format('job %s, attempt %s of %s (%s): %s: %s', job_id, attempt.attempt, max_attempts,
    attempt.outcome, error_type, message)
from pgqueue.attempts as attempt join pgqueue.jobs on id = job_id
where job_id = (
    select min(id) from pgqueue.jobs where state = 'dead' and queue = 'pgqueue_demo'
)
order by attempt.lease
""",
    "rescued jobs, and how they ended": """
select format('job %s, taken from worker %s under lease %s: %s by worker %s under lease %s',
    job_id, killed.worker_id, killed.lease, state, jobs.worker_id, jobs.lease)
from pgqueue_demo.killed
join pgqueue.attempts as attempt using (job_id, lease)
join pgqueue.jobs on id = job_id
where outcome = 'rescued' order by job_id limit 5
""",
}


def sums(screen: Screen, result: Result) -> None:
    """Print every line with its two numbers."""
    screen.show()
    screen.show(f"        {'must hold at the end':<{_WIDTH}} {'expected':>10} {'found':>10}")
    lines = [(line.text, line.expected, line.found, line.holds) for line in result.lines]
    lines.append(("exit code of the workers", 0, result.exit_code, result.exit_code == 0))
    for text, expected, found, holds in lines:
        verdict = "ok" if holds else "FAILED"
        screen.show(f"{verdict:<7} {text:<{_WIDTH}} {expected:>10,} {found:>10,}")


def highlights(screen: Screen, dsn: str) -> None:
    """Print what is worth a look, for those who will not look themselves."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        for title, query in _HIGHLIGHTS.items():
            screen.show(f"\n{title}")
            for (line,) in connection.execute(query):
                screen.show(f"  {line}")


def verdict(screen: Screen, result: Result, repeat: str) -> None:
    """Print whether all of it held, and how long it took."""
    screen.show()
    if result.holds:
        screen.show(f"everything held: {result.seconds:.1f} s")
        return
    screen.show(f"NOT EVERYTHING HELD: {result.seconds:.1f} s. To run it again: {repeat}")
    screen.show(f"\nthe workers' last words\n{result.last_words}")


def where_to_look(screen: Screen, place: Place, dsn: str) -> None:
    """Print the commands that show the result, where it is still there."""
    if not place.keep:
        screen.show("its server is gone; with --keep it stays, for you to look around")
        return
    shown = shlex.quote(mask_dsn(dsn))
    screen.show("\nlook at it with")
    screen.show(f'  {_psql()} {shown} -c "{reconcile.QUERY}"')
    screen.show(f"  pgqueue status --dsn {shown}")
    screen.show(f"  pgqueue jobs list --state dead --dsn {shown}")
    screen.show(f"and remove it with\n  {place.how_to_end()}")


def _psql() -> str:
    """The command for psql: the system's, or the one that came with the embedded server."""
    try:
        return "psql" if shutil.which("psql") else shlex.quote(str(wheel_bin_dir() / "psql"))
    except EmbeddedError:
        return "psql"
