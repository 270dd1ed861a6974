"""What people and programs see of jobs, queues and workers: values, read at one moment."""

from pgqueue.views.counts import COUNT_CAP, Count
from pgqueue.views.filters import ENDED_BADLY, JobFilter
from pgqueue.views.groups import JobGroup, JobGroups
from pgqueue.views.jobs import AttemptView, JobRow, JobView, ProgressView, shown_state
from pgqueue.views.status import QueueLimit, QueueStatus, Status, WorkerView
from pgqueue.views.upkeep import RetentionRule, Upkeep

__all__ = [
    "COUNT_CAP",
    "ENDED_BADLY",
    "AttemptView",
    "Count",
    "JobFilter",
    "JobGroup",
    "JobGroups",
    "JobRow",
    "JobView",
    "ProgressView",
    "QueueLimit",
    "QueueStatus",
    "RetentionRule",
    "Status",
    "Upkeep",
    "WorkerView",
    "shown_state",
]
