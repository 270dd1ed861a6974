"""Which event loop a worker's coroutines run on."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.errors import ConfigError
from pgqueue.worker.crew import Crew
from pgqueue.worker.executors.loops import loop_factory


async def nothing() -> None: ...


def test_uvloop_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop_factory("auto") is uvloop.new_event_loop
    assert loop_factory("uvloop") is uvloop.new_event_loop
    assert loop_factory("asyncio") is asyncio.new_event_loop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is asyncio.new_event_loop


def test_a_worker_says_before_it_starts_that_uvloop_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    app, settings = PgQueue("dsn"), Settings(loop="uvloop")
    Crew(app, "dsn", settings, None)  # without coroutines it needs no loop
    app.task(name="nothing")(nothing)
    with pytest.raises(ConfigError, match=r"not installed; pip install 'pgqueue-jobs\[uvloop\]'"):
        Crew(app, "dsn", settings, None)
