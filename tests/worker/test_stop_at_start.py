"""A stop that comes while a worker still starts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from pgqueue.config import Settings
from pgqueue.worker.messages import ChildOrder, Source
from tests.waiting import wait_until
from tests.worker.processes import ROOT, Supervised

if TYPE_CHECKING:
    from pathlib import Path

SIGNALLED_AT_START = """
import os, signal, sys
from pgqueue.cli import main
from pgqueue.worker import supervisor

class Signalled(supervisor.Spawned):
    def __init__(self, *values):
        super().__init__(*values)
        os.kill(os.getpid(), signal.SIGTERM)

supervisor.Spawned = Signalled
sys.exit(main())
"""


def test_a_stop_while_a_worker_starts_is_a_clean_one(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"
    monkeypatch.setenv("STARTS_SLOWLY", str(flag))
    with Supervised(dsn, app="tests.worker.starts_slowly:app") as supervised:
        wait_until(flag.exists, 20, "the worker imports its app")
        supervised.terminate()
        assert supervised.wait() == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_stop_reaches_a_process_that_was_being_started_when_it_came(
    dsn: str, processes: str
) -> None:
    with Supervised(dsn, "--processes", processes, program=SIGNALLED_AT_START) as supervised:
        assert supervised.wait() == 0


def test_a_child_that_starts_when_its_worker_is_gone_ends_without_a_word() -> None:
    source = Source("tests.worker.child_jobs:app", str(ROOT))
    nobody, answers = os.pipe()
    os.close(nobody)
    order = ChildOrder(source, "not used", asdict(Settings()), answers)
    command = [sys.executable, "-m", "pgqueue.worker.child"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[answers],
        cwd=ROOT,
    ) as child:
        os.close(answers)
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(order.line())  # and not closed: it must not learn it there first
        child.stdin.flush()
        assert child.stderr.read() == b""
        assert child.wait(20) == 0
