"""A module with a task that nobody imports before its first job."""

from __future__ import annotations

from tests.contrib.django.store.decorator import task


@task
def found_late() -> str:
    return "found"
