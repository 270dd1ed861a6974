"""The wheel carries the migrations, and they run with no checkout in sight."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pgqueue import migrate

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import pgqueue
from pgqueue import migrate
migrate.upgrade(sys.argv[1])
print(pgqueue.__file__, migrate.folder(), migrate.status(sys.argv[1]).state, sep="\\n")
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel, as an installer would lay them out."""
    made = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(made)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = made.glob("*.whl")
    site = made / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_the_wheel_holds_every_migration(unpacked: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in found
            if "__pycache__" not in path.parts
        }

    assert files(unpacked / "pgqueue" / "_migrations") == files(ROOT / "migrations")
    assert list(unpacked.rglob("__pycache__")) == []


def test_the_wheel_migrates_a_database_from_anywhere(
    unpacked: Path, tmp_path: Path, empty_dsn: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, empty_dsn],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    package = unpacked / "pgqueue"
    assert done.stdout.splitlines() == [
        str(package / "__init__.py"),
        str(package / "_migrations"),
        "current",
    ]


def test_a_checkout_uses_its_own_migrations() -> None:
    assert migrate.folder() == ROOT / "migrations"
