"""Hooks: functions of the user's that are told what happened. They observe, and change nothing.

Which hook is called when, and on which thread, is the worker's part: `worker/hooks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from pgqueue import payload
from pgqueue.codec import is_sealed
from pgqueue.errors import ConfigError, InvalidPayload
from pgqueue.redaction import MARK, Redaction
from pgqueue.signatures import signature_of

JobMoment = Literal["start", "success", "retry", "dead", "cancelled", "expired"]
WorkerMoment = Literal["worker_start", "worker_stop"]
Moment = JobMoment | WorkerMoment
"""When a hook is called: `on_` and this is its decorator."""

Hook = Callable[[Any], Any]
H = TypeVar("H", bound=Hook)

NONE: Final[Mapping[Moment, tuple[Hook, ...]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class JobEvent:
    """What happened to a job.

    Attributes:
        moment: which hook this is for: "start", "success", "retry", "dead", "cancelled",
            "expired".
        id: the job's id.
        attempt: number of the attempt that this is about, from 1; 0 for a job that expired
            without any.
        args: as JSON data; what the task redacts is `***`, and encrypted ones are left out.
        meta: as the producer gave it.
        result: as JSON data, at "success"; None when it is encrypted, and for a transactional task:
            the job has it.
        error_type, message: what was raised, at "retry", "dead" and "cancelled".
        delay: seconds until the next attempt, at "retry".
    """

    moment: JobMoment
    id: int
    task: str
    queue: str
    attempt: int
    max_attempts: int
    args: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error_type: str | None = None
    message: str | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """A worker started, or has stopped.

    Attributes:
        moment: "worker_start" or "worker_stop".
        id: of its row in `pgqueue.workers`.
        name: host and process id.
        queues: what it works.
    """

    moment: WorkerMoment
    id: int
    name: str
    queues: tuple[str, ...]


class JobHooks:
    """What an app and a task have in common: hooks of jobs, of all tasks or of one.

    Each takes a function of one argument, the JobEvent, plain or `async def`, and gives it back:
    it is a decorator.

    Attributes:
        hooks: by moment, in the order in which they were registered.
    """

    hooks: Mapping[Moment, tuple[Hook, ...]] = NONE

    def on_start(self, hook: H) -> H:
        """Call this when a handler is about to start."""
        return self._hook("start", hook)

    def on_success(self, hook: H) -> H:
        """Call this when a success is recorded."""
        return self._hook("success", hook)

    def on_retry(self, hook: H) -> H:
        """Call this when a failure is recorded after which the job is tried again."""
        return self._hook("retry", hook)

    def on_dead(self, hook: H) -> H:
        """Call this when a job is dead: nobody will try it again, somebody should look."""
        return self._hook("dead", hook)

    def on_cancelled(self, hook: H) -> H:
        """Call this when a running job was cancelled, by its handler or by request."""
        return self._hook("cancelled", hook)

    def on_expired(self, hook: H) -> H:
        """Call this when a job expired: nobody started it in time."""
        return self._hook("expired", hook)

    def _hook(self, moment: Moment, hook: H) -> H:
        """Register a hook.

        Raises:
            ConfigError: it cannot be called with one argument.
        """
        try:
            signature_of(hook).bind("event")
        except (TypeError, ValueError):
            raise ConfigError(
                f"on_{moment}: {hook!r} cannot be called with one argument, the event"
            ) from None
        self.hooks = {**self.hooks, moment: (*self.hooks.get(moment, ()), hook)}
        return hook


def shown(args: str, meta: str, redaction: Redaction) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stored arguments and meta as hooks may see them; what cannot be read is left out.

    Args:
        args: JSON text.
        meta: JSON text.
        redaction: what the task hides, besides what the job's own meta says.
    """
    seen, own = _decoded(args), _decoded(meta)
    if is_sealed(seen):
        seen = {}
    hidden = Redaction.marked(own).hide(redaction.hide(seen))
    return hidden, {name: value for name, value in own.items() if name != MARK}


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = payload.decode(text)
    except InvalidPayload:
        return {}
    return value if isinstance(value, dict) else {}
