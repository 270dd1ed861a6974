"""The page about executors: its app runs, and what it says of limits is what the code has."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from pgqueue.config import Settings
from tests.worker.processes import ROOT, Supervised

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.worker.table import Table

PAGE = (ROOT / "docs" / "executors.md").read_text("utf-8")


def test_the_app_of_the_page_works_with_the_options_of_the_page(
    dsn: str, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    options = re.search(r"pgqueue worker -A (\S+) (.*)", PAGE)
    assert code
    assert options
    (tmp_path / "media.py").write_text(code[1])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PGQUEUE_DATABASE_URL", dsn)
    called = table.add_one("media.call_service", args={"order_id": 7})
    sent = table.add_one("media.send_report", args={"pages": 3})
    rendered = table.add_one("media.render", args={"frames": 1})
    with Supervised(dsn, *options[2].split(), app=options[1]) as supervised:
        table.wait([called, sent, rendered], "succeeded")
        assert "slots: 100 async, 16 thread, 4 process" in supervised.output()
    frame = hashlib.sha256(b"frame").hexdigest()
    results = [table.row(id_)["result"] for id_ in (called, sent, rendered)]
    assert results == [7, "3 pages sent", frame]


def test_the_defaults_of_the_page_are_those_of_the_settings() -> None:
    settings = Settings()
    for text in (
        f"`--concurrency`, {settings.concurrency}",
        f"`--threads`, {settings.threads}",
        f"`--children`, {settings.children}",
        f"`crash_cap` ({settings.crash_cap})",
        f"`stall_warning` ({settings.stall_warning:g} s)",
        f"({settings.cancel_grace:g}, in `Settings`)",
    ):
        assert text in PAGE, text
    assert settings.most_stuck == settings.threads // 2
