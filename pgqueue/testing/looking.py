"""The rules of looking at jobs. They only ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgqueue import store
from pgqueue.job import STATES
from pgqueue.testing.asking import ask
from pgqueue.testing.matching import failure
from pgqueue.testing.values import seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgqueue.app import PgQueue
    from pgqueue.job import State
    from pgqueue.testing.asking import Asking
    from pgqueue.testing.matching import Expected
    from pgqueue.testing.values import SeenJob


def looking(
    app: PgQueue, *, task: str | None = None, states: Sequence[str] = STATES, id_: int | None = None
) -> Asking[list[SeenJob]]:
    """The jobs of a task, or of all, in these states, by id."""
    ids = None if id_ is None else store.array([id_])
    rows = yield ask("testing_jobs", ids=ids, task=task, states=store.array(states))
    return [seen(app, text) for (text,) in rows]


def asserting(
    app: PgQueue, expected: Expected, count: int | None, states: Sequence[State]
) -> Asking[list[SeenJob]]:
    """The jobs that are as expected; AssertionError, with what there is, unless there are any."""
    __tracebackhide__ = True
    there = yield from looking(app, states=states)
    found = [job for job in there if not expected.differences(job)]
    if (len(found) == count) if count is not None else found:
        return found
    others = yield from looking(app, task=expected.callee.name, states=STATES)
    known = {job.id for job in there}
    there += [job for job in others if job.id not in known]
    raise AssertionError(failure(expected, count, len(found), there))
