"""The same error has the same fingerprint, whatever job it struck; another error has another."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import fingerprint
from pgqueue.errors import Dead, InvalidPayload
from pgqueue.outcome import JobTimeout, decide
from pgqueue.retry import fixed
from tests.unit.claims import claimed_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def of(call: Callable[..., Any], *args: Any, task: str = "t") -> str | None:
    """The fingerprint of what a call raises, as a worker records it."""
    try:
        call(*args)
    except BaseException as error:  # noqa: BLE001 - as executors do
        # This frame stands for the executor's, which is never the user's.
        own = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        return decide(own, claimed_job(task=task), fixed(1)).fingerprint
    raise AssertionError


def charge(order_id: int) -> None:
    if order_id % 2:
        raise ValueError(f"order {order_id} is odd")
    raise ValueError(f"order {order_id} is even")


def load(text: str) -> None:
    json.loads(text)


def looks_up(names: dict[str, int], name: str) -> None:
    names[name]


def test_it_is_16_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", of(charge, 1) or "")


def test_neither_values_nor_lines_are_part_of_it() -> None:
    assert of(charge, 1) == of(charge, 2) == of(charge, 333)


def test_task_type_and_function_are() -> None:
    assert len({of(charge, 1), of(charge, 1, task="u"), of(looks_up, {}, "a"), of(load, "")}) == 4


def test_code_of_the_standard_library_is_not_where_it_was_raised() -> None:
    assert of(load, "") == of(load, "[1,") == of(load, "{'a'")


def test_another_exception_raised_in_the_same_function_is_another_error() -> None:
    assert of(load, "") != of(load, "9" * 5000)


def test_control_flow_is_told_apart_by_where_it_was_raised() -> None:
    def gives_up(reason: str) -> None:
        raise Dead(reason)

    def gives_up_too(reason: str) -> None:
        raise Dead(reason)

    assert of(gives_up, "sold out at 9:15") == of(gives_up, "closed")
    assert of(gives_up, "closed") != of(gives_up_too, "closed")


def test_where_nobody_raised_it_the_message_counts_without_what_varies() -> None:
    def ended(error: BaseException) -> str | None:
        return decide(error, claimed_job(), fixed(1)).fingerprint

    assert ended(JobTimeout("ran longer than 3 s")) == ended(JobTimeout("ran longer than 30.5 s"))
    first, second = (
        "args.id: 'a' is refused; expected int",
        "args.id: 'b-7' is refused; expected int",
    )
    assert ended(InvalidPayload(first)) == ended(InvalidPayload(second))
    assert ended(InvalidPayload(first)) != ended(InvalidPayload("args.name: 'a' is refused"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("order 17 of 2026-11-22", "order 4 of 2025-01-02"),
        (
            "no user 7f3c0f5e-2b51-4d6e-9a57-0d3b6f1f2a10",
            "no user 00000000-2b51-4d6e-9a57-0d3b6f1f2a10",
        ),
        ("object at 0x7f01aa", "object at 0x55"),
        ("blob deadbeef01", "blob 0123456789abcdef"),
        ("can't find 'a b' here", "can't find 'c' here"),
        ('no "x"', 'no "it is 5"'),
        ("took 1,234.5 ms", "took 7 ms"),
    ],
)
def test_what_varies_in_a_message(first: str, second: str) -> None:
    assert fingerprint.pattern(first) == fingerprint.pattern(second)


def test_words_of_a_message_stay() -> None:
    assert fingerprint.pattern("can't decode facade, don't") == "can't decode facade, don't"


def test_a_group_is_known_by_its_first_error() -> None:
    async def fails(error: Exception) -> None:
        raise error

    async def together(error: Exception) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(error))

    def run(error: Exception) -> None:
        asyncio.run(together(error))

    assert of(run, KeyError("a")) == of(run, KeyError("b"))
    assert of(run, KeyError("a")) != of(run, ValueError("a"))


def module(folder: Path, name: str, text: str) -> Any:
    """Import a module from a folder; it is in sys.modules afterwards."""
    (folder / f"{name}.py").write_text(text)
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(text, str(folder / f"{name}.py"), "exec"), namespace)
    return namespace


def test_an_installed_application_is_known_by_its_handler(tmp_path: Path) -> None:
    """In an image the application itself may lie in site-packages, beside its libraries."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    library = module(installed, "library", "def get(d, k):\n    return d[k]\n")
    text = "def one(get, k): return two(get, k)\ndef two(get, k): return get({}, k)\n"
    application = module(installed, "shop", text)
    text = "def one(get, k): return get({}, k)\n"
    other = module(installed, "shop", text)
    get = library["get"]
    assert of(application["one"], get, "a") == of(application["one"], get, "b")
    assert of(application["one"], get, "a") != of(other["one"], get, "a")


def test_middleware_of_a_library_does_not_hide_an_installed_application(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    around = module(installed, "library", "def around(f, k):\n    return f(k)\n")["around"]
    text = "def one(k): raise KeyError(k)\ndef two(k): raise KeyError(k)\n"
    shop = module(installed, "shop", text)
    assert of(around, shop["one"], 1, task="shop.pay") == of(
        around, shop["one"], 2, task="shop.pay"
    )
    assert of(around, shop["one"], 1, task="shop.pay") != of(
        around, shop["two"], 1, task="shop.pay"
    )


def test_a_line_that_moved_changes_nothing(tmp_path: Path) -> None:
    text = "def run(): raise ValueError(1)\n"
    before, after = module(tmp_path, "shop", text), module(tmp_path, "shop", "\n# more\n\n" + text)
    assert of(before["run"]) == of(after["run"])


def test_endless_recursion_has_one_too() -> None:
    def forever(n: int) -> int:
        return forever(n + 1)

    assert of(forever, 0) == of(forever, sys.getrecursionlimit() // 2)
