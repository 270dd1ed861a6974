"""Exchanges in line on one connection: each is answered, and fails, for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgqueue import wire
from pgqueue.errors import ConfigError
from pgqueue.wire import Flight, Statement, Wire
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pgqueue.connections import Connection

PATIENCE = 20.0


@pytest.fixture(params=["prepared", "unprepared"])
def line(request: pytest.FixtureRequest, own: Connection) -> Wire:
    """A wire, on a connection that prepares statements and on one that must not."""
    if request.param == "unprepared":
        own.prepare_threshold = None
    return Wire(own, PATIENCE)


def test_a_libpq_without_pipelines_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psycopg.pq.version", lambda: 140000)
    wire.require_libpq()
    monkeypatch.setattr("psycopg.pq.version", lambda: 130023)
    with pytest.raises(ConfigError, match="found that of 13: install a newer one"):
        wire.require_libpq()


def ask(text: str, *values: str | None) -> Statement:
    encoded = [None if value is None else value.encode() for value in values]
    return Statement(f"q{abs(hash(text))}", text.encode(), encoded)


def numbers(wire: Wire, flight: Flight) -> list[int]:
    wire.wait(flight)
    return [row[0] for result in flight.results for row in wire.rows(result, tuple)]


def land(line: Wire, flight: Flight) -> None:
    """Land it without the wait of the wire itself."""

    def landed() -> bool:
        wire.wait_for([line.interest()], 0.1)
        line.pump()
        return flight.landed

    wait_until(landed)


def test_exchanges_in_line_are_answered_each_for_itself(line: Wire) -> None:
    one = line.start([ask("select 1"), ask("select $1::int", "2")])
    two = line.start([ask("select $1::int", "3")])
    three = line.start([ask("select generate_series(1, 3)")])
    assert numbers(line, three) == [1, 2, 3]
    assert one.landed
    assert two.landed
    assert numbers(line, one) == [1, 2]
    assert numbers(line, two) == [3]


def test_an_exchange_is_one_transaction(line: Wire, other: Connection) -> None:
    other.execute("create table notes (id int)")
    insert = ask("insert into notes values ($1::int)", "1")
    failed = line.start([insert, ask("select 1 / $1::int", "0"), insert])
    after = line.start([insert])
    line.wait(after)
    with pytest.raises(psycopg.errors.DivisionByZero):
        line.wait(failed)
    assert other.execute("select count(*) from notes").fetchone() == (1,)


def test_one_that_fails_leaves_those_around_it_alone(line: Wire) -> None:
    one = line.start([ask("select 1")])
    bad = line.start([ask("select $1::int", "no number")])
    two = line.start([ask("select $1::int", "2")])
    assert numbers(line, one) == [1]
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        line.wait(bad)
    assert numbers(line, two) == [2]
    assert numbers(line, line.start([ask("select $1::int", "3")])) == [3]


def test_nulls_and_more_than_a_socket_holds_pass(line: Wire) -> None:
    text = "x" * 20_000_000
    flight = line.start([ask("select length($1), $2::int is null", text, None)])
    second = line.start([ask("select $1", text)])
    line.wait(second)
    assert line.rows(flight.results[0], tuple) == [(len(text), True)]
    assert line.rows(second.results[0], tuple) == [(text,)]


def test_the_connection_is_free_between_two_exchanges(line: Wire) -> None:
    for number in range(3):
        assert numbers(line, line.start([ask("select $1::int", str(number))])) == [number]
        assert line.connection.execute("select %s", [number]).fetchone() == (number,)
        with line.connection.transaction():
            line.connection.execute("create temporary table if not exists here ()")


def test_statements_that_are_gone_are_prepared_again(line: Wire) -> None:
    statement = ask("select $1::int", "1")
    assert numbers(line, line.start([statement])) == [1]
    line.connection.execute("deallocate all")
    if line.connection.prepare_threshold is not None:
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            line.wait(line.start([statement]))
    assert numbers(line, line.start([statement])) == [1]


def test_a_lost_connection_ends_what_is_in_line(line: Wire, other: Connection) -> None:
    sleeping = line.start([ask("select 1 from pg_sleep(60)")])
    waiting = line.start([ask("select 1")])
    other.execute("select pg_terminate_backend(%s)", [line.connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        line.wait(sleeping)
    with pytest.raises(psycopg.OperationalError):
        line.wait(waiting)
    assert line.connection.closed
    with pytest.raises(psycopg.OperationalError):
        line.start([ask("select 1")])


def test_an_exchange_that_could_not_be_sent_whole_closes_the_connection(line: Wire) -> None:
    line.connection.close()
    with pytest.raises(psycopg.OperationalError):
        line.start([ask("select 1")])


def test_no_answer_in_time_gives_the_connection_up(own: Connection) -> None:
    impatient = Wire(own, 0.1)
    with pytest.raises(psycopg.OperationalError, match=r"no answer for 0\.1 s"):
        impatient.wait(impatient.start([ask("select 1 from pg_sleep(60)")]))
    assert own.closed


def test_pumping_takes_what_is_there_and_waits_for_nothing(line: Wire, other: Connection) -> None:
    with other.transaction():
        other.execute("select pg_advisory_xact_lock(1)")
        flight = line.start([ask("select 1 from pg_advisory_xact_lock(1)")])
        line.pump()
        assert not flight.landed
    land(line, flight)
    assert numbers(line, flight) == [1]
