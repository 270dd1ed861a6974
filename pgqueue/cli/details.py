"""One job in full, and groups of jobs, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pgqueue.cli.output import (
    clean,
    counted,
    cut,
    for_people,
    print_table,
    say,
    show,
    terminal_width,
    write,
)
from pgqueue.codec import describe, is_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgqueue.views import AttemptView, JobGroup, JobGroups, JobView

STYLES: Final = {
    "ready": "cyan",
    "blocked": "cyan",
    "running": "blue",
    "succeeded": "green",
    "dead": "bold red",
    "cancelled": "yellow",
    "expired": "yellow",
    "requeued": "green",
}


def print_job(job: JobView) -> None:
    """Print what is known; options that were not used are left out."""
    facts = [(name, value) for name, value in _facts(job) if value not in (None, "", {})]
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        text = value if isinstance(value, str) else show(value)
        style = STYLES.get(job.state, "") if name == "state" else ""
        _print_fact(f"{name + ':':<{width}}", text, style)
    before = None
    for attempt in job.attempts:
        _print_attempt(attempt, before)
        before = attempt


def _print_fact(label: str, text: str, style: str) -> None:
    first, *more = text.split("\n")
    write((label, "bold"), (first, style))
    for line in more:
        write(" " * len(label), line)


def _facts(job: JobView) -> Iterator[tuple[str, Any]]:
    yield "job", job.id
    yield "state", job.shown_state
    yield "task", f"{job.task}" + (f" (version {job.version})" if job.version != 1 else "")
    yield "queue", f"{job.queue}, priority {job.priority}"
    yield "attempt", f"{job.attempt} of {job.max_attempts}"
    yield "requeued", f"{job.requeues} times" if job.requeues > 1 else "once" * job.requeues
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
    """On one line, or for people on several where one would not fit."""
    text = json.dumps(value, ensure_ascii=False)
    if for_people() and len(text) > terminal_width() - len("cancel asked: "):
        text = json.dumps(value, ensure_ascii=False, indent=2)
    return clean(text, keep="\n")


def _print_attempt(attempt: AttemptView, before: AttemptView | None) -> None:
    say("")
    if attempt.outcome == "requeued":
        _print_requeue(attempt)
        return
    took = ""
    if attempt.started_at is not None:
        took = f" after {_seconds((attempt.finished_at - attempt.started_at).total_seconds())}"
    where = f" on {attempt.worker}" if attempt.worker else ""
    outcome = (attempt.outcome, STYLES.get(attempt.outcome, "yellow"))
    at = f" at {show(attempt.finished_at)}{took}{where}"
    write((f"attempt {attempt.attempt}: ", "bold"), outcome, at)
    if attempt.error_type or attempt.message:
        _print_error(attempt)
    if attempt.fingerprint:
        write((f"  fingerprint {attempt.fingerprint}", "dim"))
    if for_people() and before and attempt.traceback and attempt.traceback == before.traceback:
        write(("  the same traceback", "dim"))
        return
    for line in (attempt.traceback or "").splitlines():
        write((f"  {line}", "dim"))


def _print_error(attempt: AttemptView) -> None:
    first, *more = (attempt.message or "").split("\n")
    write((f"  {attempt.error_type}: " if attempt.error_type else "  ", "red"), first)
    for line in more:
        write(f"  {line}")


def _print_requeue(requeue: AttemptView) -> None:
    who = f" by {requeue.actor}" if requeue.actor else ""
    write(("requeued", STYLES["requeued"]), f" at {show(requeue.finished_at)}{who}")
    if requeue.message:
        write(f"  {requeue.message}")
    if requeue.old_args is not None:
        _print_fact("  they were: ", _readable(requeue.old_args), "")


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"  # noqa: PLR2004 - 4 digits


def print_groups(found: JobGroups) -> None:
    """Print groups: two or three lines for each on a terminal, in a pipe one line of cells."""
    _print_groups(found.groups)
    if not for_people():
        return
    if not found.groups:
        say("no jobs match")
        return
    if found.sampled.more:
        write((f"Counted among the newest {found.sampled.value} jobs that match.", "dim"))
    write(("More: pgqueue jobs list --fingerprint F; pgqueue jobs show ID", "dim"))


def _print_groups(groups: Sequence[JobGroup]) -> None:
    if not for_people():
        print_table((), map(_cells, groups), empty="")
        return
    width = max((len(str(each.jobs)) for each in groups), default=0)
    states = {each.state for each in groups}
    for each in groups:
        _print_group(each, width, f" ({each.state})" * (len(states) > 1))


def _cells(each: JobGroup) -> tuple[object, ...]:
    what = (each.state, each.task, each.queue, each.error_type)
    ids = ",".join(map(str, each.ids))
    return (each.jobs, each.fingerprint, *what, each.first_at, each.last_at, ids, each.message)


def _print_group(each: JobGroup, width: int, state: str) -> None:
    indent = " " * (width + 2)
    error = each.error_type or "no error recorded"
    write(
        (f"{each.jobs!s:>{width}}  ", "bold"),
        (error, STYLES["dead"]),
        f"  {each.task} in {each.queue}{state}",
    )
    if each.message:
        write(indent, cut(each.message, terminal_width() - len(indent)))
    if each.first_at is not None:
        write((f"{indent}{show(each.first_at)} to {show(each.last_at)}", "dim"))
    ids = " ".join(map(str, each.ids))
    newest = f"{'job' if each.jobs.value == 1 else 'newest'} {ids}"
    fingerprint = f"{each.fingerprint}  " if each.fingerprint else ""
    write((f"{indent}{fingerprint}", "cyan"), (newest, "dim"))
    say("")


def preview(verb: str, jobs: int, looked_at: int, found: JobGroups) -> None:
    """Print what an action would do."""
    write((f"would {verb} {counted(jobs)}", "bold"), "" if jobs <= looked_at else _of(looked_at))
    _print_groups(found.groups)


def _of(looked_at: int) -> str:
    return f"; the oldest {looked_at} of them are:"
