"""Types with named fields: dataclasses, TypedDicts and named tuples. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pgqueue.converters.base import OBJECT, Converter, Misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Fields = dict[str, Converter]


def _check_names(
    value: Mapping[Any, Any], fields: Fields, required: frozenset[str], what: str
) -> None:
    for name in value:
        if name not in fields:
            raise Misfit(value, f"{what}, which has no field {name!r}")
    for name in required:
        if name not in value:
            raise Misfit(value, f"{what}, with its field {name!r}")


def _decoded(value: dict[str, Any], fields: Fields) -> dict[str, Any]:
    done = {}
    for name, item in value.items():
        try:
            done[name] = fields[name].decode(item)
        except Misfit as misfit:
            raise misfit.under(name) from None
    return done


def _encoded(items: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    done = {}
    for name, item in items.items():
        try:
            done[name] = fields[name].encode(item)
        except Misfit as misfit:
            raise misfit.under(name) from None
    return done


def dataclass_converter(kind: type[Any], fields: Fields, required: frozenset[str]) -> Converter:
    """A dataclass, as an object of the fields that its constructor takes.

    Args:
        kind: the class; a value must be of it, and not of a subclass, which would be lost.
        fields: filled in later where the class refers to itself.
        required: fields without default.
    """
    expected = kind.__name__

    def encode(value: Any) -> dict[str, Any]:
        if type(value) is not kind:
            raise Misfit(value, expected)
        return _encoded({name: getattr(value, name) for name in fields}, fields)

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit(value, f"an object: {expected}")
        _check_names(value, fields, required, expected)
        values = _decoded(value, fields)
        try:
            return kind(**values)
        except (ValueError, TypeError) as error:
            raise Misfit(value, f"{expected} that its own checks accept ({error})") from None

    return Converter(expected, OBJECT, encode, decode)


def required_fields(kind: type[Any]) -> frozenset[str]:
    """The fields of a dataclass that its constructor must be given."""
    missing = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is missing and field.default_factory is missing
    )


def typed_dict_converter(name: str, fields: Fields, required: frozenset[str]) -> Converter:
    """A TypedDict; a value is a dict of its fields and no others."""
    expected = name

    def through(convert: Callable[[Any, Fields], dict[str, Any]]) -> Callable[[Any], Any]:
        def checked(value: Any) -> Any:
            if not isinstance(value, dict):
                raise Misfit(value, expected)
            _check_names(value, fields, required, expected)
            return convert(value, fields)

        return checked

    return Converter(expected, OBJECT, through(_encoded), through(_decoded))
