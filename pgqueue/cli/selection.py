"""The jobs that an action is meant for: ids, from the command line or a pipe, or a filter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pgqueue.cli import piped
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgqueue.inspection import Inspector
    from pgqueue.job import State
    from pgqueue.views import JobFilter

CAP: Final = 10_000
"""Jobs that an action by filter takes when neither --limit nor --all says how many."""


@dataclass(frozen=True)
class Selection:
    """The jobs that an action is meant for: ids, or a filter with the states that make sense."""

    verb: str
    ids: list[str]
    which: JobFilter
    limit: int | None
    everything: bool
    default_states: tuple[State, ...]

    def __post_init__(self) -> None:
        filtered = self.everything or not self.which.matches_all
        if self.ids and (filtered or self.limit):
            raise ConfigError("name jobs by id or by a filter, not by both")
        if not self.ids and not filtered:
            raise ConfigError(
                f"name the jobs to {self.verb}: ids, --state, --queue, --task, --fingerprint, "
                "--error-type, --since, --until or --all"
            )

    @property
    def states(self) -> Sequence[State]:
        """The states that the filter matches; empty when jobs are named by id."""
        return () if self.ids else self.which.states or self.default_states

    @property
    def filter(self) -> JobFilter:
        """The filter, with the states."""
        return replace(self.which, states=self.states)

    def find(self, inspector: Inspector) -> Iterator[int]:
        """The ids of the jobs, oldest first; read as they are taken."""
        if self.ids:
            return iter(_numbers(self.ids))
        return inspector.ids(self.filter, limit=self.limit)

    @property
    def capped(self) -> bool:
        """Whether nobody said how many."""
        return not (self.ids or self.everything or self.limit)


def _numbers(words: list[str]) -> Iterable[int]:
    if words == ["-"]:
        # The first cell of each line, so that `jobs list` can be piped in.
        return (_number(line.split()[0]) for line in piped.lines() if line.strip())
    return [_number(word) for word in words]


def _number(word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) < len(str(2**63)):
        return int(word)
    raise ConfigError(f"{word!r} is not the id of a job")
