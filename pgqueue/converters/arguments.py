"""A handler's arguments and result, between its annotations and JSON. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, ForwardRef, get_origin, get_type_hints

from pgqueue.context import JobContext
from pgqueue.converters import containers, scalars
from pgqueue.converters.base import ANY, NULL, Converter, Inconvertible, Misfit, type_name
from pgqueue.converters.compiler import Compiler
from pgqueue.errors import ConfigError, InvalidPayload
from pgqueue.payload import show
from pgqueue.redaction import HIDDEN, Redaction

if TYPE_CHECKING:
    from collections.abc import Sequence

_ADVICE: Final = (
    "use a type of docs/payloads.md, or Any for JSON as it is, and convert it in the handler"
)
_LONGEST: Final = 60

Conversion = Callable[[dict[str, Any]], None]


class Arguments:
    """Checks and converts a handler's arguments, in place: both ways by the same annotations.

    Args:
        converters: of each parameter that needs any.
        rest: of what `**names` takes.
        named: the parameters that are not part of the rest.
        redaction: whose values error messages do not show.

    Attributes:
        encode: makes JSON data of the arguments of a call. Raises InvalidPayload for a value that
            does not fit its annotation; it names path, value and type.
        decode: makes the handler's types of stored arguments. Raises InvalidPayload likewise.
    """

    def __init__(
        self,
        converters: dict[str, Converter],
        rest: Converter,
        named: frozenset[str],
        redaction: Redaction,
    ) -> None:
        self._converters, self._rest, self._named = converters, rest, named
        self._redaction = redaction
        encoders = tuple((name, each.exact, each.encode) for name, each in converters.items())
        decoders = tuple((name, each.exact, each.decode) for name, each in converters.items())
        # Partials, and not methods that call: a frame less for each job.
        self.encode: Conversion = partial(self._convert, encoders, rest.encode)
        self.decode: Conversion = partial(self._convert, decoders, rest.decode)

    def _convert(
        self,
        steps: tuple[tuple[str, frozenset[type], Callable[[Any], Any]], ...],
        rest: Callable[[Any], Any],
        args: dict[str, Any],
    ) -> None:
        name = ""
        try:
            for name, exact, convert in steps:
                if name in args and type(args[name]) not in exact:
                    args[name] = convert(args[name])
            if self._rest is not ANY:
                for name in args.keys() - self._named:
                    args[name] = rest(args[name])
        except Misfit as misfit:
            raise self._refusal(misfit.under(name)) from None
        except RecursionError:
            raise InvalidPayload(f"args.{name}: nested too deep, or in a circle") from None

    def _refusal(self, misfit: Misfit) -> InvalidPayload:
        where, value, expected = path(misfit.steps), show(misfit.value), misfit.expected
        if self._redaction:
            # What is refused may hold, or quote, what is hidden further in.
            name = str(misfit.steps[0])
            expected = self._converters.get(name, self._rest).expected
            scalar = isinstance(misfit.value, (str, int, float))
            if self._redaction.covers(misfit.steps):
                value = HIDDEN
            elif not scalar:
                value = f"a {type(misfit.value).__name__}"
        return InvalidPayload(f"{where}: {value} is refused; expected {expected}")


def path(steps: Sequence[str | int]) -> str:
    """Where a value stands, as `args.order.lines[2]`."""
    text = "args"
    for step in steps:
        if isinstance(step, str) and step.isidentifier() and len(step) <= _LONGEST:
            text += f".{step}"
        else:
            text += f"[{show(step)}]"
    return text


def compile_arguments(
    function: Callable[..., Any],
    parameters: Sequence[Parameter],
    redaction: Redaction,
    owner: str,
) -> Arguments | None:
    """The converters of a handler's parameters; None where nothing is to be checked.

    Args:
        function: whose module knows the names in its annotations.
        parameters: those that are stored.
        redaction: whose values error messages do not show.
        owner: the handler, as error messages name it.

    Raises:
        ConfigError: an annotation that cannot be converted; names parameter, type and way out.
    """
    compiler = Compiler()
    found: dict[str, Converter] = {}
    rest = ANY
    for parameter in parameters:
        what = f"{owner}: its parameter {parameter.name!r}"
        hint = resolve(parameter.annotation, function, what)
        if hint is JobContext:
            raise ConfigError(f"{what} is annotated JobContext: only the first parameter can be")
        if parameter.kind is Parameter.VAR_KEYWORD:
            # Unpack[...] names the members of a TypedDict: a type checker's business.
            unpacked = getattr(get_origin(hint), "_name", "") == "Unpack"
            rest = ANY if unpacked else compile_hint(compiler, hint, what)
        else:
            found[parameter.name] = compile_hint(compiler, hint, what, parameter.default)
    named = frozenset(found)
    found = {name: converter for name, converter in found.items() if converter is not ANY}
    return Arguments(found, rest, named, redaction) if found or rest is not ANY else None


def compile_hint(
    compiler: Compiler, hint: Any, what: str, default: Any = Parameter.empty
) -> Converter:
    """The converter of a resolved annotation.

    Raises:
        ConfigError: as `compile_arguments`; the message starts with `what`.
    """
    try:
        converter = compiler.compile(hint)
        if default is None and not converter.kinds >= NULL:
            converter = containers.choice([scalars.SCALARS[type(None)], converter])
    except Inconvertible as error:
        raise ConfigError(f"{what} is annotated {type_name(hint)}: {error}; {_ADVICE}") from None
    return converter


def compile_result(function: Callable[..., Any], hint: Any, owner: str) -> Converter | None:
    """How a handler's result is stored; None where it is JSON data already.

    Raises:
        ConfigError: as `compile_arguments`.
    """
    what = f"{owner}: its result"
    converter = compile_hint(Compiler(), resolve(hint, function, what), what)
    return None if converter.plain else converter


def encode_result(converter: Converter, value: Any) -> Any:
    """A result as JSON data where it fits the annotation; otherwise as it is.

    The work is done by now: an annotation says how to store its result, it does not judge it.
    """
    try:
        return converter.encode(value)
    except (Misfit, RecursionError):
        return value


def read_result(converter: Converter, value: Any) -> Any:
    """A result of the handler's own type.

    Raises:
        InvalidPayload: it does not fit the annotation.
    """
    try:
        return converter.decode(value)
    except Misfit as misfit:
        where = "result" + path(misfit.steps).removeprefix("args")
        raise InvalidPayload(
            f"{where}: {show(misfit.value)} does not fit; expected {misfit.expected}"
        ) from None


def resolve(annotation: Any, function: Callable[..., Any], what: str) -> Any:
    """An annotation as a type, where it was text, in whole or inside.

    Raises:
        ConfigError: a name in it is not known to the handler's module when it runs.
    """
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, _globals(function), include_extras=True)["it"]
    except Exception as error:  # noqa: BLE001 - annotations are code, and may raise anything
        said = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
        raise ConfigError(
            f"{what} is annotated {said!r}, which cannot be read "
            f"({type(error).__name__}: {error}): import its names at the top of the module, not "
            "under TYPE_CHECKING and not inside a function, or annotate Any"
        ) from None


def _globals(function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__globals__"):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - where its names are
    found: dict[str, Any] = getattr(function, "__globals__", {})
    return found
