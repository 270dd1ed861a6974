"""An app with hooks, as worker processes run it; what they are told goes to a file."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from pgqueue.app import PgQueue
from pgqueue.config import Settings

app = PgQueue(settings=Settings(heartbeat=0.5, ttl=5.0, poll_interval=0.2, crash_cap=1))


@app.task(name="kills")
def kills() -> None:
    """End the process it runs in."""
    os.kill(os.getpid(), signal.SIGKILL)


def note(event: Any) -> None:
    """Write down what happened, and in which process."""
    fields = {"moment": event.moment, "id": event.id, "pid": os.getpid()}
    fields |= {name: getattr(event, name, None) for name in ("attempt", "error_type")}
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(json.dumps(fields) + "\n")


app.on_worker_start(note)
app.on_worker_stop(note)
app.on_dead(note)
