"""Types of annotations to JSON and back; no database."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import pathlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

from pgqueue.app import PgQueue
from pgqueue.converters import libraries
from pgqueue.errors import ConfigError, InvalidPayload
from pgqueue.tasks import Task

ID = UUID("7f3c0f5e-2b51-4d6e-9a57-0d3b6f1f2a10")
NOON = datetime(2026, 11, 22, 12, 0, 0, 250, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Shape(Enum):
    ROUND = "round"
    FLAT = 2


@dataclass
class Line:
    price: Decimal
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    id: UUID
    lines: list[Line] = field(default_factory=list)
    due: date | None = None
    parent: Order | None = None


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError("must be positive")


@dataclass
class Discounted(Line):
    discount: int = 0


@dataclass
class WithInitVar:
    x: dataclasses.InitVar[int]


class Options(TypedDict):
    name: str
    when: NotRequired[date]


class Point(NamedTuple):
    x: int
    at: time


class Model(pydantic.BaseModel):
    when: datetime
    tags: set[str] = set()
    ratio: Decimal = Decimal(1)


class Aliased(pydantic.BaseModel):
    order_id: int = pydantic.Field(alias="orderId")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    when: datetime


class Hidden(pydantic.BaseModel):
    secret: pydantic.SecretStr


class Left(pydantic.BaseModel):
    a: int


class Right(pydantic.BaseModel):
    b: int


class Struct(msgspec.Struct):
    when: datetime
    tags: set[str] = set()


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


OrderId = NewType("OrderId", int)
Many = Annotated[int, pydantic.Field(gt=1)]
Short = Annotated[str, msgspec.Meta(max_length=3)]


def task_for(annotation: Any, **options: Any) -> Task[..., Any]:
    """A task whose only parameter is annotated so."""

    def handler(x: Any) -> None: ...

    handler.__annotations__["x"] = annotation
    app: Any = PgQueue("postgresql://nobody@nowhere.invalid/none")
    task: Task[..., Any] = app.task(name="t", **options)(handler)
    return task


def stored(annotation: Any, value: Any) -> Any:
    """The JSON data that a value is stored as."""
    return json.loads(json.dumps(task_for(annotation).job(value).args))["x"]


def read(annotation: Any, data: Any) -> Any:
    """The value that a handler gets of stored JSON data."""
    args = {"x": data}
    arguments = task_for(annotation).arguments
    if arguments is not None:
        arguments.decode(args)
    return args["x"]


ROUND_TRIPS: list[tuple[Any, Any, Any]] = [
    (int, 5, 5),
    (float, 1, 1),
    (str, "a", "a"),
    (str, Colour.RED, "red"),
    (int | str, "a", "a"),
    (int | None, None, None),
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
    (Literal["a", "b"], "c", "args.x: 'c' is refused; expected 'a' or 'b'"),
    (Literal[1], True, "args.x: True is refused; expected 1"),
    (datetime, "2026-01-01", "args.x: '2026-01-01' is refused; expected a datetime"),
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


class Unknown: ...


@dataclass
class HasUnknown:
    unknown: Unknown


class Odd(Enum):
    A = (1, 2)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Unknown, "is not a type that JSON can hold; use a type of docs/payloads.md, or Any"),
        (list[Unknown], "parameter 'x' is annotated list["),
        (HasUnknown, "field 'unknown' is tests.unit.test_converters.Unknown: it is not a type"),
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
