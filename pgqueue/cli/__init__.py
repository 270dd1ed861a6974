"""The command line. Each group is a file; what a command needs is imported when it runs.

Exit codes: 0 ok, 1 failed, 2 usage, import or configuration, 3 no connection, 4 schema missing,
behind or newer, 5 nothing matched, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgqueue.cli.failures import explain
from pgqueue.cli.output import prepare
from pgqueue.cli.program import program
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, *, program_name: str = "pgqueue") -> int:
    """Run a command line; the exit code. A user's mistake is one line, never a traceback."""
    prepare()
    try:
        _check_text(sys.argv[1:] if arguments is None else arguments)
        program(args=arguments, prog_name=program_name)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        code, text = explain(error)
        if code is None:
            raise
        sys.stderr.write(f"error: {text}\n")
        return code
    return 0


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse bytes that are no text: no name, no value and no DSN can hold them."""
    for argument in arguments:
        if argument != argument.encode("utf-8", "replace").decode():
            raise ConfigError(
                f"{argument!r} is not {sys.getfilesystemencoding()} text: is it the terminal's "
                "encoding, as LANG and LC_ALL name it?"
            )
