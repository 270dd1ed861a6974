"""Jobs that must be refused: one table for the contract in Python and for the SQL function.

Members have the same name on both sides. In the document a datetime stands in ISO 8601, a
timedelta as seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pgqueue.errors import InvalidJob, InvalidName, InvalidPayload

SOON = datetime(2040, 1, 31, 12, tzinfo=UTC)
NAIVE = SOON.replace(tzinfo=None)
EAST = timezone(timedelta(hours=5))

BAD_NAMES: list[Any] = ["", "a b", "a/b", "é", "a\n", "\ta", 'a"b', "--x ", 5, None, [], True]
NO_OBJECTS: list[Any] = [[], "x", 5, True, None]
NO_TIMES: list[Any] = [NAIVE, "tomorrow", 5, True, []]

Refused = tuple[str, dict[str, Any], type[InvalidJob]]


def each(member: str, kind: type[InvalidJob], values: list[Any], **others: Any) -> list[Refused]:
    return [(member, {member: value} | others, kind) for value in values]


# (the member that is named, the job's members but for the task, the error in Python)
REFUSED: list[Refused] = [
    *each("task", InvalidName, [*BAD_NAMES, "x" * 129]),
    *each("queue", InvalidName, [*BAD_NAMES, "x" * 51]),
    *each("args", InvalidPayload, NO_OBJECTS),
    *each("meta", InvalidPayload, NO_OBJECTS),
    *each("priority", InvalidJob, [-101, 101, 70_000, 10**30, 1.5, 0.0, "5", False, None, [5]]),
    *each("max_attempts", InvalidJob, [0, -1, 10_001, 2**31, 8.0, "8", True, None]),
    *each("version", InvalidJob, [0, -1, 2**31, 1.0, "1", True, None]),
    *each("delay", InvalidJob, [-1, -0.001, 315_360_001, timedelta(days=4000), 1e300]),
    *each("delay", InvalidJob, ["5", True, [], {}]),
    *each("timeout", InvalidJob, [0, -1, 1e-9, 31_536_001, timedelta(0), "5", True, []]),
    *each("run_at", InvalidJob, NO_TIMES),
    *each("run_at", InvalidJob, [datetime(1999, 12, 31, tzinfo=UTC)]),
    *each("run_at", InvalidJob, [datetime(2000, 1, 1, tzinfo=EAST)]),
    *each("run_at", InvalidJob, [datetime(9000, 1, 1, 0, 0, 1, tzinfo=UTC)]),
    *each("run_at", InvalidJob, [datetime.max.replace(tzinfo=UTC)]),
    *each("run_at", InvalidJob, [datetime.min.replace(tzinfo=EAST)]),
    *each("run_at", InvalidJob, [SOON], delay=0),
    *each("expires_at", InvalidJob, [*NO_TIMES, datetime(9999, 1, 1, tzinfo=UTC)]),
    *each("expires_at", InvalidJob, [SOON, SOON - timedelta(microseconds=1)], run_at=SOON),
    *each("ttl", InvalidJob, [0, -1, 1e-9, 315_360_001, timedelta(0), "5", True, [], {}]),
    *each("ttl", InvalidJob, [60], expires_at=SOON),
    *each("key", InvalidName, ["", "a\nb", "a\x7f", "a\x85", 5, [], {}, "x" * 513, "é" * 257]),
    *each("key_scope", InvalidName, ["", "a b", 5, [], "x" * 129], key="k"),
    *each("key_scope", InvalidName, ["s"]),
    *each("unique_for", InvalidJob, [0, -1, 1e-9, "5", True, timedelta(days=3651)], key="k"),
    *each("unique_for", InvalidJob, [60]),
    *each("until", InvalidJob, ["", "forever", "Started", 5, True, [], {}], key="k"),
    *each("until", InvalidJob, ["finished", "started"]),
    *each("on_conflict", InvalidJob, ["", "ignore", "Raise", 5, True, None, [], {}], key="k"),
    *each("on_conflict", InvalidJob, ["raise", "replace", "reschedule", "ignore"]),
]

# Beyond the JSON of a document: only Python can be asked for these.
REFUSED_IN_PYTHON: list[Refused] = [
    *each("delay", InvalidJob, [float("nan"), float("inf"), 1j]),
    *each("timeout", InvalidJob, [float("nan"), float("inf")]),
    ("priority", {"priority": 10**5000}, InvalidJob),
    ("delay", {"delay": 10**5000}, InvalidJob),
    ("key", {"key": "a\0b"}, InvalidName),
    ("key", {"key": "a\ud800"}, InvalidName),
    ("key", {"key": b"bytes"}, InvalidName),
    ("task", {"task": "a\0b"}, InvalidName),
    ("task", {"task": "a\ud800"}, InvalidName),
    ("args.when", {"args": {"when": SOON}}, InvalidPayload),
    ("args.a[1]", {"args": {"a": [0, {1}]}}, InvalidPayload),
    ("args.x", {"args": {"x": float("nan")}}, InvalidPayload),
    ("args", {"args": {"x": "y" * 2000}}, InvalidPayload),
    ("meta.x", {"meta": {"x": object()}}, InvalidPayload),
]

# Only a document can say these: NewJob has no such members.
REFUSED_IN_SQL: list[tuple[str, dict[str, Any]]] = [
    ("v", {"v": 2}),
    ("v", {"v": "1"}),
    ("v", {"v": None}),
    ("v", {"v": 0}),
    ("prio", {"prio": 1}),
    ("", {"": 1}),
    ("Task", {"Task": "x"}),
    ("run_at", {"run_at": "2040-02-30T00:00:00Z"}),
    ("run_at", {"run_at": "2041-02-29T00:00:00Z"}),
    ("run_at", {"run_at": "2040-04-31T00:00:00Z"}),
    ("run_at", {"run_at": "2040-13-01T00:00:00Z"}),
    ("run_at", {"run_at": "2040-00-01T00:00:00Z"}),
    ("run_at", {"run_at": "2040-01-00T00:00:00Z"}),
    ("run_at", {"run_at": "2040-01-01T24:00:00Z"}),
    ("run_at", {"run_at": "2040-01-01T00:60:00Z"}),
    ("run_at", {"run_at": "2040-01-01T00:00:60Z"}),
    ("run_at", {"run_at": "2040-01-01T00:00:00+99:00"}),
    ("run_at", {"run_at": "2040-01-01T00:00:00 Europe/Berlin"}),
    ("run_at", {"run_at": "2040-01-01T00:00:00"}),
    ("run_at", {"run_at": "2040-01-01"}),
    ("run_at", {"run_at": "infinity"}),
    ("run_at", {"run_at": "now"}),
    ("run_at", {"run_at": "99999-01-01T00:00:00Z"}),
    ("expires_at", {"expires_at": "2020-01-01T00:00:00Z"}),
    ("expires_at", {"expires_at": "2010-01-01T00:00:00Z", "run_at": "2009-01-01T00:00:00Z"}),
    ("expires_at", {"expires_at": "2040-02-30T00:00:00Z"}),
]


def as_document(members: dict[str, Any]) -> dict[str, Any]:
    """The members as JSON has them, with a task unless they name one."""
    return {"task": "t"} | {name: _as_json(value) for name, value in members.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value
