"""The page about the command line knows every command and every option."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from pgqueue.cli import main
from pgqueue.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    yield name, command
    for child_name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{name} {child_name}".strip())


EVERY = list(commands(typer.main.get_command(program)))


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name or "pgqueue" for name, _ in EVERY])
def test_help_cuts_nothing_at_80_columns(
    name: str, command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    for form in [form for each in command.params for form in each.opts + each.secondary_opts]:
        assert not form.startswith("-") or form in out
    _, _, listed = out.partition("Commands:")
    assert "..." not in listed
    assert all(len(line) <= 80 for line in out.splitlines())


def test_every_command_and_option_is_documented() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    for name, command in EVERY:
        assert not name or f"pgqueue {name}" in text, name
        forms = [form for each in command.params for form in each.opts + each.secondary_opts]
        for form in forms:
            assert not form.startswith("-") or form in text, f"{name} {form}"
