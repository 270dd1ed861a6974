"""The demo's app: one transactional task, as a user would write it."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, get_args

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.retry import fixed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.context import JobContext

QUEUE: Final = "pgqueue_demo"
"""A queue of its own: no worker but the demo's takes its jobs."""
MAX_ATTEMPTS: Final = 3
PIECES: Final = 20
PAUSE: Final = 0.01
"""Seconds after each piece of a slow document: so that a kill meets running jobs."""

Fate = Literal["plain", "slow", "fails once", "fails always", "rolls back"]
FATES: Final[tuple[Fate, ...]] = get_args(Fate)

WORD: Final = re.compile("[A-Za-z0-9_]+")

app = PgQueue(settings=Settings(threads=4, poll_interval=0.2, shutdown_timeout=10.0))


class OnPurpose(Exception):
    """What the demo's handler raises where it was told to fail."""


@app.task(
    name="pgqueue_demo.count_words",
    queue=QUEUE,
    max_attempts=MAX_ATTEMPTS,
    retry=fixed(0.3, jitter=0.5),
    transactional=True,
)
def count_words(context: JobContext, document_id: int) -> int:
    """Count a document's words into pgqueue_demo.counts, then fail if that is its fate."""
    found = context.connection.execute(
        "select body, fate from pgqueue_demo.documents where id = %s", [document_id]
    ).fetchone()
    if found is None:
        raise LookupError(f"there is no document {document_id}")
    body, fate = found
    words = _words(body, pause=PAUSE if fate == "slow" else 0.0)
    context.connection.execute(
        "insert into pgqueue_demo.counts "
        "(document_id, job_id, attempt, words, distinct_words, process) "
        "values (%s, %s, %s, %s, %s, %s)",
        [document_id, context.id, context.attempt, words.total(), len(words), os.getpid()],
    )
    # After the write: what a failed attempt wrote must be gone.
    if fate == "fails always" or (fate == "fails once" and context.attempt == 1):
        raise OnPurpose(f"document {document_id} {fate}, attempt {context.attempt}")
    return words.total()


def _words(body: str, *, pause: float) -> Counter[str]:
    words: Counter[str] = Counter()
    for piece in _pieces(body):
        words.update(WORD.findall(piece))
        time.sleep(pause)
    return words


def _pieces(body: str) -> Iterator[str]:
    """The text in PIECES parts, cut where lines end, so that no word is cut."""
    lines = body.split("\n")
    size = len(lines) // PIECES + 1
    for start in range(0, size * PIECES, size):
        yield "\n".join(lines[start : start + size])
