"""A Django project for the tests, and which Djangos they run on.

Django has one configuration in a process: all tests share this one and its databases.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import django
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

HAS_FRAMEWORK: Final = django.VERSION >= (6, 0)
BACKPORT: Final = [] if HAS_FRAMEWORK else ["django_tasks"]
NEWER: Final = ("3.12", "3.13", "3.14")
"""Pythons that Django 6 runs on."""


@cache
def interpreter() -> str | None:
    """A Python for Django 6, where this one is too old for it; None where there is none."""
    if HAS_FRAMEWORK:
        return None
    return next(filter(_runs_django_6, _newer_pythons()), None)


def _runs_django_6(python: str) -> bool:
    """Whether it is a Python at all: pyenv's shims are found for versions that are not chosen."""
    code = "import sys, venv; sys.exit(sys.version_info < (3, 12))"
    return not subprocess.run([python, "-c", code], capture_output=True, check=False).returncode


def _newer_pythons() -> Iterator[str]:
    for version in NEWER:
        if found := shutil.which(f"python{version}"):
            yield found
        for found_in in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")):
            yield str(found_in)


def describe() -> str:
    """What the tests of the integration run on, in one line."""
    own = f"Django {django.__version__} on Python {sys.version_info[0]}.{sys.version_info[1]}"
    if HAS_FRAMEWORK:
        return f"{own}, with its own tasks framework"
    other = interpreter()
    also = f"and Django 6 by {other}" if other else "Django 6 NOT TESTED: no Python 3.12 or newer"
    return f"{own} with django-tasks, {also}"


def database(dsn: str) -> dict[str, Any]:
    """An entry of DATABASES."""
    options = conninfo_to_dict(dsn)
    name = options.pop("dbname")
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "OPTIONS": options}


def settings() -> dict[str, Any]:
    """The settings: jobs in two databases, which a fixture names, and a third without any."""
    backend = "pgqueue.contrib.django.PgQueueBackend"
    return {
        "SECRET_KEY": "of a test",
        "USE_TZ": True,
        "ALLOWED_HOSTS": ["testserver"],
        "ROOT_URLCONF": "tests.contrib.django.urls",
        "DATABASES": {
            "default": database("dbname=later"),
            "other": database("dbname=later"),
            "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        },
        "INSTALLED_APPS": [
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            *BACKPORT,
            "pgqueue.contrib.django",
            "tests.contrib.django.store",
        ],
        "MIDDLEWARE": [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "TASKS": {
            "default": {"BACKEND": backend, "QUEUES": ["default", "mail"]},
            "elsewhere": {"BACKEND": backend, "OPTIONS": {"database": "other"}},
            "patient": {
                "BACKEND": backend,
                "QUEUES": [],
                "OPTIONS": {"max_attempts": 3, "timeout": 60, "retry": _at_once},
            },
            "strict": {"BACKEND": backend, "OPTIONS": {"require_transaction": True}},
            "dummy": {
                "BACKEND": ("django.tasks" if HAS_FRAMEWORK else "django_tasks")
                + ".backends.dummy.DummyBackend"
            },
        },
        "PGQUEUE": {"SETTINGS": {"pool_size": 2}},
    }


def _at_once(_attempt: int) -> float:
    return 0.0
