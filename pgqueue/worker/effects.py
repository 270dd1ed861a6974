"""Steps and effects: what is asked, run and kept, in which order. No I/O: a Keeper does it.

Each is a generator that yields what it wants (`Ask`, `Call`, `Pause`) and gets the answer back,
so that it is written once for handlers in threads and on the event loop.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgqueue import codec as codecs, payload
from pgqueue.enqueue.callers.explained import diagnosis, driver_error
from pgqueue.errors import EffectBusy, InvalidPayload, LeaseLost

if TYPE_CHECKING:
    from pgqueue.codec import Codec
    from pgqueue.context import JobContext

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.5
"""Seconds between two looks at an effect that another job is at: the first, doubled up to this."""

COME_BACK: Final = 5.0
"""Seconds until a job is due again that waited for another one in vain."""

NOT_AVAILABLE: Final = "55P03"
"""SQLSTATE: a lock was not there within the time limit."""


class Ask(NamedTuple):
    """A statement to run; the answer is its rows."""

    name: str
    values: Mapping[str, Any]


class Call(NamedTuple):
    """The user's function to run; the answer is what it returns."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Pause(NamedTuple):
    """A time to wait, in seconds."""

    seconds: float


Script = Generator[Ask | Call | Pause, Any, Any]


@dataclass(frozen=True, slots=True)
class Results:
    """How results are written and read.

    Attributes:
        limit: of one, in bytes of JSON.
        codec: encrypts them.
    """

    limit: int
    codec: Codec | None

    def write(self, value: Any, what: str) -> str | None:
        """A result as JSON text; None for None.

        Raises:
            InvalidPayload: JSON cannot hold it, or it is too large.
        """
        try:
            text = payload.encode_result(value, limit=self.limit)
        except InvalidPayload as error:
            raise type(error)(f"{what}: {error}") from None
        if self.codec is None:
            return text
        return codecs.seal(self.codec, text or "null", what)

    def read(self, text: str | None, what: str) -> Any:
        """What was written."""
        value = None if text is None else payload.decode(text)
        if codecs.is_sealed(value):
            return payload.decode(codecs.opened(self.codec, value, what))
        return value


def step(context: JobContext, name: str, call: Call, results: Results, *, inside: bool) -> Script:
    """Run a function unless this job has its result already.

    In the job's own transaction nothing is kept: that commits together with the job's success, or
    leaves no trace, so no attempt could find what an earlier one had kept there.
    """
    what = f"step {name!r} of job {context.id}"
    key = {"id": context.id, "lease": context.lease, "name": name}
    found = yield Ask("step_read", key)
    held, kept, text = found[0] if found else (False, False, None)
    if not held:
        raise _lost(context, what)
    if not kept:
        text = results.write((yield call), what)
        if not inside and not (yield Ask("step_keep", {**key, "result": text})):
            raise _lost(context, what)
    return results.read(text, what)


def once(
    context: JobContext,
    effect: tuple[str, str],
    call: Call,
    results: Results,
    *,
    keep: float | None,
    wait: float,
    inside: bool,
) -> Script:
    """Run a function unless some job has done so under this key; wait for one that is at it.

    Args:
        context: of the job that asks.
        effect: scope and key.
        call: the function.
        results: how its result is kept.
        keep: seconds until it may run again; None for never.
        wait: seconds to wait for another job.
        inside: in the job's own transaction.
    """
    scope, key = effect
    mine = {"scope": scope, "key": key, "id": context.id, "lease": context.lease}
    what = f"effect {key!r} of {scope}"
    until, pause = time.monotonic() + wait, FIRST_PAUSE
    while True:
        found = yield Ask("once_read", mine)
        held, state, text, holder = found[0] if found else (False, "", None, None)
        if not held:
            raise _lost(context, what)
        if state == "done":
            return results.read(text, what)
        left = until - time.monotonic()
        claim = _claim_inside(mine, left) if inside else _claim(mine)
        if state == "free" and (yield from claim):
            break
        if left <= 0 or context.cancelled:
            raise EffectBusy(COME_BACK, f"{what}: job {holder or 'of another'} is at it")
        yield Pause(min(pause * random.uniform(0.8, 1.2), max(left, 0.001)))  # noqa: S311
        pause = min(pause * 2, LONGEST_PAUSE)
    try:
        text = results.write((yield call), what)
    except BaseException:
        # Should this fail too: the claim is worth nothing once this job's lease has ended.
        with contextlib.suppress(Exception):
            yield Ask("once_release", mine)
        raise
    if not (yield Ask("once_keep", {**mine, "result": text, "keep": keep})):
        raise _lost(context, what)
    return results.read(text, what)


def _claim(mine: Mapping[str, Any]) -> Script:
    """Claim an effect; False when somebody else has it."""
    try:
        return bool((yield Ask("once_claim", mine)))
    except Exception as error:
        if _sqlstate(error) != NOT_AVAILABLE:
            raise
        return False


def _claim_inside(mine: Mapping[str, Any], seconds: float) -> Script:
    """As `_claim`, within a savepoint: a transaction that has it may be open for long."""
    yield Ask("once_savepoint", {})
    limit = f"{max(int(seconds * 1000), 1)}ms"
    [(before, _)] = yield Ask("once_patience", {"limit": limit})
    try:
        claimed = yield Ask("once_claim", mine)
    except Exception as error:
        if _sqlstate(error) != NOT_AVAILABLE:
            raise
        yield Ask("once_rollback", {})
        return False
    yield Ask("once_settled", {})
    yield Ask("once_patience", {"limit": before})
    return bool(claimed)


def _sqlstate(error: Exception) -> str | None:
    return diagnosis(driver_error(error))[0]


def _lost(context: JobContext, what: str) -> LeaseLost:
    return LeaseLost(f"{what}: lease {context.lease} was lost, another worker has the job now")
