"""What an action did, told as it goes: progress, refusals, and the sum at the end."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from pgqueue.cli.failures import FAILED, NOTHING_MATCHED
from pgqueue.cli.output import counted, print_json, say, warn
from pgqueue.errors import JobNotFound

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from pgqueue.actions import Report
    from pgqueue.errors import PgQueueError
    from pgqueue.views import Count

REFUSALS_SHOWN: Final = 20
OFTEN: Final = 10_000
"""Jobs between two lines of progress, where it cannot be written over itself."""


class Telling:
    """Takes the report of each batch; at its end it says what was done, interrupted or not.

    Args:
        as_json: print one document at the end, with each id.

    Attributes:
        left: how many still match; None when nobody asked.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.left: Count | None = None
        self._as_json = as_json
        self._batches, self._told = 0, False
        self._done: Counter[str] = Counter()
        self._refused = self._not_found = 0
        self._words: dict[int, str] = {}
        self._errors: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._told and sys.stderr.isatty():
            sys.stderr.write("\n")
        if kind is None or self._batches:
            self._conclude()

    def add(self, report: Report) -> None:
        """A batch is committed."""
        before = self._done.total()
        self._done.update(report.done.values())
        self._batches += 1
        for job_id, refusal in report.refused.items():
            self._refuse(job_id, refusal)
        if self._as_json:
            self._words |= report.done
        if self._batches > 1:
            self._progress(before, self._done.total())

    def _refuse(self, job_id: int, error: PgQueueError) -> None:
        self._refused += 1
        self._not_found += isinstance(error, JobNotFound)
        if self._as_json:
            self._errors[job_id] = str(error)
        elif self._refused <= REFUSALS_SHOWN:
            warn(f"error: {error}")

    def _progress(self, before: int, now: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{counted(now)} so far ")
            sys.stderr.flush()
            self._told = True
        elif before // OFTEN != now // OFTEN:
            warn(f"{counted(now)} so far")

    def _conclude(self) -> None:
        if self._as_json:
            print_json({"done": self._words, "refused": self._errors, "left": self.left})
            return
        left = f"; {self.left} more match" if self.left is not None and self.left.value else ""
        for word, count in sorted(self._done.items()):
            text = "asked {} to end" if word == "requested" else f"{word} {{}}"
            say(text.format(counted(count)) + left)
            left = ""
        if self._refused > REFUSALS_SHOWN:
            warn(f"error: {self._refused - REFUSALS_SHOWN} more were refused")
        if not self._done and not self._refused:
            warn("no jobs match")

    @property
    def code(self) -> int:
        """The exit code."""
        if self._refused > self._not_found:
            return FAILED
        return 0 if self._done and not self._refused else NOTHING_MATCHED
