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
STEPS = """
from django.contrib.auth.models import Group
from django.test import TestCase

from pgqueue import JobContext
from pgqueue.contrib.django import app_for
from pgqueue.testing import JobTester

app, done = app_for(), []


def add(name: str) -> int:
    done.append(name)
    return Group.objects.create(name=name).pk


@app.task(name="adds")
def adds(ctx: JobContext, name: str) -> int:
    key = ctx.step("add", add, name)
    if ctx.attempt == 1:
        Group.objects.create(name=name)
    ctx.progress(1, 1)
    return key


@app.task(name="aadds")
async def aadds(ctx: JobContext, name: str) -> str:
    found = await ctx.astep("upper", name.upper)
    if ctx.attempt == 1:
        raise ValueError(name)
    return await ctx.aonce("again", found.lower)


class StepTests(TestCase):
    def test_a_step_outlives_the_attempt_that_is_undone(self) -> None:
        job = adds.enqueue("cats")
        jobs = JobTester(app)
        assert jobs.drain(with_scheduled=True, raises=False).counts == {
            "retried": 1, "succeeded": 1
        }
        assert done == ["cats"]
        assert jobs.job(job).progress.share == 1

    def test_steps_of_a_coroutine(self) -> None:
        aadds.enqueue("dogs")
        drained = JobTester(app).drain(with_scheduled=True, raises=False)
        assert drained[1].result == "dogs"
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
    assert "7 passed" in said


def test_the_example_for_django_passes(tmp_path: Path, empty_dsn: str) -> None:
    (tmp_path / "settings.py").write_text(DJANGO % BACKPORT, "utf-8")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    for name in ("shop/tasks.py", "shop/tests.py"):
        code = FILES[name]
        if not HAS_FRAMEWORK:
            code = code.replace("from django.tasks import", "from django_tasks import")
        (tmp_path / name).write_text(code, "utf-8")
    (tmp_path / "shop" / "tests_steps.py").write_text(STEPS, "utf-8")
    said = run(tmp_path, empty_dsn, "django", "test", "--noinput")
    assert "Ran 6 tests" in said


@pytest.mark.parametrize("name", [name for name in vars(JobTester) if not name.startswith("_")])
def test_every_method_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)
