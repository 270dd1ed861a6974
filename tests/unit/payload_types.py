"""Types of all kinds for tests of converters, and tasks that take them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic

from pgqueue.app import PgQueue
from pgqueue.tasks import Task

ID = UUID("7f3c0f5e-2b51-4d6e-9a57-0d3b6f1f2a10")
NOON = datetime(2026, 11, 22, 12, 0, 0, 250, tzinfo=UTC)


class NoTime(datetime):
    """As the missing time of a library for data: a datetime by its class, and equal to none."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class ExactTime(datetime):
    """As the times of such libraries: a datetime by its class, and equal to those it can be."""


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
Seconds = Annotated[datetime, pydantic.PlainSerializer(datetime.timestamp, return_type=float)]
Labelled = Annotated[int, pydantic.Field(json_schema_extra={"type": ["integer", "string"]})]
Short = Annotated[str, msgspec.Meta(max_length=3)]


class Unknown: ...


@dataclass
class HasUnknown:
    unknown: Unknown


class Odd(Enum):
    A = (1, 2)


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
