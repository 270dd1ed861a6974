"""What a converter is, and what it raises. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

NULL: Final = frozenset({type(None)})
BOOLEAN: Final = frozenset({bool})
NUMBER: Final = frozenset({int, float})
TEXT: Final = frozenset({str})
ARRAY: Final = frozenset({list})
OBJECT: Final = frozenset({dict})
ANYTHING: Final = NULL | BOOLEAN | NUMBER | TEXT | ARRAY | OBJECT


class Misfit(Exception):
    """A value that does not fit its type; caught by whoever knows where the value stands.

    Args:
        value: what was met.
        expected: what would have fitted, in words.
    """

    def __init__(self, value: Any, expected: str) -> None:
        super().__init__(expected)
        self.value, self.expected = value, expected
        self.steps: list[str | int] = []

    def under(self, step: str | int) -> Misfit:
        """The same, seen from one level further out."""
        self.steps.insert(0, step)
        return self


class Inconvertible(Exception):
    """A type that JSON cannot hold; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Converter:
    """How values of one type are checked, stored and read back.

    Attributes:
        expected: the type, in words for error messages.
        kinds: the types that JSON has for it, as `json.loads` gives them.
        encode: a value -> JSON data; raises Misfit.
        decode: JSON data -> a value; raises Misfit.
        plain: JSON data is the value already: both functions only check.
        exact: values of exactly these types need not even be checked.
    """

    expected: str
    kinds: frozenset[type]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    plain: bool = False
    exact: frozenset[type] = frozenset()


def same(value: Any) -> Any:
    """The value."""
    return value


ANY: Final = Converter("a JSON value", ANYTHING, same, same, plain=True)
"""Of a parameter without annotation, or with Any: whatever `payload` accepts."""


def type_name(annotation: Any) -> str:
    """An annotation as error messages show it; of an Annotated, what it annotates."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        plain = annotation.__module__ == "builtins"
        return annotation.__qualname__ if plain else f"{annotation.__module__}.{_name(annotation)}"
    return str(annotation).removeprefix("typing.")


def _name(annotation: type) -> str:
    return annotation.__qualname__
