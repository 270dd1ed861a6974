"""Which jobs somebody wants to see or change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgqueue.errors import ConfigError
from pgqueue.job import STATES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgqueue.job import State

ENDED_BADLY: Final[tuple[State, ...]] = ("dead", "cancelled", "expired")
"""What an operator may want to look at, and requeue."""

_is_fingerprint: Final = re.compile("[0-9a-f]{16}").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs: all that match every part given; an empty part matches everything.

    Attributes:
        fingerprints: of the error that ended it, or that it is retried after; without states: of
            jobs that are dead, cancelled or expired.
        error_types: of that error, as recorded; else as `fingerprints`.
        since: it ended then or later; with a time zone.
        until: it ended before; with a time zone.
    """

    states: Sequence[State] = ()
    queues: Sequence[str] = ()
    tasks: Sequence[str] = ()
    fingerprints: Sequence[str] = ()
    error_types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for state in self.states:
            if state not in STATES:
                raise ConfigError(f"state {state!r}: expected one of {', '.join(STATES)}")
        for fingerprint in self.fingerprints:
            if not _is_fingerprint(fingerprint):
                raise ConfigError(f"fingerprint {fingerprint!r}: expected 16 digits of 0-9 a-f")
        for name in ("since", "until"):
            time = getattr(self, name)
            if time is not None and time.utcoffset() is None:
                raise ConfigError(f"{name}={time!r}: expected a time with its zone")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ConfigError(f"until={self.until}: expected a time after since={self.since}")

    @property
    def matches_all(self) -> bool:
        """Whether nothing was asked for."""
        return not (self.states or self.is_selective)

    @property
    def is_selective(self) -> bool:
        """Whether more than states was asked for."""
        times = (self.since, self.until)
        return bool(self.queues or self.tasks or self.by_error) or times != (None, None)

    @property
    def by_error(self) -> bool:
        """Whether it was asked for errors."""
        return bool(self.fingerprints or self.error_types)
