"""What the command line shows of arguments that are hidden or encrypted; the app is not loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.crypto import AesGcmCodec

if TYPE_CHECKING:
    from collections.abc import Callable


def declare(app: PgQueue) -> Any:
    @app.task(name="pay", redact={"token"})
    def pay(token: str, amount: int) -> None: ...

    return pay


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("command", [("list",), ("show", "1")])
def test_hidden_arguments_are_not_printed(
    dsn: str, pgqueue: Callable[..., Any], command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    with PgQueue(dsn) as app:
        declare(app).enqueue("s3cret", amount=3)
    answer = pgqueue("jobs", *command, *form)
    assert answer.code == 0
    assert "***" in answer.out
    assert "amount" in answer.out
    assert "s3cret" not in answer.out
    assert "$pgqueue" not in answer.out


def test_encrypted_arguments_are_named_and_not_dumped(
    dsn: str, pgqueue: Callable[..., Any]
) -> None:
    codec = AesGcmCodec({"2026-11": AesGcmCodec.generate_key()})
    with PgQueue(dsn, codec=codec) as app:
        declare(app).enqueue("s3cret", amount=3)
    shown = pgqueue("jobs", "show", "1").out
    assert "args:    encrypted by aesgcm with the key 2026-11" in shown
    document = json.loads(pgqueue("jobs", "show", "1", "--json").out)
    assert document["args"]["$pgqueue"]["kid"] == "2026-11"
    assert pgqueue("jobs", "list").code == 0
