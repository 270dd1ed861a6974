"""What JSON can hold and what it cannot; no database."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgqueue import payload
from pgqueue.errors import InvalidPayload, PayloadTooLarge

LIMIT = 1024 * 1024

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=30
)


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Nameless:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def circle() -> dict[str, Any]:
    value: dict[str, Any] = {"a": {}}
    value["a"]["back"] = value
    return value


@given(st.dictionaries(texts, json_values))
def test_arguments_come_back_equal(args: dict[str, Any]) -> None:
    assert payload.decode(payload.encode_args(args, limit=LIMIT)) == args


@given(json_values.filter(lambda value: value is not None))
def test_results_come_back_equal(value: Any) -> None:
    text = payload.encode_result(value, limit=LIMIT)
    assert text is not None
    assert payload.decode(text) == value


def test_the_text_is_compact_and_readable() -> None:
    assert payload.encode_args({"a": [1, None], "b": "Zoë"}, limit=99) == '{"a":[1,null],"b":"Zoë"}'


def test_no_result_is_no_text() -> None:
    assert payload.encode_result(None, limit=1) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, (2, 3)), "[1,[2,3]]"),
        (OrderedDict(a=1), '{"a":1}'),
        (Colour.RED, '"red"'),
        ({Colour.RED: Size.SMALL}, '{"red":1}'),
        (True, "true"),
        (nested(64), "[" * 64 + "]" * 64),
        ("\\u0000", r'"\\u0000"'),
        (10**4299, "1" + "0" * 4299),
        (1e308, "1e+308"),
        ("", '""'),
    ],
)
def test_what_json_can_hold_is_accepted(value: Any, text: str) -> None:
    assert payload.encode_result(value, limit=LIMIT) == text


def test_any_mapping_can_be_the_arguments() -> None:
    assert payload.encode_args(MappingProxyType({"a": 1}), limit=99) == '{"a":1}'


@pytest.mark.parametrize(
    ("args", "path", "reason"),
    [
        ({"when": datetime.now(UTC)}, "args.when", "datetime is not JSON-serialisable"),
        ({"a": [1, {"b": {1}}]}, "args.a[1].b", "set is not JSON-serialisable"),
        ({"a": b"x"}, "args.a", "bytes is not"),
        ({"a": 1j}, "args.a", "complex is not"),
        ({"a": MappingProxyType({})}, "args.a", "mappingproxy is not"),
        ({"x": math.nan}, "args.x", "nan is not JSON"),
        ({"x": [math.inf]}, "args.x[0]", "inf is not JSON"),
        ({"x": -math.inf}, "args.x", "-inf is not JSON"),
        ({"name": "a\0b"}, "args.name", "contains NUL"),
        ({"a\0": 1}, r"args: key 'a\x00'", "contains NUL"),
        ({"s": "a\ud800"}, "args.s", "not valid Unicode"),
        ({"s": ["\udfff" * 3]}, "args.s[0]", "at position 0"),
        ({"\ud800": 1}, "args: key", "not valid Unicode"),
        ({1: "a"}, "args: key 1", "not a string"),
        ({"a": {None: 1}}, "args.a: key None", "not a string"),
        ({"a": {True: 1, "True": 2}}, "args.a: key True", "not a string"),
        ({"a": {10**5000: 1}}, "args.a: key of type int", "not a string"),
        ({"a": 10**5000}, "args.a", "more than 4300 digits"),
        ({"a": -(10**5000)}, "args.a", "more than 4300 digits"),
        ({"a": nested(64)}, "args.a" + "[0]" * 63, "deeper than 64"),
        (circle(), "args.a.back", "circular"),
        ({"not a name": Nameless()}, "args['not a name']", "Nameless is not"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(args: Any, path: str, reason: str) -> None:
    with pytest.raises(InvalidPayload) as refusal:
        payload.encode_args(args, limit=LIMIT)
    assert str(refusal.value).startswith(path)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("args", [None, [1], "text", 5, {1, 2}, Nameless()])
def test_arguments_that_are_no_mapping_are_refused(args: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"^args: .* expected a mapping"):
        payload.encode_args(args, limit=LIMIT)


@pytest.mark.parametrize(("args", "size"), [({"a": "x" * 10}, 18), ({"a": "é" * 5}, 18)])
def test_the_limit_is_in_bytes_of_json(args: dict[str, Any], size: int) -> None:
    assert len(payload.encode_args(args, limit=size).encode()) == size
    with pytest.raises(PayloadTooLarge) as refusal:
        payload.encode_args(args, limit=size - 1)
    assert str(refusal.value) == (
        f"args: {size} bytes of JSON, the limit is {size - 1}; store the data and pass its id"
    )


def test_a_result_is_refused_as_arguments_are() -> None:
    with pytest.raises(InvalidPayload, match=r"^result\.a: "):
        payload.encode_result({"a": {1}}, limit=LIMIT)
    with pytest.raises(PayloadTooLarge, match=r"^result: "):
        payload.encode_result("xxx", limit=4)


def test_long_integers_are_refused_where_the_interpreter_would_write_them() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with pytest.raises(InvalidPayload, match="more than 4300 digits"):
            payload.encode_args({"a": 10**5000}, limit=LIMIT)
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a":1}x', "NaN", '{"a":-Infinity}', "1" * 5000, "[" * 100_000],
)
def test_what_cannot_be_read_is_an_invalid_payload(text: str) -> None:
    with pytest.raises(InvalidPayload, match="cannot be read"):
        payload.decode(text)


@pytest.mark.parametrize("texts", [[], ["{}"], ['{"a": 1}', "[]", '"x"', "null", "1.5"]])
def test_many_texts_decoded_together_are_what_each_is(texts: list[str]) -> None:
    assert payload.decode_together(texts) == [payload.decode(text) for text in texts]


@pytest.mark.parametrize("bad", ["NaN", "9" * 5000, "[" * 100_000 + "]" * 100_000, "", "1,2"])
def test_with_one_that_cannot_be_read_none_is_decoded_together(bad: str) -> None:
    assert payload.decode_together(["{}", bad, "{}"]) is None


def test_long_texts_are_not_decoded_together() -> None:
    half = '"' + "x" * (payload.TOGETHER // 2) + '"'
    assert payload.decode_together([half]) == [payload.decode(half)]
    assert payload.decode_together([half, half]) is None
