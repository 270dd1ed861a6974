"""Types that belong to pydantic or msgspec: those libraries convert them.

Neither is imported before an annotation asks for it. What they write is read back at once: a value
that would come back different (a secret that is written as stars, a field that is left out) is
refused when it is enqueued, not found out when the job runs.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import Any, Final, get_origin

from pgqueue.converters.base import (
    ANYTHING,
    ARRAY,
    BOOLEAN,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    Converter,
    Inconvertible,
    Misfit,
    type_name,
)

_CONSTRAINTS: Final = ("pydantic", "pydantic_core", "annotated_types")


def belongs_to_pydantic(annotation: Any) -> bool:
    """Whether it is a model, a pydantic dataclass, a type of pydantic, or one with its schema."""
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and (
        hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__pydantic_validator__")
    )


def belongs_to_msgspec(annotation: Any) -> bool:
    """Whether it is a Struct."""
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and hasattr(kind, "__struct_config__")


def constrained_by(metadata: tuple[Any, ...]) -> str | None:
    """Whose constraints an Annotated carries: "pydantic", "msgspec", or nobody's."""
    for each in metadata:
        home = type(each).__module__.partition(".")[0]
        if home in _CONSTRAINTS:
            return "pydantic"
        if home == "msgspec":
            return "msgspec"
    return None


def is_installed(library: str) -> bool:
    """Whether a library could be imported."""
    return library in sys.modules or find_spec(library) is not None


def pydantic_converter(annotation: Any) -> Converter:
    """What pydantic's TypeAdapter makes of the annotation, with pydantic's own rules.

    Raises:
        Inconvertible: pydantic is not installed, or does not know the type.
    """
    if not is_installed("pydantic"):
        raise Inconvertible("it needs pydantic, which is not installed")
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - only where it is used
    from pydantic.errors import PydanticUserError  # noqa: PLC0415 - as above

    expected = type_name(annotation)
    try:
        adapter: Any = TypeAdapter(annotation)
        kinds = _kinds(adapter.json_schema(mode="validation"))
        kinds |= _kinds(adapter.json_schema(mode="serialization"))
    except (PydanticUserError, NameError) as error:
        raise Inconvertible(f"pydantic: {_first_line(error)}") from None

    def decode(value: Any) -> Any:
        try:
            return adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            raise _pydantic_misfit(error, value, expected) from None

    def encode(value: Any) -> Any:
        try:
            checked = adapter.validate_python(value)
            written = adapter.dump_python(
                checked, mode="json", by_alias=True, round_trip=True, warnings="error"
            )
        except ValidationError as error:
            raise _pydantic_misfit(error, value, expected) from None
        except (ValueError, RecursionError) as error:  # cannot be written, or goes in a circle
            raise Misfit(value, f"{expected} ({_first_line(error)})") from None
        return _if_it_comes_back(value, written, checked == decode(written), expected)

    return Converter(expected, kinds, encode, decode)


def msgspec_converter(annotation: Any) -> Converter:
    """What msgspec makes of the annotation.

    Raises:
        Inconvertible: msgspec is not installed, or does not know the type.
    """
    if not is_installed("msgspec"):
        raise Inconvertible("it needs msgspec, which is not installed")
    import msgspec  # noqa: PLC0415 - only where it is used

    expected = type_name(annotation)
    try:
        schema = msgspec.json.schema(annotation)
    except (TypeError, NameError) as error:
        raise Inconvertible(f"msgspec: {_first_line(error)}") from None

    def decode(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, str_keys=True)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise Misfit(value, f"{expected} ({error})") from None

    def write(value: Any) -> Any:
        try:
            return msgspec.to_builtins(value, str_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise Misfit(value, f"{expected} ({error})") from None

    def encode(value: Any) -> Any:
        written = write(value)
        return _if_it_comes_back(value, written, write(decode(written)) == written, expected)

    return Converter(expected, _kinds(schema), encode, decode)


def _if_it_comes_back(value: Any, written: Any, equal: bool, expected: str) -> Any:
    if not equal:
        raise Misfit(value, f"{expected} that comes back equal from JSON")
    return written


def _pydantic_misfit(error: Any, value: Any, expected: str) -> Misfit:
    """The first complaint, at its place; without the values that pydantic's own text would show."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    steps = list(first["loc"])
    misfit = Misfit(_at(value, steps), f"{expected} ({first['msg']})")
    misfit.steps = steps
    return misfit


def _at(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        try:
            value = value[step]
        except (TypeError, LookupError):
            value = getattr(value, str(step), value)
    return value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


_JSON_TYPES: Final[dict[str, frozenset[type]]] = {
    "array": ARRAY,
    "boolean": BOOLEAN,
    "integer": NUMBER,
    "null": NULL,
    "number": NUMBER,
    "object": OBJECT,
    "string": TEXT,
}


def _kinds(schema: dict[str, Any]) -> frozenset[type]:
    """What it can be in JSON, as far as its schema says so on top."""
    reference = schema.get("$ref", "").rpartition("/")[2]
    schema = schema.get("$defs", {}).get(reference, schema)
    # An author may write what he likes into a schema, such as a list of types.
    return _JSON_TYPES.get(str(schema.get("type")), ANYTHING - NULL)
