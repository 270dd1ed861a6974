"""What an operator does to jobs, however many: in batches, at a pace, and never by half.

What happens in one batch's transaction, and to which job, is `actions`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pgqueue import actions
from pgqueue.actions import Report
from pgqueue.enqueue import contract
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from datetime import timedelta

    from pgqueue.actions import Edit
    from pgqueue.client import OwnConnections
    from pgqueue.connections import Connection

BATCH: Final = 1000
"""Jobs that one transaction changes at most: short locks, and little to do again if it fails."""

ACTOR_LENGTH: Final = 200

SLOWEST: Final = 0.001
"""The slowest pace that can be asked for: a job in a quarter of an hour."""

_unprintable: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search

OnBatch = Callable[[Report], object]
"""Takes the report of each batch when it is committed; the answer is empty then."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The actions, each batch in a transaction of its own.

    They take any iterable of ids, and with `on_batch` any number of them in flat memory.
    """

    own: OwnConnections
    sleep: Callable[[float], object] = time.sleep

    def cancel(
        self,
        ids: Iterable[int],
        *,
        states: Collection[str] = (),
        rate: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Report:
        """Cancel jobs; those that run are asked to end, and their worker is told.

        Args:
            ids: the jobs.
            states: leave alone a job that is in another state by now; empty for any.
            rate: jobs in a second, at most; None for as many as the database takes.
            on_batch: see OnBatch.
        """
        return self._apply(actions.cancel, ids, states, rate, on_batch)

    def requeue(
        self,
        ids: Iterable[int],
        *,
        states: Collection[str] = (),
        rate: float | None = None,
        on_batch: OnBatch | None = None,
        spread: float | timedelta = 0,
        by: str | None = None,
        edit: Edit | None = None,
    ) -> Report:
        """Make dead, cancelled and expired jobs ready again, with all their attempts.

        Args:
            ids: the jobs.
            states: as in `cancel`.
            rate: as in `cancel`.
            on_batch: see OnBatch.
            spread: seconds, or a timedelta: each job is due at a random moment within it, so that
                many do not start at once.
            by: who asks, kept with the requeue; by default the database role.
            edit: gives each job new arguments.

        Raises:
            InvalidJob, ConfigError: an option is out of range.
        """
        seconds = contract.patience("spread", spread)
        values = {"actor": _checked_actor(by), "spread": seconds}
        action = partial(actions.requeue, values=values, edit=edit)
        return self._apply(action, ids, states, rate, on_batch)

    def delete(
        self,
        ids: Iterable[int],
        *,
        states: Collection[str] = (),
        rate: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Report:
        """Delete final jobs, with what is recorded of them; the arguments are those of `cancel`."""
        return self._apply(actions.delete, ids, states, rate, on_batch)

    def purge(self, ids: Iterable[int]) -> Report:
        """Delete jobs that wait to be run, as if they had never been enqueued."""
        return self._apply(actions.purge, ids, (), None, None)

    def _apply(
        self,
        action: Callable[[Connection, list[int], Collection[str], Report], None],
        ids: Iterable[int],
        states: Collection[str],
        rate: float | None,
        on_batch: OnBatch | None,
    ) -> Report:
        report = Report()
        for batch in self._paced(_batches(ids, _batch_size(rate)), rate):
            done = Report() if on_batch else report
            with self.own.transaction() as connection:
                action(connection, batch, states, done)
            if on_batch is not None:
                on_batch(done)
        return report

    def _paced(self, batches: Iterator[list[int]], rate: float | None) -> Iterator[list[int]]:
        """The batches, not sooner one after the other than the rate allows."""
        begun, last = time.monotonic(), 0
        for batch in batches:
            if rate is not None and last:
                self.sleep(max(last / rate - (time.monotonic() - begun), 0.0))
                begun = time.monotonic()
            yield batch
            last = len(batch)


def _batch_size(rate: Any) -> int:
    if rate is None:
        return BATCH
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not rate >= SLOWEST:
        raise ConfigError(f"rate={rate!r}: expected jobs in a second, {SLOWEST} or more")
    return max(1, int(min(rate, BATCH)))


def _batches(ids: Iterable[int], size: int) -> Iterator[list[int]]:
    # What comes one by one may be without end; a job named twice there is refused the second time.
    remaining = iter(dict.fromkeys(ids) if isinstance(ids, Collection) else ids)
    while batch := list(dict.fromkeys(islice(remaining, size))):
        yield batch


def _checked_actor(by: Any) -> str | None:
    if by is None:
        return None
    if isinstance(by, str) and 1 <= len(by) <= ACTOR_LENGTH and not _unprintable(by):
        return by
    raise ConfigError(
        f"by={by!r}: expected who asks for it, in 1 to {ACTOR_LENGTH} characters without control "
        "characters"
    )
