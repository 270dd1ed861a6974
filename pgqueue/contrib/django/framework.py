"""Django's tasks framework: `django.tasks` from Django 6, and its backport `django_tasks`.

The two have one interface and differ in a few names; nothing else here knows which one it is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured


def _found() -> str:
    for name in ("django.tasks", "django_tasks"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in {"django.tasks", "django_tasks"}:
                raise
        else:
            return name
    raise ImproperlyConfigured(
        "this Django has no tasks framework: upgrade to Django 6, or install django-tasks"
    )


NAME: Final = _found()
"""The package whose `task` decorator, signals and result classes are in use."""

_base: Any = import_module(f"{NAME}.base")
_exceptions: Any = import_module(f"{NAME}.exceptions")
_signals: Any = import_module(f"{NAME}.signals")

BaseTaskBackend: Any = import_module(f"{NAME}.backends.base").BaseTaskBackend
Task: Any = _base.Task
TaskContext: Any = _base.TaskContext
TaskError: Any = _base.TaskError
TaskResult: Any = _base.TaskResult
TaskResultStatus: Any = _base.TaskResultStatus
normalize_json: Any = _base.normalize_json

InvalidTask: Any = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
TaskResultDoesNotExist: Any = _exceptions.TaskResultDoesNotExist

task_enqueued: Any = _signals.task_enqueued
task_started: Any = _signals.task_started
task_finished: Any = _signals.task_finished
