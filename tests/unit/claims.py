"""Claimed jobs for tests that need no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pgqueue.job import ClaimedJob

SINCE = datetime(2000, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "id": 7,
    "lease": 3,
    "queue": "default",
    "task": "app.work",
    "version": 1,
    "priority": 0,
    "attempt": 2,
    "max_attempts": 8,
    "timeout": None,
    "crash_count": 0,
    "suspect": False,
    "expired": False,
    "args": "{}",
    "meta": "{}",
    "run_at": 0,
}


def claimed_job(**changes: Any) -> ClaimedJob:
    """A job as a claim returns it, with some members changed."""
    at = changes.get("run_at", START)
    return ClaimedJob(**{**PLAIN, **changes, "run_at": (at - SINCE) // timedelta(microseconds=1)})
