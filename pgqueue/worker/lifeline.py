"""Standard input of a worker's programs: it ends when whoever started them is gone."""

from __future__ import annotations

import os
from typing import Any


def take_stdin(buffering: int = 0) -> Any:
    """Standard input, for us alone: a handler that reads it gets an empty file."""
    lifeline = os.fdopen(os.dup(0), "rb", buffering=buffering)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return lifeline
