"""What an app puts round the handlers of all its tasks: middleware and hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pgqueue.hooks import H, JobHooks
from pgqueue.middleware import Layer, layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueue.tasks import Task

    F = TypeVar("F", bound=Callable[..., Any])


class Surroundings(JobHooks):
    """The part of an app that its handlers do not see.

    Attributes:
        layers: the middleware of all its tasks, the outermost first.
    """

    _tasks: dict[str, Task[..., Any]]
    layers: tuple[Layer, ...] = ()

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

    def on_worker_start(self, hook: H) -> H:
        """Call this in each worker process before its first job; it gets a WorkerEvent.

        The worker waits for it, 10 seconds at most.
        """
        return self._hook("worker_start", hook)

    def on_worker_stop(self, hook: H) -> H:
        """Call this in each worker process after its last job; it gets a WorkerEvent."""
        return self._hook("worker_stop", hook)
