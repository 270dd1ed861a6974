"""What is piped in."""

import sys
from collections.abc import Iterator

from pgqueue.errors import ConfigError


def lines() -> Iterator[str]:
    """The lines of standard input, as they come.

    Raises:
        ConfigError: they are not text.
    """
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is not {error.encoding} text: {error.reason}") from None
