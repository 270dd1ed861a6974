"""What is hidden, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError
from pgqueue.redaction import MARK, Redaction

ARGS: dict[str, Any] = {
    "token": "t",
    "user": {"name": "a", "token": ["x"], "number": 1},
    "card": {"number": 4111, "month": 1},
    "cards": [{"number": 1}, {"number": 2, "bank": {"number": 3}}],
}


@pytest.mark.parametrize(
    ("names", "hidden"),
    [
        ({"token"}, {"token": "***", "user": {**ARGS["user"], "token": "***"}}),
        ({"card.number"}, {"card": {"number": "***", "month": 1}}),
        ({"cards.number"}, {"cards": [{"number": "***"}, {**ARGS["cards"][1], "number": "***"}]}),
        (
            {"cards.bank.number"},
            {"cards": [{"number": 1}, {"number": 2, "bank": {"number": "***"}}]},
        ),
        ({"card", "month"}, {"card": "***"}),
        ({"nothing", "user.other", "card.number.x"}, {}),
    ],
)
def test_named_arguments_are_hidden_and_all_else_stays(
    names: set[str], hidden: dict[str, Any]
) -> None:
    redaction = Redaction(names)
    assert redaction.hide(ARGS) == {**ARGS, **hidden}
    assert Redaction.marked(redaction.mark()).names == redaction.names


def test_nothing_named_is_nothing_hidden_and_nothing_marked() -> None:
    assert Redaction().hide(ARGS) is ARGS
    assert Redaction().mark() == {}


@pytest.mark.parametrize(
    "meta", [{}, {MARK: 1}, {MARK: {}}, {MARK: {"redact": "a"}}, {MARK: {"redact": [1, None, ""]}}]
)
def test_whatever_stands_in_meta_can_be_read(meta: dict[str, Any]) -> None:
    assert Redaction.marked(meta).names == ()


@given(st.lists(st.text()))
def test_names_that_a_stranger_wrote_never_fail(names: list[str]) -> None:
    Redaction.marked({MARK: {"redact": names}}).hide(ARGS)


@pytest.mark.parametrize("names", ["token", [1], [""], ["a..b"], [".a"], 5])
def test_what_is_not_a_set_of_names_is_refused(names: Any) -> None:
    with pytest.raises(ConfigError, match="redact"):
        PgQueue(redact=names)


def test_a_task_hides_its_own_names_and_the_app_s() -> None:
    app = PgQueue(redact={"password"})

    @app.task(name="t", redact={"card.number"})
    def handler(password: str) -> None: ...

    job = handler.using(meta={"trace": "1"}).job("secret")
    assert job.meta == {"trace": "1", MARK: {"redact": ["card.number", "password"]}}
    assert handler.job("secret").meta == {MARK: {"redact": ["card.number", "password"]}}
