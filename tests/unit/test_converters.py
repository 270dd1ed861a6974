"""Types of annotations to JSON and back; no database."""

from __future__ import annotations

import ipaddress
import pathlib
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError, InvalidPayload
from tests.unit.payload_types import (
    ID,
    NOON,
    Aliased,
    Cat,
    Colour,
    Dog,
    ExactTime,
    Labelled,
    Left,
    Line,
    Many,
    Model,
    Options,
    Order,
    OrderId,
    Point,
    Right,
    Seconds,
    Shape,
    Short,
    Size,
    Strict,
    Struct,
    Unknown,
    read,
    stored,
    task_for,
)

ROUND_TRIPS: list[tuple[Any, Any, Any]] = [
    (int, 5, 5),
    (float, 1, 1),
    (str, "a", "a"),
    (str, Colour.RED, "red"),
    (int | str, "a", "a"),
    (int | None, None, None),
    (int | None, True, True),
    (float | None, True, True),
    (list[int | str], [True, "a"], [True, "a"]),
    (Seconds | None, NOON, NOON.timestamp()),
    (Labelled | None, 1, 1),
    (list, [1, "a"], [1, "a"]),
    (dict[str, Any], {"a": [1]}, {"a": [1]}),
    (list[int], [1, 2], [1, 2]),
    (Sequence[int], [1, 2], [1, 2]),
    (Iterable[date], [NOON.date()], ["2026-11-22"]),
    (Mapping[str, int], {"a": 1}, {"a": 1}),
    (Literal["a", 1], "a", "a"),
    (OrderId, OrderId(3), 3),
    (datetime, NOON, "2026-11-22T12:00:00.000250+00:00"),
    (datetime, datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),  # noqa: DTZ001 - stays naive
    (date, date(2026, 1, 2), "2026-01-02"),
    (time, time(3, 4, tzinfo=timezone(timedelta(hours=2))), "03:04:00+02:00"),
    (timedelta, timedelta(days=1, seconds=2, microseconds=3), "P1DT2.000003S"),
    (timedelta, timedelta(microseconds=-1), "-P0DT0.000001S"),
    (timedelta, timedelta.min, "-P999999999DT0S"),
    (timedelta, timedelta.max, "P999999999DT86399.999999S"),
    (Decimal, Decimal("1.20"), "1.20"),
    (UUID, ID, str(ID)),
    (bytes, b"\xff\0", "/wA="),
    (Path, Path("/tmp/a b"), "/tmp/a b"),
    (pathlib.PurePosixPath, pathlib.PurePosixPath("a"), "a"),
    (Colour, Colour.RED, "red"),
    (Size, Size.SMALL, 1),
    (Shape, Shape.FLAT, 2),
    (datetime | None, None, None),
    (datetime | int, NOON, NOON.isoformat()),
    (list[datetime] | UUID | None, [NOON], [NOON.isoformat()]),
    (tuple[int, ...], (1, 2), [1, 2]),
    (tuple[int, date], (1, date(2026, 1, 2)), [1, "2026-01-02"]),
    (set[int], {3, 1, 2}, [1, 2, 3]),
    (frozenset[UUID], frozenset({ID}), [str(ID)]),
    (dict[int, date], {1: date(2026, 1, 2)}, {"1": "2026-01-02"}),
    (dict[UUID, int], {ID: 1}, {str(ID): 1}),
    (dict[Colour, Decimal], {Colour.RED: Decimal(1)}, {"red": "1"}),
    (Line, Line(Decimal("9.90")), {"price": "9.90", "count": 1}),
    (list[Line], [Line(Decimal(1))], [{"price": "1", "count": 1}]),
    (Options, {"name": "a", "when": date(2026, 1, 2)}, {"name": "a", "when": "2026-01-02"}),
    (Options, {"name": "a"}, {"name": "a"}),
    (Point, Point(1, time(2)), [1, "02:00:00"]),
    (Annotated[date, "of delivery"], date(2026, 1, 2), "2026-01-02"),
    (Many, 2, 2),
    (Short, "abc", "abc"),
    (
        Model,
        Model(when=NOON, tags={"a"}),
        {"when": "2026-11-22T12:00:00.000250Z", "tags": ["a"], "ratio": "1"},
    ),
    (Model | None, None, None),
    (Left | Right, Right(b=1), {"b": 1}),
    (Aliased, Aliased(orderId=1), {"orderId": 1}),
    (Strict, Strict(when=NOON), {"when": "2026-11-22T12:00:00.000250Z"}),
    (dict[str, Model], {}, {}),
    (Struct, Struct(NOON, {"a"}), {"when": "2026-11-22T12:00:00.000250Z", "tags": ["a"]}),
    (Cat | Dog, Dog("rex"), {"type": "Dog", "name": "rex"}),
    (Cat | Dog | None, None, None),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1"), "10.0.0.1"),
    (deque[date], deque([date(2026, 1, 2)]), ["2026-01-02"]),
]


