"""A transactional job queue for Python in your own PostgreSQL.

The public names are imported when they are first used: `pgqueue --help` loads no driver, and a
handler's module that needs `Retry` alone loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pgqueue._version import __version__

if TYPE_CHECKING:
    from pgqueue.app import PgQueue
    from pgqueue.codec import Codec
    from pgqueue.config import Settings
    from pgqueue.context import JobContext, current_job
    from pgqueue.errors import (
        AlreadyEnqueued,
        Cancel,
        ConfigError,
        ConnectionFailed,
        Dead,
        EffectBusy,
        EmbeddedError,
        EnqueueError,
        InvalidJob,
        InvalidName,
        InvalidPayload,
        JobConflict,
        JobFailed,
        JobNotFound,
        KeyMissing,
        LeaseLost,
        PayloadTooLarge,
        PgQueueError,
        QueueFull,
        Retry,
        SchemaError,
        Snooze,
        StepError,
        TransactionEnded,
        TransactionUnusable,
        UnknownTask,
        WaitTimeout,
    )
    from pgqueue.handle import JobHandle
    from pgqueue.hooks import JobEvent, WorkerEvent
    from pgqueue.job import NewJob, State
    from pgqueue.keys import from_args
    from pgqueue.options import JobOptions, RequeueOptions, TaskOptions
    from pgqueue.retry import RetryRule, exponential, fixed, linear
    from pgqueue.tasks import Task
    from pgqueue.views import AttemptView, JobFilter, JobView, ProgressView, QueueLimit

__all__ = [
    "AlreadyEnqueued",
    "AttemptView",
    "Cancel",
    "Codec",
    "ConfigError",
    "ConnectionFailed",
    "Dead",
    "EffectBusy",
    "EmbeddedError",
    "EnqueueError",
    "InvalidJob",
    "InvalidName",
    "InvalidPayload",
    "JobConflict",
    "JobContext",
    "JobEvent",
    "JobFailed",
    "JobFilter",
    "JobHandle",
    "JobNotFound",
    "JobOptions",
    "JobView",
    "KeyMissing",
    "LeaseLost",
    "NewJob",
    "PayloadTooLarge",
    "PgQueue",
    "PgQueueError",
    "ProgressView",
    "QueueFull",
    "QueueLimit",
    "RequeueOptions",
    "Retry",
    "RetryRule",
    "SchemaError",
    "Settings",
    "Snooze",
    "State",
    "StepError",
    "Task",
    "TaskOptions",
    "TransactionEnded",
    "TransactionUnusable",
    "UnknownTask",
    "WaitTimeout",
    "WorkerEvent",
    "__version__",
    "current_job",
    "exponential",
    "fixed",
    "from_args",
    "linear",
]

_HOMES = {
    "app": ("PgQueue",),
    "codec": ("Codec",),
    "config": ("Settings",),
    "context": ("JobContext", "current_job"),
    "hooks": ("JobEvent", "WorkerEvent"),
    "handle": ("JobHandle",),
    "job": ("NewJob", "State"),
    "keys": ("from_args",),
    "options": ("JobOptions", "RequeueOptions", "TaskOptions"),
    "retry": ("RetryRule", "exponential", "fixed", "linear"),
    "tasks": ("Task",),
    "views": ("AttemptView", "JobFilter", "JobView", "ProgressView", "QueueLimit"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pgqueue' has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"pgqueue.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
