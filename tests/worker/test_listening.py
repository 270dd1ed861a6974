"""A listener that is lent: another thread waits for its socket, and hears."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from pgqueue import listen, wire
from pgqueue.config import Settings
from pgqueue.worker.loop import Wake
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

READABLE = 1


class Owner:
    """Who borrows a listener, and what it was told."""

    def __init__(self, dsn: str) -> None:
        self.heard: list[tuple[str, str]] = []
        self.connected: list[bool] = []
        self.failures: list[Exception] = []
        self.listener = listen.Listener(
            dsn,
            Settings(),
            ["pgqueue.mail"],
            heard=lambda channel, payload: self.heard.append((channel, payload)),
            connected=self.connected.append,
            failed=self._failed,
            lent=True,
        )

    def _failed(self, error: Exception) -> float:
        self.failures.append(error)
        return 0.0

    def wait(self) -> None:
        """Wait as a worker does, until there is something to hear."""
        descriptor = self.listener.descriptor()
        assert descriptor is not None
        assert wire.wait_for([(descriptor, READABLE)], 10.0)
        self.listener.hear()


@pytest.fixture
def owner(dsn: str) -> Iterator[Owner]:
    made = Owner(dsn)
    thread = threading.Thread(target=_run, args=(made.listener,))
    thread.start()
    wait_until(lambda: made.connected == [True])
    yield made
    made.listener.close()
    thread.join()


def _run(listener: listen.Listener) -> None:
    while listener.step() is not None:
        pass


def notify(connection: psycopg.Connection, payload: str) -> None:
    connection.execute("select pg_notify('pgqueue.mail', %s)", [payload])


def test_it_hears_when_it_is_asked_to_and_not_before(
    owner: Owner, connection: psycopg.Connection
) -> None:
    notify(connection, "5")
    descriptor = owner.listener.descriptor()
    assert descriptor is not None
    assert wire.wait_for([(descriptor, READABLE)], 10.0)
    assert owner.heard == []
    owner.listener.hear()
    assert owner.heard == [("pgqueue.mail", "5")]


def test_it_never_blocks_whoever_hears_and_what_came_meanwhile_is_not_lost(
    owner: Owner, connection: psycopg.Connection
) -> None:
    with owner.listener._using:  # as while it is probed
        notify(connection, "1")
        owner.wait()
        assert owner.heard == []
        assert owner.listener.descriptor() is not None, "or its owner would sleep on"
    owner.wait()
    assert owner.heard == [("pgqueue.mail", "1")]


def test_after_its_connection_broke_it_listens_again(
    owner: Owner, connection: psycopg.Connection
) -> None:
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name like 'pgqueue:listen%' and datname = current_database()"
    )
    while not owner.failures and owner.listener.descriptor() is not None:
        owner.wait()
    wait_until(lambda: owner.connected == [True, False, True])
    assert len(owner.failures) == 1
    notify(connection, "2")
    owner.wait()
    assert owner.heard == [("pgqueue.mail", "2")]


class Pipe:
    """A source that counts how often it was heard."""

    def __init__(self) -> None:
        self.ear, self.mouth = os.pipe()
        self.times = 0

    def descriptor(self) -> int:
        return self.ear

    def hear(self) -> None:
        os.read(self.ear, 1)
        self.times += 1


def test_a_loop_that_waits_hears_its_source() -> None:
    wake, pipe = Wake(), Pipe()
    wake.source = pipe
    os.write(pipe.mouth, b"!")
    wake.wait(10.0)
    assert pipe.times == 1


def test_a_source_that_wakes_the_loop_leaves_no_signal_behind() -> None:
    wake, pipe = Wake(), Pipe()
    wake.source = pipe
    heard = pipe.hear

    def hear() -> None:
        heard()
        wake()

    pipe.hear = hear  # type: ignore[method-assign]
    os.write(pipe.mouth, b"!")
    wake.wait(10.0)
    assert not wire.wait_for([(wake._ear, READABLE)], 0.0)
    with contextlib.suppress(OSError):
        os.close(pipe.mouth)
