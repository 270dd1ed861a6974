"""Types that become one JSON scalar: the plain ones, and times, numbers, ids, paths, enums. Pure.

What is written here is read back equal; what would not be is refused when it is written.
"""

from __future__ import annotations

import base64
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pgqueue.converters.base import BOOLEAN, NULL, NUMBER, TEXT, Converter, Inconvertible, Misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from enum import Enum

_SCALARS: Final = NULL | BOOLEAN | NUMBER | TEXT


def _plain(
    expected: str, accepted: type | tuple[type, ...], kinds: frozenset[type], exact: frozenset[type]
) -> Converter:
    def check(value: Any) -> Any:
        if isinstance(value, accepted):
            return value
        raise Misfit(value, expected)

    return Converter(expected, kinds, check, check, plain=True, exact=exact)


def _text(
    expected: str,
    accepts: Callable[[Any], bool],
    write: Callable[[Any], str],
    read: Callable[[str], Any],
) -> Converter:
    """A type that is stored as text: `read` raises ValueError or ArithmeticError for bad text."""

    def encode(value: Any) -> str:
        if not accepts(value):
            raise Misfit(value, expected)
        return write(value)

    def decode(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return read(value)
            except (ValueError, ArithmeticError):
                pass
        raise Misfit(value, f"{expected} as text") from None

    return Converter(expected, TEXT, encode, decode)


_DURATION: Final = re.compile(
    r"(?P<sign>-)?P(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<micros>\d{1,6}))?S)?)?",
    re.ASCII,
).fullmatch


def _write_duration(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    micros = f".{value.microseconds:06}" if value.microseconds else ""
    return f"{sign}P{value.days}DT{value.seconds}{micros}S"


def _read_duration(text: str) -> timedelta:
    found = _DURATION(text)
    parts = found and {name: part for name, part in found.groupdict().items() if part}
    if not parts or not parts.keys() - {"sign"}:
        raise ValueError(text)
    micros = parts.get("micros", "0").ljust(6, "0")
    days, hours, minutes, seconds = (
        int(parts.get(name, 0)) for name in ("days", "hours", "minutes", "seconds")
    )
    value = timedelta(days, seconds, int(micros), hours=hours, minutes=minutes)
    return -value if "sign" in parts else value


def _is_time(value: Any) -> bool:
    # A zone without a fixed offset would be lost, and with it what the time means.
    return isinstance(value, time) and (value.tzinfo is None or value.utcoffset() is not None)


def _is_datetime(value: Any) -> bool:
    if type(value) is datetime:
        return True
    # One of a subclass may hold more than can be stored, or no time at all, as pandas' NaT.
    written = datetime.isoformat(value) if isinstance(value, datetime) else ""
    return bool(written) and bool(datetime.fromisoformat(written) == value)


def _is_date(value: Any) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Decimal) and value.is_finite()


def _read_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


def _read_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _path(kind: type[PurePath]) -> Converter:
    return _text("a path", lambda value: isinstance(value, PurePath), str, kind)


SCALARS: Final[dict[Any, Converter]] = {
    type(None): _plain("None", type(None), NULL, NULL),
    bool: _plain("True or False", bool, BOOLEAN, BOOLEAN),
    int: _plain("an integer", int, NUMBER, frozenset({int})),
    float: _plain("a number", (int, float), NUMBER, NUMBER),
    str: _plain("text", str, TEXT, TEXT),
    datetime: _text(
        "a datetime",
        _is_datetime,
        datetime.isoformat,
        datetime.fromisoformat,
    ),
    date: _text("a date", _is_date, date.isoformat, date.fromisoformat),
    time: _text(
        "a time, naive or with a fixed offset", _is_time, time.isoformat, time.fromisoformat
    ),
    timedelta: _text(
        "a timedelta", lambda value: isinstance(value, timedelta), _write_duration, _read_duration
    ),
    Decimal: _text("a finite Decimal", _is_finite, str, _read_decimal),
    UUID: _text("a UUID", lambda value: isinstance(value, UUID), str, UUID),
    bytes: _text(
        "bytes",
        lambda value: isinstance(value, bytes),
        lambda value: base64.b64encode(value).decode(),
        _read_bytes,
    ),
    Path: _path(Path),
    PosixPath: _path(PosixPath),
    PurePath: _path(PurePath),
    PurePosixPath: _path(PurePosixPath),
}
"""Converters of the types that stand for themselves."""


def enumeration(kind: type[Enum]) -> Converter:
    """Members of an enum, stored as their values.

    Raises:
        Inconvertible: a value that is no JSON scalar.
    """
    for member in kind:
        if type(member.value) not in _SCALARS:
            raise Inconvertible(
                f"{member} has the value {member.value!r}: give members values of text or numbers"
            )
    expected = kind.__name__

    def encode(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Misfit(value, expected)
        return value.value

    def decode(value: Any) -> Any:
        try:
            return kind(value)
        except (ValueError, TypeError):
            known = ", ".join(repr(member.value) for member in kind)
            raise Misfit(value, f"{expected}: one of {known}") from None

    return Converter(expected, frozenset(type(m.value) for m in kind), encode, decode)


def literal(values: Sequence[Any]) -> Converter:
    """One of some values, which are what JSON holds.

    Raises:
        Inconvertible: a value that is no JSON scalar, such as an enum's member.
    """
    for value in values:
        if type(value) not in _SCALARS:
            raise Inconvertible(
                f"the literal {value!r} is not a JSON scalar: use its enum, or text"
            )
    known = frozenset((type(value), value) for value in values)
    expected = " or ".join(map(repr, values))

    def check(value: Any) -> Any:
        try:
            if (type(value), value) in known:
                return value
        except TypeError:  # not hashable
            pass
        raise Misfit(value, expected)

    return Converter(expected, frozenset(type(v) for v in values), check, check, plain=True)
