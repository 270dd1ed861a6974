"""The tasks of Django's framework that this process has seen, under the names that jobs carry.

A task is noted when it is defined. What a job names and nobody has noted is looked for only in
the packages of INSTALLED_APPS: a row in a table never makes a worker import anything else.
"""

from __future__ import annotations

import logging
import sys
from functools import reduce
from importlib import import_module
from typing import Any, Final

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from pgqueue.contrib.django.configuration import configuration

logger: Final = logging.getLogger("pgqueue")

_noted: Final[dict[str, Any]] = {}


def import_all() -> None:
    """Import the modules with tasks: each app's `tasks`, and those that PGQUEUE names."""
    autodiscover_modules("tasks")
    for name in configuration().imports:
        import_module(name)


def note(task: Any) -> None:
    """Remember a task as it is defined."""
    _noted[task.module_path] = task


def noted() -> list[Any]:
    """The definitions of all tasks that were noted."""
    return [_definition(name) for name in list(_noted)]


def find(name: str) -> Any | None:
    """The definition of a task; None where this process cannot know one of that name."""
    if name not in _noted:
        _import_home(name)
    return _definition(name) if name in _noted else None


def _definition(name: str) -> Any:
    """What the task's own module calls it: the last decorator's word, not a copy for one call."""
    task = _noted[name]
    module = sys.modules.get(task.func.__module__)
    path = task.func.__qualname__.split(".")
    found = reduce(lambda value, part: getattr(value, part, None), path, module)
    return found if isinstance(found, type(task)) else task


def _import_home(name: str) -> None:
    module = name.rpartition(".")[0]
    if module in sys.modules or not _is_ours(module):
        return
    try:
        import_module(module)
    except Exception:
        logger.exception("the module of task %s cannot be imported: its jobs wait", name)


def _is_ours(module: str) -> bool:
    packages = (app.name for app in apps.get_app_configs())
    return any(module == package or module.startswith(f"{package}.") for package in packages)
