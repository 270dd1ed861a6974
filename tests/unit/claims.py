"""Claimed jobs for tests that need no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pgqueue.job import ClaimedJob

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
    "run_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def claimed_job(**changes: Any) -> ClaimedJob:
    """A job as a claim returns it, with some members changed."""
    return ClaimedJob(**{**PLAIN, **changes})
