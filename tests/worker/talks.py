"""An app whose handlers log, as worker processes run it."""

from __future__ import annotations

import asyncio
import logging
import sys

from pgqueue.app import PgQueue
from pgqueue.config import Settings

app = PgQueue(settings=Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2, threads=4))
library = logging.getLogger("some.library")
own = logging.getLogger("with.handler")
own.propagate = False
own.addHandler(logging.StreamHandler(sys.stderr))
own.handlers[0].setFormatter(logging.Formatter("OWN %(job_id)s %(task)s %(message)s"))


@app.task(name="plain")
def plain() -> None:
    """Log through somebody's logger."""
    library.warning("from a thread\nforged")
    own.warning("mine")


@app.task(name="coroutine")
async def coroutine() -> None:
    """The same on the event loop."""
    await asyncio.to_thread(library.warning, "from %s", "the loop", extra={"task": "theirs"})


@app.task(name="fails")
def fails() -> None:
    """Be dead."""
    raise ValueError("no such photo")