@pytest.mark.parametrize(("annotation", "value", "data"), ROUND_TRIPS, ids=str)
def test_a_value_is_stored_as_json_and_comes_back_equal_and_of_its_type(
    annotation: Any, value: Any, data: Any
) -> None:
    assert stored(annotation, value) == data
    back = read(annotation, data)
    assert back == value
    assert type(back) is (str if value is Colour.RED and annotation is str else type(value))


orders = st.builds(
    Order,
    id=st.uuids(),
    lines=st.lists(
        st.builds(Line, st.decimals(allow_nan=False, allow_infinity=False), st.integers())
    ),
    due=st.none() | st.dates(),
    parent=st.none() | st.builds(Order, id=st.uuids()),
)
zones = st.none() | st.just(UTC) | st.builds(ZoneInfo, st.just("Europe/Warsaw"))


@given(orders)
def test_nested_dataclasses_come_back_equal(order: Order) -> None:
    assert read(Order, stored(Order, order)) == order


@given(st.datetimes(timezones=zones), st.timedeltas(), st.binary(), st.times())
def test_times_and_bytes_come_back_equal(
    moment: datetime, duration: timedelta, data: bytes, clock: time
) -> None:
    assert read(datetime, stored(datetime, moment)) == moment.replace(
        tzinfo=moment.tzinfo and timezone(moment.utcoffset() or timedelta())
    )
    assert read(timedelta, stored(timedelta, duration)) == duration
    assert read(bytes, stored(bytes, data)) == data
    assert read(time, stored(time, clock)) == clock


def test_a_datetime_of_a_subclass_is_stored_if_it_comes_back_equal() -> None:
    assert stored(datetime, ExactTime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00+00:00"


def test_a_circle_of_dataclasses_is_refused() -> None:
    order = Order(id=ID)
    object.__setattr__(order, "parent", order)
    with pytest.raises(InvalidPayload, match="nested too deep, or in a circle"):
        task_for(Order).job(order)


def test_the_caller_s_own_objects_stay_as_they_are() -> None:
    lines = [Line(Decimal(1))]
    args = {"x": lines}
    task_for(list[Line]).job(**args)
    assert args == {"x": [Line(Decimal(1))]}


def plain(a: int, b: Any, c, *, d: dict[str, Any] | None = None) -> None: ...  # type: ignore[no-untyped-def]
def nothing(a, b: Any, c: object = 1) -> None: ...  # type: ignore[no-untyped-def]
def implicit(when: datetime = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
def rest(name: str, **dates: date) -> None: ...


@pytest.fixture
def app() -> PgQueue:
    return PgQueue("postgresql://nobody@nowhere.invalid/none")


def test_a_handler_without_types_has_no_converters(app: PgQueue) -> None:
    assert app.task(nothing).arguments is None
    assert app.task(plain).returns is None


def test_a_default_of_none_allows_none(app: PgQueue) -> None:
    task: Any = app.task(implicit)
    assert task.job(None).args == {"when": None}
    assert task.job(NOON).args == {"when": NOON.isoformat()}


def test_named_and_other_keyword_arguments_have_types_of_their_own(app: PgQueue) -> None:
    task: Any = app.task(rest)
    args = task.job("a", start=date(2026, 1, 2)).args
    assert args == {"name": "a", "start": "2026-01-02"}
    values = dict(args)
    assert task.arguments is not None
    task.arguments.decode(values)
    assert values == {"name": "a", "start": date(2026, 1, 2)}
    with pytest.raises(InvalidPayload, match=r"args\.start: 1 is refused; expected a date"):
        task.enqueue("a", start=1)


def returns_lines() -> list[Line]: ...  # type: ignore[empty-body]
def returns_unknown() -> Unknown: ...  # type: ignore[empty-body]


def test_a_result_is_read_back_as_the_handler_returned_it(app: PgQueue) -> None:
    task = app.task(returns_lines)
    assert task.read_result([{"price": "1.50"}]) == [Line(Decimal("1.50"))]
    assert task.read_result(None) is None
    with pytest.raises(InvalidPayload, match=r"result\[0\]\.price: 1 does not fit"):
        task.read_result([{"price": 1}])


def test_a_result_that_json_cannot_hold_is_refused_at_registration(app: PgQueue) -> None:
    with pytest.raises(ConfigError, match=r"its result is annotated .*Unknown"):
        app.task(returns_unknown)


def test_a_value_that_is_hidden_is_not_quoted_in_the_refusal() -> None:
    @dataclass
    class Card:
        number: int

    task = task_for(Card, redact={"number"})
    with pytest.raises(InvalidPayload) as caught:
        task.job(Card("4111"))  # type: ignore[arg-type]
    assert str(caught.value) == "args.x.number: *** is refused; expected Card"
    with pytest.raises(InvalidPayload) as caught:
        task.job({"number": 4111})
    assert str(caught.value) == "args.x: a dict is refused; expected Card"


def test_importing_tasks_imports_no_library_that_converts() -> None:
    import subprocess  # noqa: PLC0415 - here alone

    code = "import sys, pgqueue.app; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "msgspec", "cryptography"} & set(done.stdout.split())
