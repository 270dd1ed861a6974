"""Steps and effects as a handler asks for them; a worker's keeper does what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, TypeVarTuple, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Keeper(Protocol):
    """What keeps the results of steps and effects, for one worker's process."""

    def step(self, context: Any, name: str, call: Callable[..., Any], given: Any) -> Any:
        """See `Durable.step`; `given` are the arguments, as a pair."""

    async def astep(self, context: Any, name: str, call: Callable[..., Any], given: Any) -> Any:
        """See `Durable.astep`."""

    def once(self, context: Any, key: str, call: Callable[..., Any], given: Any, terms: Any) -> Any:
        """See `Durable.once`; `given` are the arguments, `terms` all that has a name."""

    async def aonce(
        self, context: Any, key: str, call: Callable[..., Any], given: Any, terms: Any
    ) -> Any:
        """See `Durable.aonce`."""


class Durable:
    """The part of a JobContext that remembers over attempts, and over jobs."""

    __slots__ = ()
    id: int
    task: str
    keeper: Keeper | None

    def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function once for this job: a later attempt gets the kept result instead.

        The result is kept as JSON, and comes back as JSON gives it, at the first time too. Between
        the function's end and the commit of its result lies the one window in which a crash lets
        it run again: what it does outside of the database should be told `token(name)`.

        Args:
            name: of the step, unique within the job; 1 to 128 bytes.
            function: plain.
            args: what it is called with.
            kwargs: what it is called with.

        Raises:
            StepError: this attempt has run a step of this name, or the name is unusable.
            InvalidPayload: JSON cannot hold the result, or it is larger than `max_result`.
            LeaseLost: another worker has the job now; nothing was kept.
            TypeError: called on an event loop: use `astep`.
        """
        kept: R = self._kept().step(self, name, function, (args, kwargs))
        return kept

    @overload
    async def astep(
        self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def astep(
        self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    async def astep(self, name: str, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `step`, in an `async def` task; the function may be `async def` or plain."""
        return await self._kept().astep(self, name, function, (args, kwargs))

    def once(
        self,
        key: str,
        function: Callable[[*Ts], R],
        /,
        *args: *Ts,
        scope: str | None = None,
        keep: float | timedelta | None = None,
        wait: float | timedelta = 10.0,
    ) -> R:
        """Run a function once for all jobs that name this key; the others get its result.

        The first caller runs it, and those who come meanwhile wait. If it fails, or its worker
        dies, one of them runs it instead.

        Args:
            key: what happens once, such as "charge-17"; 1 to 512 bytes. Hand it to whatever the
                function calls: in the window that `step` names, that must see it is the same.
            function: plain.
            args: what it is called with.
            scope: where the key is unique; by default among jobs of the same task.
            keep: seconds, or a timedelta, after which it may happen again; None for never.
            wait: seconds, or a timedelta, to wait for a job that is at it.

        Raises:
            EffectBusy: another job was at it for all that time. Left alone, it gives the job back
                for 5 s, and costs no attempt.
            StepError: an unusable key, scope or time.
            InvalidPayload, LeaseLost, TypeError: as `step`.
        """
        terms = {"scope": scope, "keep": keep, "wait": wait}
        kept: R = self._kept().once(self, key, function, args, terms)
        return kept

    @overload
    async def aonce(
        self,
        key: str,
        function: Callable[[*Ts], Awaitable[R]],
        /,
        *args: *Ts,
        scope: str | None = None,
        keep: float | timedelta | None = None,
        wait: float | timedelta = 10.0,
    ) -> R: ...
    @overload
    async def aonce(
        self,
        key: str,
        function: Callable[[*Ts], R],
        /,
        *args: *Ts,
        scope: str | None = None,
        keep: float | timedelta | None = None,
        wait: float | timedelta = 10.0,
    ) -> R: ...
    async def aonce(  # type: ignore[misc]  # mypy holds *Ts and *args for different
        self,
        key: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        scope: str | None = None,
        keep: float | timedelta | None = None,
        wait: float | timedelta = 10.0,
    ) -> Any:
        """As `once`, in an `async def` task; the function may be `async def` or plain."""
        terms = {"scope": scope, "keep": keep, "wait": wait}
        return await self._kept().aonce(self, key, function, args, terms)

    def token(self, name: str) -> str:
        """A text for this job and this name, the same in every attempt.

        For services that take an idempotency key: the second call with it does nothing.
        """
        return f"pgqueue-{self.id}-{name}"

    def _kept(self) -> Keeper:
        if self.keeper is None:
            raise TypeError(
                f"{self.task}: steps and effects are kept by a worker, and none runs it"
            )
        return self.keeper
