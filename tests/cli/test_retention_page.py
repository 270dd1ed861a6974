"""The page about retention: its Python, its SQL and its commands do what it says."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue import pruning
from tests import servers

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.cli.conftest import Answer

    Run = Callable[..., Answer]

PAGE = (servers.ROOT / "docs" / "retention.md").read_text("utf-8")


def block(language: str, beginning: str) -> str:
    """The one block of a language that begins so."""
    head = f"{language}\n"
    found = [text.removeprefix(head) for text in PAGE.split("```")[1::2] if text.startswith(head)]
    [text] = [text for text in found if text.startswith(beginning)]
    return text


@pytest.fixture(autouse=True)
def _started(pgqueue: Run, connection: psycopg.Connection[Any]) -> None:
    """The page's app, whose worker has said what it says."""
    del pgqueue  # it sets where the database is
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(block("python", "from"), "retention.md", "exec", dont_inherit=True), names)
    app = names["app"]
    said = [(task.name, task.retention) for task in app.tasks.values()]
    pruning.announce(connection, app.settings, said)
    assert app.tasks["shop.refresh_cache"].ephemeral


def test_the_list_is_as_the_page_shows_it(pgqueue: Run) -> None:
    _, *lines = block("", "$ pgqueue retention list").splitlines()
    shown = [re.split(r" {2,}", line) for line in lines if not line.startswith("$")]
    listed = pgqueue("retention", "list").out.splitlines()
    assert [line.split("\t") for line in listed] == shown


def test_every_command_of_the_page_works(pgqueue: Run) -> None:
    lines = re.findall(r"^(?:\$ )?pgqueue ((?:retention|prune).*)$", PAGE, re.MULTILINE)
    assert len(lines) == 7
    for line in lines:
        arguments = shlex.split(line, comments=True)
        if arguments[0] == "prune":
            arguments.append("--yes")
        assert pgqueue(*arguments).code == 0, line


def test_the_sql_of_the_page_overrules_the_app(
    pgqueue: Run, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(block("sql", "insert").encode())
    assert "*\tsucceeded\t3d\toperator" in pgqueue("retention", "list").out.splitlines()
