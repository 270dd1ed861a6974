"""A task outside of every installed app: no job may make a worker import it."""

from __future__ import annotations

from tests.contrib.django.store.decorator import task


@task
def forbidden() -> None:
    """Never run."""
