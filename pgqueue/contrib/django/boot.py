"""What a worker's process of a Django project loads: its app is `pgqueue.contrib.django.boot:app`.

`manage.py pgqueue` names this module for the workers that it starts, and puts what they cannot
know into the environment. Without it DJANGO_SETTINGS_MODULE is enough.
"""

from __future__ import annotations

import os
import sys

import django

from pgqueue.config import DSN_VARIABLES
from pgqueue.contrib.django.configuration import (
    DATABASE_VARIABLE,
    PATH_VARIABLE,
)


def _take_path() -> None:
    """Import from where manage.py did."""
    folders = os.environ.get(PATH_VARIABLE, "").split(os.pathsep)
    sys.path.extend(folder for folder in folders if folder and folder not in sys.path)


def _forget_dsn() -> None:
    """The DSN that manage.py put there for its own command: handlers need not inherit it."""
    if DATABASE_VARIABLE in os.environ:
        os.environ.pop(DSN_VARIABLES[0], None)


_take_path()
_forget_dsn()
django.setup()

# After the set-up: it needs the project's settings.
from pgqueue.contrib.django import definitions  # noqa: E402
from pgqueue.contrib.django.application import app_for  # noqa: E402

definitions.import_all()
app = app_for(os.environ.get(DATABASE_VARIABLE))
