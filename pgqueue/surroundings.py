"""What an app puts round the handlers of all its tasks: middleware, hooks, variables."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from pgqueue import carrying
from pgqueue.hooks import H, JobHooks
from pgqueue.middleware import Layer, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import ContextVar

    from pgqueue.tasks import Task

    F = TypeVar("F", bound=Callable[..., Any])
    T = TypeVar("T")


class Surroundings(JobHooks):
    """The part of an app that its handlers do not see.

    Attributes:
        layers: the middleware of all its tasks, the outermost first.
        carried: the context variables that travel with its jobs, by name.
    """

    _tasks: dict[str, Task[..., Any]]
    layers: tuple[Layer, ...] = ()
    carried: Mapping[str, ContextVar[Any]] = MappingProxyType({})

    def middleware(self, function: F) -> F:
        """Put a middleware round the handlers of all tasks, whenever they were registered.

        Args:
            function: `def (context, call_next)` for `def` handlers, `async def` for `async def`
                handlers, or a generator `def (context)` with one `yield` for both. The first that
                is registered is the outermost; a task's own `middleware=[...]` is inside.

        Raises:
            ConfigError: it has none of these forms.
        """
        self.layers = (*self.layers, layer(function))
        for task in self._tasks.values():
            task.surround()
        return function

    def carry(self, variable: ContextVar[T], *, name: str | None = None) -> ContextVar[T]:
        """Let a context variable travel with each job: from the enqueue to the handler.

        Where it is set when a job is made, the handler finds it set to the same value, and so do
        the jobs that the handler enqueues.

        Args:
            variable: its values must be JSON data.
            name: what programs that enqueue and programs that work know it by; its own by default.

        Raises:
            ConfigError: it is no ContextVar, or another one has that name.
        """
        self.carried = carrying.registered(self.carried, variable, name)
        return variable

    def on_worker_start(self, hook: H) -> H:
        """Call this in each worker process before its first job; it gets a WorkerEvent.

        The worker waits for it, 10 seconds at most.
        """
        return self._hook("worker_start", hook)

    def on_worker_stop(self, hook: H) -> H:
        """Call this in each worker process after its last job; it gets a WorkerEvent."""
        return self._hook("worker_stop", hook)
