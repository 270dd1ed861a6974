"""The examples of docs/testing.md, run as their readers do: by pytest, and by Django's runner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pgqueue.testing import JobTester
from tests.contrib.django.project import BACKPORT, HAS_FRAMEWORK

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
FILES = dict(re.findall(r"```(?:python|ini)\n# (\S+\.(?:py|ini))\n(.*?)```", PAGE, re.DOTALL))
DJANGO = """
import os
from psycopg.conninfo import conninfo_to_dict

options = conninfo_to_dict(os.environ["PGQUEUE_TEST_DSN"])
SECRET_KEY = "x"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": options.pop("dbname"),
        "OPTIONS": options,
    }
}
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", *%r, "pgqueue.contrib.django", "shop"
]
TASKS = {
    "default": {
        "BACKEND": "pgqueue.contrib.django.PgQueueBackend", "QUEUES": ["default", "mail"]
    }
}
"""


def run(folder: Path, dsn: str, *words: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environ |= {"PGQUEUE_TEST_DSN": dsn, "DJANGO_SETTINGS_MODULE": "settings"}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_examples_for_pytest_pass(tmp_path: Path, empty_dsn: str) -> None:
    for name, code in FILES.items():
        if "/" not in name:
            (tmp_path / name).write_text(code, "utf-8")
    said = run(tmp_path, empty_dsn, "pytest", "-q", "-p", "no:cacheprovider")
    assert "6 passed" in said


def test_the_example_for_django_passes(tmp_path: Path, empty_dsn: str) -> None:
    (tmp_path / "settings.py").write_text(DJANGO % BACKPORT, "utf-8")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    for name in ("shop/tasks.py", "shop/tests.py"):
        code = FILES[name]
        if not HAS_FRAMEWORK:
            code = code.replace("from django.tasks import", "from django_tasks import")
        (tmp_path / name).write_text(code, "utf-8")
    said = run(tmp_path, empty_dsn, "django", "test", "--noinput")
    assert "Ran 4 tests" in said


@pytest.mark.parametrize("name", [name for name in vars(JobTester) if not name.startswith("_")])
def test_every_method_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)
