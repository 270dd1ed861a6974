"""One job in full, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgqueue.cli.output import clean, say, show
from pgqueue.codec import describe, is_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.views import AttemptView, JobView


def print_job(job: JobView) -> None:
    """Print what is known; options that were not used are left out."""
    facts = [(name, value) for name, value in _facts(job) if value not in (None, "", {})]
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        say(f"{name + ':':<{width}}{value if isinstance(value, str) else show(value)}")
    for attempt in job.attempts:
        _print_attempt(attempt)


def _facts(job: JobView) -> Iterator[tuple[str, Any]]:
    yield "job", job.id
    yield "state", job.shown_state
    yield "task", f"{job.task}" + (f" (version {job.version})" if job.version != 1 else "")
    yield "queue", f"{job.queue}, priority {job.priority}"
    yield "attempt", f"{job.attempt} of {job.max_attempts}"
    yield "timeout", f"{job.timeout:g} s" if job.timeout else None
    yield "crashes", f"{job.crash_count} dead processes were blamed on it" * bool(job.crash_count)
    yield "key", job.key and f"{job.key} in scope {job.key_scope or job.task}"
    yield "worker", job.worker_id
    yield "created", job.created_at
    yield "due", job.run_at
    yield "expires", job.expires_at
    yield "started", job.started_at
    yield "progress", _progress(job) if job.progress is not None else None
    yield "cancel asked", job.cancel_requested_at
    yield "finished", job.finished_at
    yield "args", _readable(job.args)
    yield "meta", _json(job.meta) if job.meta else None
    yield "result", _readable(job.result) if job.result is not None else None


def _progress(job: JobView) -> str:
    from pgqueue.cli.watch import Rate, told

    return clean("  ".join(told(job, Rate())))


def _readable(value: Any) -> str:
    return clean(describe(value)) if is_sealed(value) else _json(value)


def _json(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def _print_attempt(attempt: AttemptView) -> None:
    where = f" on {attempt.worker}" if attempt.worker else ""
    say(f"\nattempt {attempt.attempt}: {attempt.outcome} at {show(attempt.finished_at)}{where}")
    if attempt.error_type or attempt.message:
        say(f"  {attempt.error_type or ''}: {attempt.message or ''}")
    for line in (attempt.traceback or "").splitlines():
        say(f"  {line}")
