"""What is refused, where, and in which words; no database."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest

from pgqueue.converters import libraries
from pgqueue.errors import ConfigError, InvalidPayload
from tests.unit.payload_types import (
    ID,
    NOON,
    Colour,
    Discounted,
    HasUnknown,
    Hidden,
    Line,
    Many,
    Model,
    NoTime,
    Odd,
    Options,
    Order,
    Point,
    Positive,
    Shape,
    Short,
    Struct,
    Unknown,
    WithInitVar,
    read,
    stored,
    task_for,
)

REFUSED: list[tuple[Any, Any, str]] = [
    (int, "5", "args.x: '5' is refused; expected an integer"),
    (int, 5.0, "args.x: 5.0 is refused; expected an integer"),
    (int, None, "args.x: None is refused; expected an integer"),
    (bool, 1, "args.x: 1 is refused; expected True or False"),
    (str, b"a", "args.x: b'a' is refused; expected text"),
    (list[int], [1, "2"], "args.x[1]: '2' is refused; expected an integer"),
    (list[str], "ab", "args.x: 'ab' is refused; expected list[str]"),
    (Sequence[str], "ab", "expected collections.abc.Sequence[str]"),
    (dict[str, list[int]], {"a b": ["1"]}, "args.x['a b'][0]: '1' is refused"),
    (dict[int, int], {"1": 1}, "args.x['1']: '1' is refused; expected an integer as key"),
    (set, {(1, 2)}, "args.x: {(1, 2)} is refused; expected set without tuples"),
    (Literal["a", "b"], "c", "args.x: 'c' is refused; expected 'a' or 'b'"),
    (Literal[1], True, "args.x: True is refused; expected 1"),
    (datetime, "2026-01-01", "args.x: '2026-01-01' is refused; expected a datetime"),
    (datetime, NoTime(1, 1, 1), "is refused; expected a datetime"),
    (date, NOON, "is refused; expected a date"),
    (
        time,
        time(1, tzinfo=ZoneInfo("Europe/Warsaw")),
        "expected a time, naive or with a fixed offset",
    ),
    (Decimal, 1.5, "args.x: 1.5 is refused; expected a finite Decimal"),
    (Decimal, Decimal("NaN"), "expected a finite Decimal"),
    (UUID, str(ID), "expected a UUID"),
    (Colour, "red", "args.x: 'red' is refused; expected Colour"),
    (datetime | int, "x", "args.x: 'x' is refused; expected a datetime or an integer"),
    (tuple[int, date], (1,), "args.x: (1,) is refused; expected tuple[int, datetime.date], of 2"),
    (Line, {"price": 1}, "args.x: {'price': 1} is refused; expected Line"),
    (Line, Discounted(Decimal(1)), "is refused; expected Line"),
    (Order, Order(id=ID, lines=[Line(Decimal(1), count=1.5)]), "args.x.lines[0].count: 1.5 is"),  # type: ignore[arg-type]
    (Order | None, Order(id="1"), "args.x.id: '1' is refused; expected a UUID"),  # type: ignore[arg-type]
    (Options, {"nme": "a"}, "expected Options, which has no field 'nme'"),
    (Options, {}, "args.x: {} is refused; expected Options, with its field 'name'"),
    (Many, 1, "args.x: 1 is refused; expected int (Input should be greater than 1)"),
    (Short, "abcd", "args.x: 'abcd' is refused; expected str (Expected `str` of length <= 3)"),
    (list[Many], [2, 0], "args.x[1]: 0 is refused"),
    (Model, {"when": 1.5, "tags": 1}, "args.x.tags: 1 is refused"),
    (Hidden, Hidden(secret=pydantic.SecretStr("s")), "that comes back equal from JSON"),
    (Struct, "\ud800", "args.x: '\\ud800' is refused; expected"),
    (list[Struct], [Struct("now")], "args.x[0]: {'when': 'now', 'tags': []}"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("annotation", "value", "words"), REFUSED, ids=str)
def test_a_wrong_value_is_refused_with_its_path_its_value_and_the_type(
    annotation: Any, value: Any, words: str
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        task_for(annotation).enqueue(value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (dict[int, int], "expected an integer of at most 4300 digits as key"),
        (dict[str, int], "expected text"),
    ],
    ids=str,
)
def test_a_key_that_python_does_not_print_is_refused(annotation: Any, words: str) -> None:
    with pytest.raises(InvalidPayload, match=words):
        task_for(annotation).enqueue({10**5000: 1})


@pytest.mark.parametrize(
    ("annotation", "data", "words"),
    [
        (datetime, "soon", "args.x: 'soon' is refused; expected a datetime as text"),
        (timedelta, "P", "expected a timedelta as text"),
        (timedelta, "-", "expected a timedelta as text"),
        (Decimal, 9.9, "args.x: 9.9 is refused; expected a finite Decimal as text"),
        (Decimal, "Infinity", "expected a finite Decimal as text"),
        (bytes, "%%%", "expected bytes as text"),
        (UUID, "x", "expected a UUID as text"),
        (Colour, "blue", "expected Colour: one of 'red'"),
        (set[int], [[1]], "args.x[0]: [1] is refused"),
        (set[Any], [[1]], "of hashable items"),
        (dict[int, int], {"a": 1}, "args.x.a: 'a' is refused; expected an integer as key"),
        (Line, {"price": "1", "cuont": 2}, "expected Line, which has no field 'cuont'"),
        (Line, {}, "expected Line, with its field 'price'"),
        (Line, [], "args.x: [] is refused; expected an object: Line"),
        (Positive, {"value": 0}, "that its own checks accept (must be positive)"),
        (Order, {"id": str(ID), "parent": {"id": 1}}, "args.x.parent.id: 1 is refused"),
        (Model, {"when": "never"}, "args.x.when: 'never' is refused"),
        (Struct, {"when": 1}, "Expected `datetime`, got `int` - at `$.when`"),
    ],
)
def test_stored_data_that_does_not_fit_is_refused_the_same_way(
    annotation: Any, data: Any, words: str
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        read(annotation, data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Unknown, "is not a type that JSON can hold; use a type of docs/payloads.md, or Any"),
        (list[Unknown], "parameter 'x' is annotated list["),
        (HasUnknown, "field 'unknown' is tests.unit.payload_types.Unknown: it is not a type"),
        (Callable[[], None], "is not a type that JSON can hold"),
        (datetime | str, "a datetime and text look the same in JSON"),
        (Line | Order, "Line and Order look the same in JSON"),
        (Colour | str, "look the same in JSON"),
        (
            dict[tuple[int, int], int],
            "keys must be text, integers, or a type that is stored",
        ),
        (Odd, "Odd.A has the value (1, 2): give members values of text or numbers"),
        (Literal[Colour.RED], "is not a JSON scalar"),
        (WithInitVar, "its constructor takes other names than its fields have"),
        ("Missing", "'Missing', which cannot be read (NameError"),
        (list["Missing"], "cannot be read (NameError: name 'Missing' is not defined)"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_a_type_that_json_cannot_hold_is_refused_at_registration(
    annotation: Any, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        task_for(annotation)
    assert words in str(caught.value)
    assert "its parameter 'x'" in str(caught.value)


@pytest.mark.parametrize("annotation", [Model, Struct, Many, Short, ipaddress.IPv4Address])
def test_a_library_s_type_is_refused_where_the_library_is_not_installed(
    annotation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "is_installed", lambda _: False)
    with pytest.raises(ConfigError, match=r"which is not installed|that JSON can hold"):
        task_for(annotation)


def test_what_needs_no_library_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "is_installed", lambda _: False)
    annotation = tuple[Order, Options, Point, dict[UUID, set[Shape]], timedelta, Path, bytes]
    values = (
        Order(id=ID, lines=[Line(Decimal(1))]),
        Options(name="a"),
        Point(1, time(2)),
        {ID: {Shape.FLAT}},
        timedelta(1),
        Path("a"),
        b"b",
    )
    assert read(annotation, stored(annotation, values)) == values
