"""Jobs as the document that `pgqueue.enqueue(text)` takes, and its answer back. Pure.

The rules are those of pgqueue/functions/check_job.sql, so what is refused is refused here, before
any SQL could abort the caller's transaction. Only what needs the clock is left to the function:
an `expires_at` that has passed. A member at its default is left out where the function's default
is the same.
"""

from __future__ import annotations

import json
import re
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pgqueue import payload
from pgqueue.codec import seal
from pgqueue.errors import AlreadyEnqueued, InvalidJob, InvalidName
from pgqueue.job import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    PRIORITY_MAX,
    PRIORITY_MIN,
    Enqueued,
    NewJob,
)
from pgqueue.keys import ON_CONFLICT, UNTIL, FromArgs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgqueue.codec import Codec
    from pgqueue.payload import SizeWatch

CHUNK_JOBS: Final = 10_000
CHUNK_BYTES: Final = 16 * 1024 * 1024

QUEUE_LENGTH: Final = 50
TASK_LENGTH: Final = 128
KEY_BYTES: Final = 512
MAX_ATTEMPTS: Final = 10_000
MAX_VERSION: Final = 2**31 - 1
MIN_SECONDS: Final = 0.001
YEAR: Final = 365 * 24 * 3600
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)

_is_name: Final = re.compile(r"[A-Za-z0-9_.:-]+", re.ASCII).fullmatch
_control_character: Final = re.compile("[\x00-\x1f\x7f-\x9f]").search
_quote: Final = json.JSONEncoder(ensure_ascii=False).encode


def encode(
    job: NewJob, *, limit: int, watch: SizeWatch | None = None, codec: Codec | None = None
) -> str:
    """The document of one job.

    Args:
        job: what to enqueue.
        limit: the largest size of its arguments, and of its meta, in bytes of JSON.
        watch: told of large arguments.
        codec: encrypts the arguments; None stores them as they are.

    Raises:
        InvalidJob: an option out of range; the message starts with its name.
        InvalidName: a task, queue or key that breaks the naming rule.
        InvalidPayload: arguments that JSON cannot hold, or above the limit.
        TypeError: not a NewJob.
    """
    if not isinstance(job, NewJob):
        raise TypeError(f"{payload.show(job)} is not a NewJob: make one with task.job(...)")
    args = payload.encode_args(job.args, limit=limit)
    document = (
        f'{{"task":"{_name("task", job.task, TASK_LENGTH)}"'
        f',"args":{stored(job.task, args, watch, codec)}'
    )
    if job.queue != DEFAULT_QUEUE:
        document += f',"queue":"{_name("queue", job.queue, QUEUE_LENGTH)}"'
    document += _integer("priority", job.priority, 0, PRIORITY_MIN, PRIORITY_MAX)
    document += _integer("max_attempts", job.max_attempts, DEFAULT_MAX_ATTEMPTS, 1, MAX_ATTEMPTS)
    document += _integer("version", job.version, 1, 1, MAX_VERSION)
    if job.timeout is not None:
        document += f',"timeout":{_seconds("timeout", job.timeout, MIN_SECONDS, YEAR)}'
    if (
        job.delay is not None
        or job.run_at is not None
        or job.expires_at is not None
        or job.ttl is not None
    ):
        document += _times(job)
    if (
        job.key is not None
        or job.key_scope is not None
        or job.unique_for is not None
        or job.until is not None
        or job.on_conflict != "existing"
    ):
        document += _key(job, args)
    if job.meta or type(job.meta) is not dict:
        document += f',"meta":{payload.encode_args(job.meta, limit=limit, path="meta")}'
    return document + "}"


def stored(task: str, args: str, watch: SizeWatch | None, codec: Codec | None) -> str:
    """Arguments as they are stored: the JSON text itself, or sealed where there is a codec."""
    if watch is not None and len(args) > watch.attention:
        watch(task, args)
    if codec is not None and args != "{}":
        return seal(codec, args, f"args of {task}")
    return args


