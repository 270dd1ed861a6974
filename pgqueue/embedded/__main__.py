"""A server to try things with: `python -m pgqueue.embedded [FOLDER]`, until Ctrl-C.

It prints the DATABASE_URL to export. The data stays in the folder for the next time; without one
it is in a temporary folder, and gone at the end.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from pgqueue.embedded import EmbeddedServer
from pgqueue.errors import EmbeddedError


def main(arguments: list[str]) -> int:
    """Run a server until a signal; the exit code."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    with ExitStack() as stack:
        folder = arguments[0] if arguments else stack.enter_context(_temporary())
        try:
            server = stack.enter_context(EmbeddedServer.start(Path(folder), tcp=True))
        except EmbeddedError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        # Blocked only now, or the server would inherit it; sigwait then takes them one by one.
        stops = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, stops)
        sys.stdout.write(f"export DATABASE_URL={server.dsn()}\n")
        sys.stdout.flush()
        signal.sigwait(stops)
    return 0


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pgqueue-", ignore_cleanup_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
