from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_type_checker_finds_every_wrong_argument() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "tests/typing/wrong_arguments.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