def encode_many(
    jobs: Iterable[NewJob],
    *,
    limit: int,
    watch: SizeWatch | None = None,
    codec: Codec | None = None,
) -> Iterator[tuple[str, int]]:
    """The documents of many jobs: chunks of at most 10,000 jobs or 16 MiB, made one by one.

    Yields:
        (document, number of jobs in it)

    Raises:
        As `encode`; the message starts with the job's place in `jobs`, as `[3].priority`.
    """
    chunk: list[str] = []
    size = 0
    for index, job in enumerate(jobs):
        try:
            document = encode(job, limit=limit, watch=watch, codec=codec)
        except InvalidJob as error:
            raise type(error)(f"[{index}].{error}") from None
        bytes_more = len(document) if document.isascii() else len(document.encode())
        if chunk and (len(chunk) == CHUNK_JOBS or size + bytes_more > CHUNK_BYTES):
            yield f"[{','.join(chunk)}]", len(chunk)
            chunk, size = [], 0
        chunk.append(document)
        size += bytes_more
    if chunk:
        yield f"[{','.join(chunk)}]", len(chunk)


def decode(answer: str) -> Enqueued:
    """The answer to the document of one job."""
    return _enqueued(json.loads(answer))


def decode_many(answer: str) -> list[Enqueued]:
    """The answer to the document of many jobs, in their order."""
    return [_enqueued(one) for one in json.loads(answer)]


def _enqueued(answer: dict[str, Any]) -> Enqueued:
    return Enqueued(answer["id"], answer["created"], answer.get("changed"))


class Strict:
    """Notes which of the jobs that pass are to raise when another job holds their key.

    In SQL that would abort the caller's transaction, so the document does not say it, and the
    error is raised from the answer.
    """

    def __init__(self) -> None:
        self._keys: deque[tuple[int, str]] = deque()
        self._checked = 0

    def noting(self, jobs: Iterable[NewJob]) -> Iterator[NewJob]:
        """The jobs, as they are."""
        for index, job in enumerate(jobs):
            if getattr(job, "on_conflict", None) == "raise":
                self._keys.append((index, _shown_key(job)))
            yield job

    def check(self, answers: Sequence[Enqueued]) -> None:
        """Raise AlreadyEnqueued for the first noted job of the next answers that was not created.

        The answers come in the order of the jobs, in any number of calls.
        """
        start, self._checked = self._checked, self._checked + len(answers)
        while self._keys and self._keys[0][0] < self._checked:
            index, key = self._keys.popleft()
            answer = answers[index - start]
            if not answer.created:
                raise _already(answer.id, key, f"[{index}]: ")


def check(job: NewJob, answer: Enqueued) -> None:
    """Raise AlreadyEnqueued for a job that was to raise when its key is held, and it is."""
    if not answer.created and job.on_conflict == "raise":
        raise _already(answer.id, _shown_key(job))


def _already(job_id: int, key: str, path: str = "") -> AlreadyEnqueued:
    return AlreadyEnqueued(f"{path}job {job_id} holds the {key}: nothing was enqueued", job_id)


def _shown_key(job: NewJob) -> str:
    key = f"from_args{job.key.names!r}" if isinstance(job.key, FromArgs) else repr(job.key)
    return f"key {key} in scope {job.key_scope or job.task!r}"


def _refused(member: str, value: object, expected: str) -> str:
    return f"{member}: {payload.show(value, 160)} is refused; expected {expected}"


def _name(member: str, value: Any, length: int) -> str:
    if isinstance(value, str) and len(value) <= length and _is_name(value):
        return value if type(value) is str else str.__str__(value)
    expected = f"a name of 1 to {length} characters of A-Z a-z 0-9 _ . : -"
    raise InvalidName(_refused(member, value, expected))


def _integer(member: str, value: Any, default: int, low: int, high: int) -> str:
    if type(value) is int and value == default:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return f',"{member}":{int(value)}'
    raise InvalidJob(_refused(member, value, f"an integer from {low} to {high}"))


def task_name(name: Any) -> str:
    """The name of a task; InvalidName when it is none."""
    return _name("task", name, TASK_LENGTH)


def queue_name(name: Any) -> str:
    """The name of a queue; InvalidName when it is none."""
    return _name("queue", name, QUEUE_LENGTH)


