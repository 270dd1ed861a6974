"""Arguments and results as JSON text: what is accepted, what is refused, and where in the value.

What passes `encode_args` and `encode_result` is accepted by PostgreSQL's jsonb and comes back
equal, with two exceptions that JSON makes: a tuple comes back as a list, and a float without
fraction beyond 1e16 as the integer of its shortest decimal form.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from pgqueue.errors import InvalidPayload, PayloadTooLarge

MAX_DEPTH: Final = 64
"""Objects and arrays inside each other, the outermost included."""

MAX_DIGITS: Final = 4300
"""Digits of an integer; Python refuses to read longer ones."""

log: Final = logging.getLogger("pgqueue")

_MAX_BITS: Final = 14_284  # the longest integers that surely have no more than MAX_DIGITS digits
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list, tuple})
_KEYS: Final = frozenset({str})
_LONGEST_STEP: Final = 60

_dumps: Final = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,  # the depth is bounded before
    allow_nan=False,
    separators=(",", ":"),
).encode


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
TOGETHER: Final = 1024 * 1024
"""Characters that are decoded at once at most: more would keep memory and other threads waiting."""


def encode_args(args: Mapping[str, Any], *, limit: int, path: str = "args") -> str:
    """The JSON text of a job's arguments.

    Args:
        args: names to JSON values; tuples are taken as arrays.
        limit: the largest size, in bytes of JSON.
        path: what error messages call the arguments.

    Raises:
        InvalidPayload: a value that JSON or PostgreSQL cannot hold; names the path to it.
        PayloadTooLarge: above the limit.
    """
    if type(args) is not dict:
        if not isinstance(args, Mapping):
            raise InvalidPayload(
                f"{path}: {show(args)} is refused; expected a mapping of names to values"
            )
        args = dict(args)
    return _encode(args, path, limit)


def encode_result(value: Any, *, limit: int) -> str | None:
    """The JSON text of what a handler returned; None for None.

    Args and errors as for `encode_args`; any JSON value is accepted.
    """
    return None if value is None else _encode(value, "result", limit)


class SizeWatch:
    """Logs a warning for arguments that are larger than is good, once for each task.

    A log line and not a Python warning: those are hidden in production, where the large ones are,
    and where they are turned into errors they would undo the caller's business for a hint.

    Args:
        limit: in bytes of JSON.

    Attributes:
        attention: characters from which on the exact size is worth a look.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.attention = limit // 4
        self._told: set[str] = set()

    def __call__(self, task: str, text: str) -> None:
        """Look at the JSON text of a job's arguments."""
        size = len(text.encode())
        if size <= self._limit or task in self._told:
            return
        self._told.add(task)
        log.warning(
            "arguments of task %s take %d bytes of JSON, more than %d (Settings.warn_payload): "
            "store the data and pass its id; said once for each task",
            task,
            size,
            self._limit,
            extra={"event": "PayloadLarge", "task": task, "size": size},
        )


def decode(text: str) -> Any:
    """The value of stored JSON text.

    Raises:
        InvalidPayload: not JSON, nested too deep, or a number that Python does not read.
    """
    try:
        return _loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(
            f"stored JSON of {len(text)} characters cannot be read: {error}"
        ) from error


def decode_together(texts: Sequence[str]) -> list[Any] | None:
    """The values of many stored JSON texts, in half the time of one by one.

    Returns:
        None where that would not do: the texts are long, or one of them cannot be read.
    """
    if sum(map(len, texts)) > TOGETHER:
        return None
    try:
        values: list[Any] = _DECODER.decode(f"[{','.join(texts)}]")
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(texts) else None


def _loads(text: str) -> Any:
    # At first without the search for white space around, which jsonb never writes.
    value, end = _DECODER.raw_decode(text) if text[:1] not in " \t\r\n" else (None, -1)
    return value if end == len(text) else _DECODER.decode(text)


def _encode(value: Any, path: str, limit: int) -> str:
    if not _is_json(value, MAX_DEPTH):
        _explain(value, path, ())
    try:
        text = _dumps(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (ValueError, TypeError, RecursionError) as error:
        _explain(value, path, ())
        raise InvalidPayload(f"{path} cannot be written as JSON: {error}") from error
    if "\\u0000" in text or (size > MAX_DIGITS and sys.get_int_max_str_digits() != MAX_DIGITS):
        _explain(value, path, ())
    if size > limit:
        raise PayloadTooLarge(
            f"{path}: {size} bytes of JSON, the limit is {limit}; store the data and pass its id"
        )
    return text


def _is_json(value: Any, depth: int) -> bool:
    """A fast test of types, keys and depth; False means only: look closer."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if not depth or kind not in _CONTAINERS:
        return False
    if kind is dict:
        if not _KEYS.issuperset(map(type, value)):
            return False
        value = value.values()
    for item in value:  # noqa: SIM110 - all() with a generator takes three times as long
        if type(item) not in _SCALARS and not _is_json(item, depth - 1):
            return False
    return True


def _explain(value: Any, path: str, parents: tuple[int, ...]) -> None:
    """Raise InvalidPayload for the first part of the value that is not acceptable."""
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
            raise InvalidPayload(f"{path}: {float(value)} is not JSON; pass None or text")
    elif isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise InvalidPayload(
                f"{path}: an integer of more than {MAX_DIGITS} digits; pass it as text"
            )
    elif isinstance(value, dict | list | tuple):
        _explain_container(value, path, parents)
    elif value is not None:
        raise InvalidPayload(
            f"{path}: {type(value).__name__} is not JSON-serialisable; pass it as text, "
            "or the id of where it is stored"
        )


def _explain_container(value: Any, path: str, parents: tuple[int, ...]) -> None:
    if id(value) in parents:
        raise InvalidPayload(f"{path}: a circular reference; pass a tree")
    if len(parents) == MAX_DEPTH:
        raise InvalidPayload(f"{path}: nested deeper than {MAX_DEPTH}; flatten it")
    parents = (*parents, id(value))
    if not isinstance(value, dict):
        for index, item in enumerate(value):
            _explain(item, f"{path}[{index}]", parents)
        return
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidPayload(f"{path}: key {show(key)} is not a string; use str(key)")
        _check_text(key, f"{path}: key {show(key)}")
        step = f".{key}" if key.isidentifier() and len(key) <= _LONGEST_STEP else f"[{show(key)}]"
        _explain(item, path + step, parents)


def _check_text(value: str, path: str) -> None:
    if "\0" in value:
        raise InvalidPayload(f"{path} contains NUL (U+0000), which PostgreSQL cannot store")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidPayload(
            f"{path} is not valid Unicode: a lone surrogate at position {error.start}"
        ) from None


def show(value: Any, length: int = 60) -> str:
    """The value's repr for an error message, cut at `length`; never raises."""
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - a stranger's __repr__, or an integer of too many digits
        return f"of type {type(value).__name__}"
    return shown if len(shown) <= length else f"{shown[:length]}..."
