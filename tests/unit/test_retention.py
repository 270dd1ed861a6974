"""How long jobs are kept: what may be said, and how it is shown."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.errors import ConfigError
from pgqueue.retention import DAY, by_state, parse, shown


def test_one_time_holds_for_all_final_states() -> None:
    assert by_state("x", timedelta(hours=1)) == {
        "succeeded": 3600.0,
        "dead": 3600.0,
        "cancelled": 3600.0,
        "expired": 3600.0,
    }
    assert by_state("x", None) == dict.fromkeys(by_state("x", 0), None)


@pytest.mark.parametrize("keep", [-1, "1 day", True, math.nan, math.inf, 10**12, timedelta(-1)])
def test_a_time_out_of_range_is_refused_with_its_state(keep: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x\['dead'\]=.*: expected seconds from 0 to"):
        by_state("x", {"dead": keep})
    with pytest.raises(ConfigError, match=r"^x=.*: expected seconds from 0 to"):
        by_state("x", keep)


@pytest.mark.parametrize("state", ["ready", "running", "done"])
def test_a_state_that_is_not_final_is_refused(state: Any) -> None:
    with pytest.raises(ConfigError, match="only jobs that have ended are pruned"):
        by_state("x", {state: 1})


def test_settings_say_nothing_of_states_that_they_do_not_name() -> None:
    kept = Settings(retention={"succeeded": timedelta(hours=2)}).keeps
    assert kept == {"succeeded": 7200.0}
    assert Settings(retention=60).keeps["dead"] == 60


def test_settings_travel_to_a_worker_s_process() -> None:
    settings = Settings(retention={"succeeded": timedelta(hours=2)})
    assert Settings(**json.loads(json.dumps(asdict(settings)))) == settings


def test_a_task_says_what_differs_from_the_app() -> None:
    app = PgQueue("dsn")

    @app.task(name="a", retention={"succeeded": timedelta(days=30)})
    def a() -> None: ...

    @app.task(name="b", retention=None)
    def b() -> None: ...

    @app.task(name="c")
    def c() -> None: ...

    assert a.retention == {"succeeded": 30 * DAY}
    assert b.retention == dict.fromkeys(("succeeded", "dead", "cancelled", "expired"))
    assert c.retention == {}


def test_an_ephemeral_task_keeps_no_success() -> None:
    app = PgQueue("dsn")
    with pytest.raises(ConfigError, match=r"e: retention\['succeeded'\] has no meaning"):
        app.task(name="e", ephemeral=True, retention={"succeeded": 1})(lambda: None)
    task = app.task(name="e", ephemeral=True, retention={"dead": DAY})(lambda: None)
    assert task.ephemeral
    assert task.retention == {"dead": DAY}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("36h", 36 * 3600), ("7d", 7 * DAY), ("0s", 0), ("1.5h", 5400)],
)
def test_a_time_is_read_as_people_write_it_and_shown_so(text: str, seconds: float) -> None:
    assert parse(text) == seconds
    assert parse(shown(seconds)) == seconds


@pytest.mark.parametrize("keep", [0.0, 0.5, 1234567.0, 10 * DAY, None])
def test_a_time_that_is_shown_can_be_read(keep: float | None) -> None:
    assert parse(shown(keep)) == keep


@pytest.mark.parametrize("text", ["", "7", "d", "7 d", "-1d", "1w", "9" * 5000 + "d", "40000d"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse(text)
