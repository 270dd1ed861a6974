"""The app whose worker is measured: tasks that do nothing."""

from __future__ import annotations

from pgqueue import PgQueue

app = PgQueue()


@app.task(name="async_nothing")
async def async_nothing(number: int, text: str) -> None:
    """Do nothing, on the event loop."""
    del number, text


@app.task(name="thread_nothing")
def thread_nothing(number: int, text: str) -> None:
    """Do nothing, in a thread."""
    del number, text
