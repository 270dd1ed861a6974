"""pgqueue in a Django project: `"pgqueue.contrib.django"` in INSTALLED_APPS.

The names are imported when they are first used: Django imports this package before it is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgqueue.contrib.django.application import DjangoApp, app_for
    from pgqueue.contrib.django.backend import PgQueueBackend
    from pgqueue.contrib.django.task import job_options

    app: DjangoApp

__all__ = ["DjangoApp", "PgQueueBackend", "app", "app_for", "job_options"]

_HOMES = {
    "DjangoApp": "application",
    "app_for": "application",
    "PgQueueBackend": "backend",
    "job_options": "task",
}


def __getattr__(name: str) -> Any:
    if name == "app":
        return import_module(f"{__name__}.application").app_for()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
