"""What is refused before any SQL, what is logged, and what lists and views hide."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgqueue.app import PgQueue
from pgqueue.config import Settings
from pgqueue.errors import InvalidPayload, PayloadTooLarge
from pgqueue.views import JobFilter

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Line:
    price: Decimal
    on: date


LINE = Line(Decimal(2), date(2026, 1, 2))


def test_a_wrong_argument_leaves_the_caller_s_transaction_usable(app: PgQueue, dsn: str) -> None:
    @app.task(name="lines")
    def lines(lines: list[Line]) -> None: ...

    with psycopg.connect(dsn) as caller:
        bound = lines.using(caller)
        with pytest.raises(InvalidPayload, match=r"args\.lines\[1\]: None is refused"):
            bound.enqueue([LINE, None])  # type: ignore[list-item]
        handle = bound.enqueue([LINE])
    assert app.job(handle).args == {"lines": [{"price": "2", "on": "2026-01-02"}]}


def test_many_jobs_are_converted_like_one(app: PgQueue) -> None:
    @app.task(name="line")
    def line(line: Line) -> None: ...

    handles = app.enqueue_many(line.job(LINE) for _ in range(3))
    assert [app.job(handle).args["line"]["price"] for handle in handles] == ["2"] * 3


def test_large_arguments_are_logged_once_for_each_task_and_then_refused(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(warn_payload=100, max_payload=300)
    with PgQueue(dsn, settings=settings) as app, caplog.at_level(logging.WARNING, "pgqueue"):

        @app.task(name="text")
        def text(text: str) -> None: ...

        text.enqueue("x" * 80)
        assert caplog.messages == []
        text.enqueue("ł" * 60)
        text.enqueue("x" * 150)
        app.enqueue_many([text.job("x" * 150)])
        [message] = caplog.messages
        assert "task text take 131 bytes of JSON, more than 100" in message
        assert "pass its id" in message
        with pytest.raises(PayloadTooLarge, match=r"limit is 300; .* pass its id"):
            text.enqueue("x" * 300)


@pytest.fixture
def secrets(app: PgQueue) -> dict[str, Any]:
    """A job with hidden arguments: what its row shows, and its view."""

    @app.task(name="pay", redact={"token", "card.number"})
    def pay(token: str, card: dict[str, Any], amount: int) -> None: ...

    handle = pay.using(meta={"trace": 1}).enqueue("t0k", {"number": 4111, "month": 5}, amount=3)
    [row] = app.inspector.jobs(JobFilter())
    return {"row": row, "view": app.job(handle), "handle": handle}


def test_views_hide_what_the_task_says(secrets: dict[str, Any]) -> None:
    view = secrets["view"]
    assert view.args == {"token": "***", "card": {"number": "***", "month": 5}, "amount": 3}
    assert view.meta == {"trace": 1}


def test_lists_hide_it_too_and_all_that_lies_deeper(secrets: dict[str, Any]) -> None:
    assert secrets["row"].args == '{"card": "...", "token": "***", "amount": 3}'


def test_sql_can_say_what_to_hide(app: PgQueue, make_job: Callable[..., int]) -> None:
    meta = '{"$pgqueue": {"redact": ["pin"]}}'
    id_ = make_job(args='{"pin": 1234, "x": 1}', meta=meta)
    assert app.job(id_).args == {"pin": "***", "x": 1}
    assert app.inspector.jobs(JobFilter())[0].args == '{"x": 1, "pin": "***"}'


@pytest.mark.parametrize("mark", ["1", "null", "[]", '{"redact": 5}', '{"redact": {"a": 1}}'])
@pytest.mark.parametrize("args", ['{"a": 1}', "[1]", "7", "{}"])
def test_a_row_that_somebody_wrote_by_hand_breaks_no_list(
    app: PgQueue, make_job: Callable[..., int], mark: str, args: str
) -> None:
    id_ = make_job(args=args, meta=f'{{"$pgqueue": {mark}}}')
    assert len(app.inspector.jobs(JobFilter())) == 1
    assert app.job(id_).meta == {}


def test_hidden_arguments_that_cannot_be_decoded_stay_hidden(
    app: PgQueue, make_job: Callable[..., int]
) -> None:
    args = '{"pin": ' + "9" * 5000 + "}"
    id_ = make_job(args=args, meta='{"$pgqueue": {"redact": ["pin"]}}')
    assert app.job(id_).args == "***"
