"""`manage.py pgqueue worker --reload`: for development, a worker that starts anew on a change."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from django.utils import autoreload

from pgqueue.contrib.django import definitions

if TYPE_CHECKING:
    from pathlib import Path

FLAG: Final = "--reload"
LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the files."""
PATIENCE: Final = 5.0
"""Seconds that handlers get to end; then their jobs are given back, and run on the new code."""


def run() -> int:
    """Run this very command without --reload, again after each change; the last exit code.

    What is watched are the files of the modules that this process has imported: those of the
    project, and all that they import.
    """
    signal.signal(signal.SIGTERM, _end)
    with suppress(Exception):  # the worker says what is wrong; Django watches that file, too
        autoreload.check_errors(definitions.import_all)()
    while True:
        seen = _stamps()
        worker = subprocess.Popen(_command())  # noqa: S603 - our own command line again
        try:
            while worker.poll() is None and _stamps() == seen:
                time.sleep(LOOK_EVERY)
            if worker.returncode is not None and _ended(seen, worker.returncode):
                return worker.returncode
        except KeyboardInterrupt:
            return worker.wait()  # the terminal told it, too
        finally:
            _stop(worker)
        sys.stderr.write("a file has changed: the worker starts anew\n")


def _command() -> list[str]:
    return [word for word in autoreload.get_child_arguments() if word != FLAG]


def _ended(seen: dict[Path, float], code: int) -> bool:
    """Whether the worker ended for good; after one that failed, wait for the next change."""
    if code == 0:
        return True
    sys.stderr.write(f"the worker ended with exit code {code}: waiting for a change\n")
    while _stamps() == seen:
        time.sleep(LOOK_EVERY)
    return False


def _stamps() -> dict[Path, float]:
    stamps = {}
    for path in autoreload.iter_all_python_module_files():
        with suppress(OSError):
            stamps[path] = path.stat().st_mtime
    return stamps


def _stop(worker: subprocess.Popen[bytes]) -> None:
    for _ in range(2):  # the second signal stops at once
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                worker.wait(PATIENCE)


def _end(_signal: int, _frame: Any) -> None:
    raise SystemExit(0)
