"""How results are shown: tables for people, tab-separated lines for pipes, JSON for programs.

Data comes from strangers: what could steer a terminal is shown as an escape, in every form.
"""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import os
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import JustifyMethod
    from rich.text import Text

# C0 and C1 controls, and the marks that change the direction of text.
_STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_NUMBERS: Final = frozenset(
    {
        *("id", "priority", "ready", "waiting", "running", "oldest due"),
        *("dead", "cancelled", "expired", "max depth", "depth", "limit"),
    }
)

LEAST: Final = 8
"""Characters that the last cell of a row keeps, however narrow the terminal."""
_PADDINGS: Final = {3: (0, 1, 0, 1), 2: (0, 1, 0, 0), 1: (0, 0, 0, 0)}
_GAPS: Final = tuple(_PADDINGS)
"""Blanks between columns: as many as the terminal has room for."""


def prepare() -> None:
    """Make the standard streams such that no answer fails half-way.

    What the output's encoding lacks is shown as an escape; one that is closed is nobody's.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, stream)
    codecs.register_error("pgqueue", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors != "pgqueue":
        sys.stdout.reconfigure(errors="pgqueue")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # As JSON writes it: a character above U+FFFF is two escapes.
    missing = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = (missing[at : at + 2] for at in range(0, len(missing), 2))
    return "".join(f"\\u{int.from_bytes(unit):04x}" for unit in units), error.end


def for_people() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def clean(text: str, *, keep: str = "") -> str:
    r"""Text with every character that could steer a terminal as an escape such as \u001b."""
    return _STEERING.sub(lambda m: m[0] if m[0] in keep else _escape(m[0]), text)


def _escape(character: str) -> str:
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(character, f"\\u{ord(character):04x}")


def show(value: Any) -> str:
    """A value as a cell: times as people or programs read them, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        local = value.astimezone()
        return f"{local:%Y-%m-%d %H:%M:%S}" if for_people() else local.isoformat()
    if isinstance(value, dict | list):
        return clean(json.dumps(value, ensure_ascii=False))
    return clean(str(value))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table on a terminal; in a pipe a line for each row as it comes, cells between tabs.

    Args:
        headers: shown on a terminal only.
        rows: the cells of each row.
        empty: what to say on a terminal when there are none.
    """
    if not for_people():
        for row in rows:
            sys.stdout.write("\t".join(map(show, row)) + "\n")
    elif found := list(rows):
        _print_rich(headers, found)
    else:
        say(empty)


def _print_rich(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    cells = [[Text(show(cell), no_wrap=True) for cell in row] for row in rows]
    # The last column is the one that may be cut: the others say which row it is.
    *widths, last = (_width(column) for column in zip(headers, *cells, strict=True))
    least = min(last, LEAST)
    gap = next((gap for gap in _GAPS if _fixed(widths, gap) + least <= console.width), _GAPS[-1])
    fixed = _fixed(widths, gap)
    console.width = max(console.width, fixed + least)
    for row in cells:
        row[-1].truncate(console.width - fixed, overflow="ellipsis")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=_PADDINGS[gap])
    for header in headers:
        justify: JustifyMethod = "right" if header in _NUMBERS else "left"
        table.add_column(header, justify=justify, no_wrap=True)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _fixed(widths: Iterable[int], gap: int) -> int:
    """Columns of the terminal for all but the last one's text, the two edges included."""
    return sum(width + gap for width in widths) + 2


def _width(column: Iterable[str | Text]) -> int:
    from rich.cells import cell_len

    return max(cell_len(str(cell)) for cell in column)


def write(*parts: str | tuple[str, str]) -> None:
    """A line of text, or of (text, style): coloured on a terminal, unless NO_COLOR is set."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    if not for_people():
        say("".join(text for text, _ in pairs))
        return
    from rich.console import Console
    from rich.text import Text

    line = Text()
    for text, style in pairs:
        line.append(clean(text), style)
    # The terminal wraps what is too long: then it can be copied in one piece.
    Console(highlight=False, soft_wrap=True).print(
        line, no_wrap=True, overflow="ignore", crop=False
    )


def terminal_width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def cut(text: str, width: int) -> str:
    """The first line of a text, with an ellipsis when it is wider than this."""
    from rich.text import Text

    line = Text(clean(text.partition("\n")[0]))
    line.truncate(max(width, 10), overflow="ellipsis")
    return line.plain


def print_json(value: Any) -> None:
    """One JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    sys.stdout.write(clean(text, keep="\n") + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if not name.startswith("_")}
    return str(value)


def counted(jobs: int) -> str:
    """A number of jobs, in words."""
    return f"{jobs} job" if jobs == 1 else f"{jobs} jobs"


def say(text: str) -> None:
    """A line about what was done, on standard output."""
    sys.stdout.write(clean(text, keep="\n") + "\n")


def warn(text: str) -> None:
    """A line for a person, on standard error, so that it never mixes with results."""
    sys.stderr.write(clean(text, keep="\n") + "\n")
