"""Keys made of arguments: stable, and the same for any program that follows the rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgqueue import from_args
from pgqueue.enqueue import contract
from pgqueue.errors import InvalidName
from pgqueue.job import NewJob


def key(args: dict[str, Any], *names: str) -> str:
    job = NewJob(task="t", args=args, key=from_args(*names))
    return str(json.loads(contract.encode(job, limit=1024))["key"])


def test_the_form_never_changes() -> None:
    """Keys are kept in tables: this digest must be the same in every version."""
    # The SHA-256 of {"b":[1,2.5,null,true],"ä":"é\\n"} in UTF-8.
    digest = "eeac2d253296a0626b2b55b9f160f57a0fcc21638201bf32551c7b66e5bea7ee"
    assert key({"ä": "é\n", "b": (1, 2.5, None, True)}) == f"args1:{digest}"


def test_the_order_of_arguments_does_not_matter() -> None:
    assert key({"a": 1, "b": {"x": 1, "y": 2}}) == key({"b": {"y": 2, "x": 1}, "a": 1})


def test_values_are_compared_as_json() -> None:
    values: list[Any] = [1, 1.0, "1", True, None, [1], {"1": 1}]
    assert len({key({"a": value}) for value in values}) == len(values)
    assert key({"a": (1, 2)}) == key({"a": [1, 2]})


def test_some_arguments_can_make_the_key() -> None:
    assert key({"order": 1, "note": "x"}, "order") == key({"order": 1, "note": "y"}, "order")
    assert key({"order": 1, "note": "x"}, "order") == key({"order": 1})
    assert key({"a": 1, "b": 2}, "b", "a") == key({"a": 1, "b": 2})
    assert from_args("b", "a", "b") == from_args("a", "b")


def test_a_name_that_the_call_did_not_pass_is_refused() -> None:
    with pytest.raises(InvalidName, match=r"^key: .*'ordr' is not among the arguments of this"):
        key({"order": 1}, "ordr")
    with pytest.raises(InvalidName, match=r"\(it has none\)"):
        key({}, "order")


def test_only_names_make_a_key() -> None:
    name: Any = 5
    with pytest.raises(TypeError, match="not 5"):
        from_args(name)


def test_a_key_is_short_whatever_the_arguments() -> None:
    assert len(key({"text": "x" * 900})) == len(key({})) == 70
