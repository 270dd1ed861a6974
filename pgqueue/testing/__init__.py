"""Tests of code that uses pgqueue: run its jobs, and look at them, in the test's own transaction.

Nothing here is a second queue: jobs are enqueued, claimed, run and finished by the code and the
statements that producers and workers use, through the connection that the test gives.

The names are imported when they are first used: pytest loads this package in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgqueue.testing.tester import JobTester
    from pgqueue.testing.values import Drained, RanJob, SeenJob

__all__ = ["Drained", "JobTester", "RanJob", "SeenJob"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pgqueue.testing' has no attribute {name!r}")
    home = "tester" if name == "JobTester" else "values"
    return getattr(import_module(f"pgqueue.testing.{home}"), name)


def __dir__() -> list[str]:
    return __all__
