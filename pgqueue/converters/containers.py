"""Lists, tuples, sets and dicts of what other converters know, and choices between them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set as AbstractSet
from typing import Any, Final

from pgqueue.converters.base import (
    ANY,
    ARRAY,
    OBJECT,
    TEXT,
    Converter,
    Inconvertible,
    Misfit,
    same,
)
from pgqueue.payload import show

Function = Callable[[Any], Any]

_ARRAYS: Final = (list, tuple)


def _each(convert: Function, items: Iterable[Any]) -> list[Any]:
    done = []
    for index, item in enumerate(items):
        try:
            done.append(convert(item))
        except Misfit as misfit:
            raise misfit.under(index) from None
    return done


def _passing(item: Converter, convert: Function) -> Function:
    """From a collection to a list of converted items; one of plain items is passed on whole."""
    if item is ANY:
        return same
    if not item.plain:
        return lambda items: _each(convert, items)
    exact = item.exact

    def check(items: Collection[Any]) -> Collection[Any]:
        if not exact.issuperset(map(type, items)):
            _each(convert, items)
        return items

    return check


def array(
    expected: str,
    item: Converter,
    accepted: type | tuple[type, ...],
    make: Callable[[list[Any]], Any] | None = None,
) -> Converter:
    """A collection of any length.

    Args:
        expected: in words.
        item: of each item.
        accepted: what can be written, besides what JSON makes of it.
        make: from the items to the value; None where it is a list.
    """
    write, read = _passing(item, item.encode), _passing(item, item.decode)
    unordered = isinstance(accepted, type) and issubclass(accepted, AbstractSet)

    def encode(value: Any) -> Any:
        if not isinstance(value, accepted) or isinstance(value, (str, bytes)):
            raise Misfit(value, expected)
        items = write(value)
        if unordered:
            if item is ANY and any(isinstance(each, tuple) for each in items):
                raise Misfit(value, f"{expected} without tuples, which would come back as lists")
            return _in_order(items)
        return items if type(items) in _ARRAYS else list(items)

    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit(value, expected)
        items = read(value)
        try:
            return items if make is None else make(items)
        except TypeError:
            raise Misfit(value, f"{expected} of hashable items") from None

    return Converter(expected, ARRAY, encode, decode, plain=item.plain and make is None)


def _in_order(items: Collection[Any]) -> list[Any]:
    """Equal sets become equal JSON."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=repr)


def fixed_array(
    expected: str, items: Sequence[Converter], accepted: type, make: Callable[[list[Any]], Any]
) -> Converter:
    """A tuple of so many items, each of its own type."""

    def each(name: str, value: Any) -> list[Any]:
        if len(value) != len(items):
            raise Misfit(value, f"{expected}, of {len(items)} items")
        done = []
        for index, (item, part) in enumerate(zip(items, value, strict=True)):
            try:
                done.append(getattr(item, name)(part))
            except Misfit as misfit:
                raise misfit.under(index) from None
        return done

    def encode(value: Any) -> list[Any]:
        if not isinstance(value, accepted):
            raise Misfit(value, expected)
        return each("encode", value)

    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit(value, expected)
        return make(each("decode", value))

    return Converter(expected, ARRAY, encode, decode)


def mapping(expected: str, key: Converter, value: Converter) -> Converter:
    """A dict.

    Raises:
        Inconvertible: keys that are not text in JSON.
    """
    if key.expected == _INTEGER:
        key = _INTEGER_KEY
    if key is not ANY and key.kinds != TEXT:
        raise Inconvertible("keys must be text, integers, or a type that is stored as text")
    plain_keys = key is ANY or key.plain

    untouched = plain_keys and value is ANY
    write = same if untouched else _members(key.encode, value.encode)
    read = same if untouched else _members(key.decode, value.decode)

    def encode(found: Any) -> Any:
        if not isinstance(found, Mapping):
            raise Misfit(found, expected)
        items = write(found)
        return items if isinstance(items, dict) else dict(items)

    def decode(found: Any) -> Any:
        if not isinstance(found, dict):
            raise Misfit(found, expected)
        return read(found)

    return Converter(expected, OBJECT, encode, decode, plain=plain_keys and value.plain)


def _members(convert_key: Function, convert: Function) -> Function:
    def convert_all(items: Mapping[Any, Any]) -> dict[str, Any]:
        done = {}
        for name, item in items.items():
            try:
                done[convert_key(name)] = convert(item)
            except Misfit as misfit:
                raise misfit.under(name if isinstance(name, str) else show(name)) from None
        return done

    return convert_all


_INTEGER: Final = "an integer"


def _write_integer(value: Any) -> str:
    if not isinstance(value, int):
        raise Misfit(value, "an integer as key")
    try:
        return str(int(value))
    except ValueError:
        raise Misfit(value, "an integer of at most 4300 digits as key") from None


def _read_integer(value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        raise Misfit(value, "an integer as key") from None


_INTEGER_KEY: Final = Converter("an integer as key", TEXT, _write_integer, _read_integer)


def choice(members: Sequence[Converter]) -> Converter:
    """One of several types, told apart by what they are in JSON.

    Raises:
        Inconvertible: two of them look the same in JSON, and one of them must be converted.
    """
    if ANY in members:
        return ANY
    _refuse_ambiguous(members)
    expected = " or ".join(dict.fromkeys(member.expected for member in members))
    plain = all(member.plain for member in members)
    exact = frozenset[type]().union(*(member.exact for member in members))
    kinds = frozenset[type]().union(*(member.kinds for member in members))
    # A plain member takes back whatever it let pass: True is an int.
    unlike = [member for member in members if member.plain]

    def encode(value: Any) -> Any:
        return _first_that_fits(members, "encode", value, expected)

    def decode(value: Any) -> Any:
        fitting = [member for member in members if type(value) in member.kinds] or unlike
        return _first_that_fits(fitting, "decode", value, expected)

    return Converter(expected, kinds, encode, decode, plain=plain, exact=exact)


def _first_that_fits(members: Sequence[Converter], name: str, value: Any, expected: str) -> Any:
    inner: Misfit | None = None
    for member in members:
        try:
            return getattr(member, name)(value)
        except Misfit as misfit:
            inner = misfit if misfit.steps else inner
    # What does not fit deep inside of the one that fits outside says more than a list of types.
    raise inner or Misfit(value, expected) from None


def _refuse_ambiguous(members: Sequence[Converter]) -> None:
    for index, one in enumerate(members):
        for other in members[index + 1 :]:
            if not (one.plain and other.plain) and one.kinds & other.kinds:
                raise Inconvertible(
                    f"{one.expected} and {other.expected} look the same in JSON: use one of "
                    "them, or a tagged union of pydantic models or msgspec structs"
                )