def patience(member: str, value: Any) -> float:
    """Seconds to wait, of a number or a timedelta; InvalidJob when out of range."""
    return float(_seconds(member, value, 0, YEAR))


def _seconds(member: str, value: Any, low: float, high: float) -> str:
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, int | float) and not isinstance(number, bool) and low <= number <= high:
        return repr(int(number) if isinstance(number, int) else float(number))
    expected = f"seconds from {low:g} to {high}, or a timedelta of as much"
    raise InvalidJob(_refused(member, value, expected))


def _instant(member: str, value: Any) -> datetime:
    expected = "an aware datetime from 2000 to 9000, such as datetime.now(timezone.utc)"
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidJob(_refused(member, value, expected))
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        raise InvalidJob(_refused(member, value, expected)) from None
    if not EARLIEST <= instant <= LATEST:
        raise InvalidJob(_refused(member, value, expected))
    return instant


def _times(job: NewJob) -> str:
    text = ""
    if job.delay is not None:
        text += f',"delay":{_seconds("delay", job.delay, 0, 10 * YEAR)}'
    if job.run_at is not None:
        run_at = _instant("run_at", job.run_at)
        if job.delay is not None:
            raise InvalidJob(_refused("run_at", job.run_at, "either run_at or delay"))
        text += f',"run_at":"{run_at.isoformat()}"'
    if job.expires_at is not None:
        expires_at = _instant("expires_at", job.expires_at)
        if job.run_at is not None and expires_at <= job.run_at:
            raise InvalidJob(_refused("expires_at", job.expires_at, "a time after run_at"))
        text += f',"expires_at":"{expires_at.isoformat()}"'
    if job.ttl is not None:
        text += f',"ttl":{_seconds("ttl", job.ttl, MIN_SECONDS, 10 * YEAR)}'
        if job.expires_at is not None:
            raise InvalidJob(_refused("ttl", job.ttl, "either ttl or expires_at"))
    return text


def _key(job: NewJob, args: str) -> str:
    text = ""
    if isinstance(job.key, FromArgs):
        # Of the arguments as they are stored, so that any program can make the same key.
        text += f',"key":"{job.key.key(payload.decode(args))}"'
    elif job.key is not None:
        text += f',"key":{_quote(_checked_key(job.key))}'
    if job.key_scope is not None:
        text += f',"key_scope":"{_name("key_scope", job.key_scope, TASK_LENGTH)}"'
        if job.key is None:
            raise InvalidName(_refused("key_scope", job.key_scope, "a key besides"))
    return text + _terms(job)


def _terms(job: NewJob) -> str:
    """How long the key is held, and what happens when it is."""
    text = ""
    if job.unique_for is not None:
        text += f',"unique_for":{_seconds("unique_for", job.unique_for, MIN_SECONDS, 10 * YEAR)}'
        if job.key is None:
            raise InvalidJob(_refused("unique_for", job.unique_for, "a key besides"))
    if job.until is not None:
        text += f',"until":"{_word("until", job.until, UNTIL)}"'
        if job.key is None:
            raise InvalidJob(_refused("until", job.until, "a key besides"))
    if job.on_conflict != "existing":
        word = _word("on_conflict", job.on_conflict, ON_CONFLICT)
        if job.key is None:
            raise InvalidJob(_refused("on_conflict", job.on_conflict, "a key besides"))
        text += f',"on_conflict":"{word}"' if word != "raise" else ""
    return text


def _word(member: str, value: Any, words: Sequence[str]) -> str:
    if isinstance(value, str) and value in words:
        return words[words.index(value)]
    raise InvalidJob(_refused(member, value, " or ".join(words)))


def _checked_key(key: Any) -> str:
    try:
        if isinstance(key, str) and not _control_character(key) and _fits(key):
            return key
    except UnicodeEncodeError:
        pass
    expected = f"text of 1 to {KEY_BYTES} bytes without control characters"
    raise InvalidName(_refused("key", key, expected))


def _fits(key: str) -> bool:
    return 1 <= len(key.encode()) <= KEY_BYTES
