"""The tasks that a worker of a Django project finds: the app's own, and those of the framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgqueue.contrib.django import definitions
from pgqueue.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgqueue.contrib.django.application import DjangoApp


class KnownTasks(Mapping[str, Task[..., Any]]):
    """By name, each as a worker runs it.

    A task of the framework may be found only when its first job comes, so none of that name
    stands here before; a name that was looked for in vain is not looked for again.

    Args:
        app: whose tasks they are.
        own: those that were registered with it.
    """

    def __init__(self, app: DjangoApp, own: Mapping[str, Task[..., Any]]) -> None:
        self._app, self._own = app, own
        self._prepared: dict[str, Task[..., Any] | None] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """The task of that name."""
        try:
            found = self._prepared[name]
        except KeyError:
            found = self._prepared[name] = self._find(name)
        return default if found is None else found

    def __getitem__(self, name: str) -> Task[..., Any]:
        task: Task[..., Any] | None = self.get(name)
        if task is None:
            raise KeyError(name)
        return task

    def __iter__(self) -> Iterator[str]:
        framework = (task.module_path for task in definitions.noted())
        return iter({*self._own, *framework, *_STAND_INS})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, name: str) -> Task[..., Any] | None:
        if name in self._own:
            return self._own[name]
        if name in _STAND_INS:
            return Task(self._app, _STAND_INS[name], name=name)
        if (definition := definitions.find(name)) is None:
            return None
        from pgqueue.contrib.django.running import prepare  # noqa: PLC0415 - there is a framework

        return prepare(self._app, definition)


def _stand_in() -> None:
    """Do nothing."""


async def _async_stand_in() -> None:
    """Do nothing."""


# A worker starts executors for the kinds of tasks that it knows at its start. With these it has
# both, for a task that is found later.
_STAND_INS = {"pgqueue.nothing": _stand_in, "pgqueue.nothing_async": _async_stand_in}
