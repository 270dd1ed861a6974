"""From an annotation to its converter. Pure."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections import abc
from enum import Enum
from functools import reduce
from inspect import Parameter
from operator import or_
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from pgqueue.converters import containers, libraries, records, scalars
from pgqueue.converters.base import ANY, Converter, Inconvertible, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

_ANYTHING: Final = (Any, object, Parameter.empty, typing.NoReturn, typing.Never)
_LISTS: Final = (
    list,
    abc.Sequence,
    abc.MutableSequence,
    abc.Collection,
    abc.Iterable,
)
_SETS: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    set: set,
    abc.MutableSet: set,
    frozenset: frozenset,
    abc.Set: frozenset,
}
_DICTS: Final = (dict, abc.Mapping, abc.MutableMapping)
_WRAPPERS: Final = ("Required", "NotRequired", "ReadOnly", "Final")


class Compiler:
    """Compiles annotations; a class that it met before it knows, also inside of itself."""

    def __init__(self) -> None:
        self._records: dict[type, Converter] = {}
        self._aliases: set[str] = set()

    def compile(self, annotation: Any) -> Converter:  # noqa: PLR0911 - one case a line, flat
        """The converter of a resolved annotation.

        Raises:
            Inconvertible: JSON cannot hold the type; says why and what would do.
        """
        if any(annotation is each for each in _ANYTHING) or isinstance(annotation, TypeVar):
            return ANY
        origin = get_origin(annotation)
        if origin is not None:
            return self._generic(annotation, origin)
        if isinstance(annotation, type):
            return self._class(annotation)
        if annotation is typing.LiteralString:
            return scalars.SCALARS[str]
        if hasattr(annotation, "__supertype__"):
            return self.compile(annotation.__supertype__)
        if type(annotation).__name__ == "TypeAliasType":
            return self._alias(annotation)
        return _by_a_library(annotation)

    def _alias(self, annotation: Any) -> Converter:
        if annotation.__name__ in self._aliases:
            return ANY  # an alias inside of itself, such as the usual one for JSON
        self._aliases.add(annotation.__name__)
        try:
            return self.compile(annotation.__value__)
        finally:
            self._aliases.remove(annotation.__name__)

    def _generic(self, annotation: Any, origin: Any) -> Converter:  # noqa: PLR0911 - as above
        arguments = get_args(annotation)
        if origin is typing.Annotated:
            return self._annotated(annotation, arguments)
        if getattr(origin, "_name", None) in _WRAPPERS:
            return self.compile(arguments[0])
        if origin is typing.Literal:
            return scalars.literal(arguments)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments)
        if (found := self._collection(origin, arguments, type_name(annotation))) is not None:
            return found
        if libraries.belongs_to_msgspec(annotation):
            return libraries.msgspec_converter(annotation)
        return _by_a_library(annotation)

    def _annotated(self, annotation: Any, arguments: tuple[Any, ...]) -> Converter:
        library = libraries.constrained_by(arguments[1:])
        if library == "pydantic":
            return libraries.pydantic_converter(annotation)
        if library == "msgspec":
            return libraries.msgspec_converter(annotation)
        return self.compile(arguments[0])

    def _union(self, members: tuple[Any, ...]) -> Converter:
        """Unions of one library's models are that library's: it knows their tags."""
        some = [member for member in members if member is not type(None)]
        for belongs, convert in (
            (libraries.belongs_to_pydantic, libraries.pydantic_converter),
            (libraries.belongs_to_msgspec, libraries.msgspec_converter),
        ):
            if len(some) > 1 and all(map(belongs, some)):
                one = convert(reduce(or_, some))
                none = [scalars.SCALARS[type(None)]] * (len(some) < len(members))
                return containers.choice([*none, one])
        return containers.choice([self.compile(member) for member in members])

    def _collection(
        self, origin: Any, arguments: tuple[Any, ...], expected: str
    ) -> Converter | None:
        item = self.compile(arguments[0]) if arguments and origin is not tuple else ANY
        if origin in _LISTS:
            accepted = (list, tuple) if origin is list else abc.Sequence
            return containers.array(expected, item, accepted)
        if origin in _SETS:
            return containers.array(expected, item, abc.Set, _SETS[origin])
        if origin in _DICTS:
            value = self.compile(arguments[1]) if arguments else ANY
            return containers.mapping(expected, item, value)
        return self._tuple(arguments, expected) if origin is tuple else None

    def _tuple(self, arguments: tuple[Any, ...], expected: str) -> Converter:
        if not arguments or arguments[-1] is Ellipsis:
            item = self.compile(arguments[0]) if arguments else ANY
            return containers.array(expected, item, (tuple, list), tuple)
        items = [self.compile(argument) for argument in arguments]
        return containers.fixed_array(expected, items, tuple, tuple)

    def _class(self, kind: Any) -> Converter:  # noqa: PLR0911 - as above
        if (found := scalars.SCALARS.get(kind) or self._records.get(kind)) is not None:
            return found
        if (found := self._collection(kind, (), type_name(kind))) is not None:
            return found
        if libraries.belongs_to_pydantic(kind):
            return libraries.pydantic_converter(kind)
        if libraries.belongs_to_msgspec(kind):
            return libraries.msgspec_converter(kind)
        if issubclass(kind, Enum):
            return scalars.enumeration(kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind)
        if issubclass(kind, dict) and hasattr(kind, "__total__"):
            return self._typed_dict(kind)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._named_tuple(kind)
        return _by_a_library(kind)

    def _dataclass(self, kind: Any) -> Converter:
        names = [field.name for field in dataclasses.fields(kind) if field.init]
        if set(names) != set(inspect.signature(kind).parameters):
            raise Inconvertible("its constructor takes other names than its fields have")
        fields: records.Fields = {}
        converter = records.dataclass_converter(kind, fields, records.required_fields(kind))
        self._fill(kind, fields, converter, names)
        return converter

    def _typed_dict(self, kind: Any) -> Converter:
        hints = _hints(kind)
        # Not __optional_keys__ alone: it does not see NotRequired where annotations are text.
        required = frozenset(
            name
            for name, hint in hints.items()
            if name not in kind.__optional_keys__
            and getattr(get_origin(hint), "_name", "") != "NotRequired"
        )
        fields: records.Fields = {}
        converter = records.typed_dict_converter(kind.__name__, fields, required)
        self._fill(kind, fields, converter, list(hints))
        return converter

    def _named_tuple(self, kind: Any) -> Converter:
        hints = _hints(kind)
        items = [self._field(name, hints.get(name, Any)) for name in kind._fields]
        return containers.fixed_array(kind.__name__, items, kind, lambda values: kind(*values))

    def _fill(
        self, kind: type, fields: records.Fields, converter: Converter, names: list[str]
    ) -> None:
        """Compile a record's fields, which may be of the record's own type."""
        self._records[kind] = converter
        hints = _hints(kind)
        try:
            fields.update((name, self._field(name, hints[name])) for name in names)
        except Inconvertible:
            del self._records[kind]
            raise

    def _field(self, name: str, hint: Any) -> Converter:
        try:
            return self.compile(hint)
        except Inconvertible as error:
            raise Inconvertible(f"field {name!r} is {type_name(hint)}: {error}") from None


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception as error:  # noqa: BLE001 - annotations are code, and may raise anything
        raise Inconvertible(
            f"the annotations of its fields cannot be read ({type(error).__name__}: {error})"
        ) from None


def _by_a_library(annotation: Any) -> Converter:
    """What we do not know, but an installed library may."""
    for library, convert in (
        ("pydantic", libraries.pydantic_converter),
        ("msgspec", libraries.msgspec_converter),
    ):
        if libraries.is_installed(library):
            try:
                return convert(annotation)
            except Inconvertible:
                continue
    raise Inconvertible("it is not a type that JSON can hold")
