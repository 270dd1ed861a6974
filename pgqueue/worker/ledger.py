"""What a worker holds, and what it still owes the table. Pure.

A job is held from its claim until its outcome is confirmed. An outcome is pending until the table
confirmed it; one that was sent without a confirmation is in question, and the table is asked.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final

from pgqueue.outcome import Doubtful, Ephemeral, Lost, Settled, Succeeded, Unsuccessful, unwanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from pgqueue.outcome import Outcome
    from pgqueue.store import Verdict
    from pgqueue.worker.parts import Attempt

    Key = tuple[int, int]
    Recorded = Callable[[Outcome, Attempt | None], None]

Pending = Succeeded | Unsuccessful

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of results in one statement."""
LARGE: Final = MOST_BYTES // 1000
"""A result from which on the bytes of a batch are counted."""
RECORDED: Final = ("succeeded", "cancelled", "recorded")
"""Verdicts that say that an outcome of ours is in the table."""
ASK_AGAIN: Final = 0.25
"""Seconds before the table is asked again about a row that somebody has locked."""


class Ledger:
    """The books of one worker, by (id, lease).

    Args:
        recorded: told of each outcome that the table confirmed.
        successes: whether also of successes.
    """

    def __init__(self, recorded: Recorded | None = None, *, successes: bool = False) -> None:
        self._recorded = recorded
        self._succeeded = recorded if successes else None
        self.held: dict[Key, Attempt] = {}
        self._pending: dict[Key, Pending] = {}
        self._doubtful: dict[Key, Unsuccessful] = {}
        self._questions: dict[Key, float] = {}
        self._unanswered: set[Key] = set()
        self._large = False
        self.suspects: deque[Attempt] = deque()
        self.suspect: Attempt | None = None

    def hold(self, attempt: Attempt) -> None:
        """Note a job that was claimed."""
        self.held[attempt.key] = attempt

    def owe(self, outcome: Outcome) -> bool:
        """Take an outcome; False when it says that the lease was lost."""
        key = (outcome.id, outcome.lease)
        if type(outcome) is Succeeded and outcome.result is None:
            self._pending[key] = outcome
            return True
        if isinstance(outcome, Doubtful):
            self._doubtful[key] = outcome.otherwise
            self._questions[key] = 0.0
        elif isinstance(outcome, Settled | Lost):
            attempt = self._drop(key)
            if self._succeeded is not None and isinstance(outcome, Settled):
                self._succeeded(outcome, attempt)
        else:
            self._pending[key] = outcome
            self._large = self._large or _size(outcome) > LARGE
        return not isinstance(outcome, Lost)

    def batch(self, limit: int) -> list[Pending]:
        """The outcomes to send next: all but those in question, and no more than MOST_BYTES."""
        if not self._questions and not self._large:
            return list(islice(self._pending.values(), limit))
        free = (done for key, done in self._pending.items() if key not in self._questions)
        batch = list(islice(free, limit))
        sizes = accumulate(_size(done) for done in batch)
        return batch[: max(sum(size <= MOST_BYTES for size in sizes), 1)]

    def owed(self) -> int:
        """How many outcomes are not confirmed."""
        return len(self._pending)

    def unanswered(self) -> None:
        """Note that what was sent got no answer: an ephemeral job that is gone may be our doing."""
        self._unanswered.update(
            key for key, done in self._pending.items() if isinstance(done, Ephemeral)
        )

    def replace(self, old: Pending, new: Pending) -> None:
        """Owe another outcome instead."""
        self._pending[old.id, old.lease] = new

    def put_off(self, done: Pending, until: float) -> None:
        """Send an outcome no more until then: the table is asked for its job first."""
        self._questions[done.id, done.lease] = until

    def confirmed(
        self, sent: Sequence[Pending], recorded: Iterable[int], cancelled: Collection[int] = ()
    ) -> list[tuple[Unsuccessful, Attempt | None]]:
        """Strike what the table confirmed; the rest is in question.

        Args:
            sent: the outcomes.
            recorded: the ids that the table confirmed.
            cancelled: those of them that are cancelled now, whatever was sent.

        Returns:
            The unsuccessful ones that were confirmed, each with its attempt, or None for a job
            that was never known here.
        """
        ids = set(recorded)
        pending, held, succeeded = self._pending, self.held, self._succeeded
        unsuccessful: list[tuple[Unsuccessful, Attempt | None]] = []
        suspect, unanswered = self.suspect, self._unanswered
        for done in sent:
            key = (done.id, done.lease)
            if done.id not in ids:
                self._questions[key] = 0.0
                continue
            # As _drop(), which costs three times as much: what was sent is not in question.
            pending.pop(key, None)
            attempt = held.pop(key, None)
            if unanswered:
                unanswered.discard(key)
            if type(done) is Unsuccessful:
                said = unwanted(done) if done.id in cancelled else done
                unsuccessful.append((said, attempt))
            elif succeeded is not None:
                succeeded(done, attempt)
            if attempt is suspect:
                self.suspect = None
        if self._recorded is not None:
            for done, attempt in unsuccessful:
                self._recorded(done, attempt)
        return unsuccessful

    def asks(self, now: float) -> bool:
        """Whether there is a question to ask now."""
        return any(at <= now for at in self._questions.values())

    def questions(self, now: float, limit: int) -> list[Key]:
        """What to ask the table now, by id."""
        return sorted(key for key, at in self._questions.items() if at <= now)[:limit]

    def answered(self, key: Key, verdict: Verdict, now: float) -> bool:
        """Act on what the table said; False when the lease was lost under a held job."""
        if verdict == "busy":
            self._questions[key] = now + ASK_AGAIN
            return True
        self._questions.pop(key, None)
        if verdict == "mine":
            if (otherwise := self._doubtful.pop(key, None)) is not None:
                self._pending[key] = otherwise
            return True
        if verdict == "gone" and self._was_deleted_by_us(key):
            verdict = "succeeded"
        self._unanswered.discard(key)
        if verdict in RECORDED and self._recorded is not None:
            done = self._as_recorded(key, verdict)
            if done is not None:
                self._recorded(done, self.held.get(key))
        return self._drop(key) is None or verdict in RECORDED

    def _as_recorded(self, key: Key, verdict: Verdict) -> Outcome | None:
        """What the table has, which may not be what was sent.

        A transactional handler that was written off may have committed its success first, and a
        cancel may have come before a failure.
        """
        done = self._pending.get(key)
        if verdict == "succeeded" and not isinstance(done, Succeeded):
            return Settled(*key)
        if verdict == "cancelled" and isinstance(done, Unsuccessful):
            return unwanted(done)
        return done

    def _was_deleted_by_us(self, key: Key) -> bool:
        """Whether a job that is gone was ephemeral, and the answer to its finish was lost."""
        attempt = self.held.get(key)
        doubtful = key in self._doubtful and attempt is not None and attempt.task.ephemeral
        return doubtful or key in self._unanswered

    def next_question(self) -> float | None:
        """When the next question is due; None when there is none."""
        return min(self._questions.values(), default=None)

    def unknown(self, key: Key) -> bool:
        """Whether the table holds us to a lease that we know nothing of."""
        return key not in self.held and key not in self._pending

    def running(self) -> list[Attempt]:
        """The attempts that have no outcome yet."""
        owed = self._pending.keys() | self._doubtful.keys()
        return [attempt for key, attempt in self.held.items() if key not in owed]

    def quiet(self) -> bool:
        """Whether nothing is held and nothing is owed."""
        return not (self.held or self._pending)

    def _drop(self, key: Key) -> Attempt | None:
        self._pending.pop(key, None)
        if self._questions or self._doubtful:
            self._doubtful.pop(key, None)
            self._questions.pop(key, None)
        attempt = self.held.pop(key, None)
        if attempt is not None and attempt is self.suspect:
            self.suspect = None
        return attempt


def _size(done: Pending) -> int:
    return len(done.result or "") if isinstance(done, Succeeded) else 0
