"""The event loop that `async def` handlers run on: asyncio's own, or uvloop's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.config import LoopName


def loop_factory(kind: LoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes new event loops of this kind.

    Raises:
        ConfigError: uvloop was asked for by name, and is not installed.
    """
    if kind == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        if kind == "uvloop":
            raise ConfigError(
                "loop='uvloop': uvloop is not installed; pip install 'pgqueue-jobs[uvloop]', or "
                "leave it at 'auto'"
            ) from None
        return asyncio.new_event_loop
    return uvloop.new_event_loop
