"""Jobs as documents; no database. What SQL makes of them is tested in tests/enqueue."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.enqueue import contract
from pgqueue.errors import InvalidJob, InvalidName, InvalidPayload, PayloadTooLarge
from pgqueue.job import Enqueued, NewJob
from tests.enqueue.bad_input import REFUSED, REFUSED_IN_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1024
NOON = datetime(2040, 1, 31, 12, tzinfo=UTC)


class Queue(str, Enum):  # noqa: UP042 - its format() is not its value, which is the point
    MAIL = "mail"


class Level(int, Enum):
    HIGH = 10


class Nowhere(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, dt: datetime | None, /) -> None: ...
    def dst(self, dt: datetime | None, /) -> None: ...
    def tzname(self, dt: datetime | None, /) -> None: ...


def document(**members: Any) -> Any:
    return json.loads(contract.encode(NewJob(**{"task": "t"} | members), limit=LIMIT))


def test_a_job_at_its_defaults_is_its_task_and_arguments() -> None:
    text = contract.encode(NewJob(task="photos.thumb", args={"id": 42}), limit=LIMIT)
    assert text == '{"task":"photos.thumb","args":{"id":42}}'


def test_every_option_is_written_under_its_name() -> None:
    berlin = timezone(timedelta(hours=1))
    assert document(
        args={"a": 1},
        queue="mail",
        priority=-100,
        run_at=NOON.astimezone(berlin),
        expires_at=NOON + timedelta(seconds=1),
        max_attempts=10_000,
        timeout=timedelta(minutes=1),
        key='say "hé"',
        key_scope="orders",
        unique_for=0.5,
        until="started",
        on_conflict="replace",
        meta={"tenant": 7},
        version=2,
    ) == {
        "task": "t",
        "args": {"a": 1},
        "queue": "mail",
        "priority": -100,
        "run_at": "2040-01-31T12:00:00+00:00",
        "expires_at": "2040-01-31T12:00:01+00:00",
        "max_attempts": 10_000,
        "timeout": 60.0,
        "key": 'say "hé"',
        "key_scope": "orders",
        "unique_for": 0.5,
        "until": "started",
        "on_conflict": "replace",
        "meta": {"tenant": 7},
        "version": 2,
    }


def test_a_ttl_is_seconds_or_a_timedelta() -> None:
    assert document(ttl=timedelta(minutes=1)) == {"task": "t", "args": {}, "ttl": 60.0}
    assert document(ttl=2.5, delay=1)["ttl"] == 2.5


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(0, 0), (5, 5), (2.5, 2.5), (timedelta(days=3650), 315_360_000), (1e-07, 1e-07)],
)
def test_a_delay_is_seconds_or_a_timedelta(delay: Any, seconds: float) -> None:
    assert document(delay=delay)["delay"] == seconds


def test_enums_are_written_as_their_values() -> None:
    written = document(task=Queue.MAIL, queue=Queue.MAIL, priority=Level.HIGH)
    assert (written["task"], written["queue"], written["priority"]) == ("mail", "mail", 10)


@pytest.mark.parametrize(("path", "members", "kind"), REFUSED + REFUSED_IN_PYTHON)
def test_bad_input_is_refused_with_its_path(
    path: str, members: dict[str, Any], kind: type[InvalidJob]
) -> None:
    job = NewJob(**{"task": "t"} | members)
    with pytest.raises(kind) as refusal:
        contract.encode(job, limit=LIMIT)
    assert str(refusal.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"priority": 500},
            "priority: 500 is refused; expected an integer from -100 to 100",
        ),
        (
            {"queue": "a b"},
            "queue: 'a b' is refused; expected a name of 1 to 50 characters of A-Z a-z 0-9 _ . : -",
        ),
        (
            {"timeout": -1},
            (
                "timeout: -1 is refused; expected seconds from 0.001 to 31536000, "
                "or a timedelta of as much"
            ),
        ),
    ],
)
def test_a_refusal_names_value_and_limit(members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidJob) as refusal:
        document(**members)
    assert str(refusal.value) == message


def test_a_time_whose_zone_has_no_offset_is_refused() -> None:
    with pytest.raises(InvalidJob, match=r"^run_at: .* expected an aware datetime"):
        document(run_at=NOON.replace(tzinfo=Nowhere()))


def test_too_large_arguments_and_meta_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match=r"^args: 1036 bytes of JSON, the limit is 1024"):
        document(args={"data": "x" * 1025})
    with pytest.raises(PayloadTooLarge, match=r"^meta: "):
        document(meta={"data": "x" * 1025})


def test_a_refusal_in_many_names_the_job_s_place() -> None:
    jobs = [NewJob(task="a"), NewJob(task="b", priority=101)]
    with pytest.raises(InvalidJob, match=r"^\[1\]\.priority: 101 "):
        list(contract.encode_many(jobs, limit=LIMIT))
    with pytest.raises(InvalidName, match=r"^\[0\]\.task: "):
        list(contract.encode_many([NewJob(task="")], limit=LIMIT))
    with pytest.raises(InvalidPayload, match=r"^\[0\]\.args\.a\[0\]: "):
        list(contract.encode_many([NewJob(task="a", args={"a": [set()]})], limit=LIMIT))


def test_only_new_jobs_are_encoded() -> None:
    with pytest.raises(TypeError, match=r"^\('a', \{\}\) is not a NewJob"):
        list(contract.encode_many([("a", {})], limit=LIMIT))  # type: ignore[list-item]


def test_many_jobs_come_in_chunks_of_ten_thousand() -> None:
    jobs = (NewJob(task="t", args={"n": n}) for n in range(25_000))
    chunks = list(contract.encode_many(jobs, limit=LIMIT))
    assert [count for _, count in chunks] == [10_000, 10_000, 5_000]
    written = [job["args"]["n"] for text, _ in chunks for job in json.loads(text)]
    assert written == list(range(25_000))


def test_chunks_stay_below_sixteen_mebibytes() -> None:
    jobs = (NewJob(task="t", args={"data": "é" * 1_000_000}) for _ in range(20))
    chunks = list(contract.encode_many(jobs, limit=4 * 1024 * 1024))
    assert [count for _, count in chunks] == [8, 8, 4]
    assert max(len(text.encode()) for text, _ in chunks) <= contract.CHUNK_BYTES + 100


def test_no_jobs_are_no_document() -> None:
    assert list(contract.encode_many([], limit=LIMIT)) == []


def test_a_generator_of_a_million_jobs_stays_small() -> None:
    taken = 0

    def jobs() -> Iterator[NewJob]:
        nonlocal taken
        job = NewJob(task="t", args={"n": 1})
        for _ in range(1_000_000):
            taken += 1
            yield job

    chunks = contract.encode_many(jobs(), limit=LIMIT)
    tracemalloc.start()
    try:
        for _ in range(3):
            next(chunks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 30_001  # read as far as was asked for, and one job ahead
    assert peak < 8 * 1024 * 1024


def test_answers_are_read() -> None:
    assert contract.decode('{"id": 7, "created": true}') == Enqueued(7, created=True)
    assert contract.decode_many('[{"id": 1, "created": false}, {"id": 2, "created": true}]') == [
        Enqueued(1, created=False),
        Enqueued(2, created=True),
    ]


def test_members_that_a_newer_function_adds_to_its_answer_are_no_error() -> None:
    assert contract.decode('{"id": 7, "created": true, "later": 1}') == Enqueued(7, created=True)
