"""A stop that comes while a worker still starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.waiting import wait_until
from tests.worker.processes import Supervised

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_stop_while_a_worker_starts_is_a_clean_one(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"
    monkeypatch.setenv("STARTS_SLOWLY", str(flag))
    with Supervised(dsn, app="tests.worker.starts_slowly:app") as supervised:
        wait_until(flag.exists, 20, "the worker imports its app")
        supervised.terminate()
        assert supervised.wait() == 0
