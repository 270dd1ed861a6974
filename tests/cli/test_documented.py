"""The page about the command line knows every command and every option."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pgqueue.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    yield name, command
    for child_name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{name} {child_name}".strip())


def test_every_command_and_option_is_documented() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    for name, command in commands(typer.main.get_command(program)):
        assert not name or f"pgqueue {name}" in text, name
        forms = [form for each in command.params for form in each.opts + each.secondary_opts]
        for form in forms:
            assert not form.startswith("-") or form in text, f"{name} {form}"
