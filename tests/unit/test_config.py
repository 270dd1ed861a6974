"""Settings, where the database is found, and passwords that must not be shown."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import assume, given, strategies as st
from psycopg import conninfo

from pgqueue.config import Settings, mask_dsn, normalize_dsn, resolve_dsn
from pgqueue.connections import parameters
from pgqueue.errors import ConfigError

NUMBERS = [
    field.name
    for field in dataclasses.fields(Settings)
    if isinstance(field.default, int | float) and not isinstance(field.default, bool)
]
WHOLE = ["max_payload", "max_result", "pool_size", "concurrency", "threads", "crash_cap"]
WHOLE += ["children", "max_rss"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "3", None, True, 10**12])
def test_a_setting_that_cannot_work_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}=.*: expected a (whole )?number from"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_counted_is_a_whole_number(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}=2.5: expected a whole number from 1 to"):
        Settings(**{name: cast("Any", 2.5)})


def test_an_event_loop_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^loop='gevent': expected one of 'auto', 'asyncio'"):
        Settings(loop=cast("Any", "gevent"))


def test_a_time_to_live_must_outlast_two_lost_beats() -> None:
    with pytest.raises(ConfigError, match="set ttl to at least 15"):
        Settings(heartbeat=5)
    assert Settings(heartbeat=5, ttl=15).ttl == 15


NAMES = ("PGQUEUE_DATABASE_URL", "DATABASE_URL", "PGHOST")
ALL = dict(zip(NAMES, ("postgresql://own/a", "postgresql://common/b", "libpq"), strict=True))


@pytest.mark.parametrize(
    ("explicit", "environ", "found"),
    [
        ("postgresql://given/c", ALL, "postgresql://given/c"),
        (None, ALL, "postgresql://own/a"),
        (None, {**ALL, NAMES[0]: ""}, "postgresql://common/b"),
        ("  ", {**ALL, NAMES[0]: "   "}, "postgresql://common/b"),
        (None, {"PGHOST": "libpq"}, ""),
        (None, {"PGSERVICE": "mine"}, ""),
        ("host=h dbname=d", {}, "host=h dbname=d"),
    ],
)
def test_the_nearest_word_about_the_database_wins(
    explicit: str | None, environ: dict[str, str], found: str
) -> None:
    assert resolve_dsn(explicit, environ) == found


def test_without_any_word_about_the_database_it_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"pass --dsn .* PGQUEUE_DATABASE_URL, DATABASE_URL"):
        resolve_dsn(None, {"PATH": "/bin"})


@pytest.mark.parametrize(
    "given_dsn",
    [
        "postgres://h/d",
        "POSTGRESQL://h/d",
        "postgresql+psycopg://h/d",
        "postgresql+asyncpg://h/d",
        " postgresql://h/d\n",
    ],
)
def test_every_way_to_write_the_scheme_becomes_libpqs(given_dsn: str) -> None:
    assert normalize_dsn(given_dsn) == "postgresql://h/d"


def test_a_keyword_dsn_may_hold_a_url() -> None:
    assert normalize_dsn("dbname=postgresql://h/d") == "dbname=postgresql://h/d"


def test_another_database_is_refused_and_its_password_not_shown() -> None:
    with pytest.raises(ConfigError, match="is not a PostgreSQL DSN") as refused:
        resolve_dsn("mysql://root:hush@h/d", {})
    assert "hush" not in str(refused.value)


SECRET = "hush"
SHOWN = [
    "postgresql://u:hush@h/d",
    "postgresql://u:x@hush@h/d",
    "postgresql://u:x:hush@h/d",
    "postgresql://u:x/hush@h/d",
    "postgresql://u:x?hush@h/d",
    "postgresql://u:x#hush@h/d",
    "postgresql://u:x@y/hush@h/d",
    "postgresql://u:x hush@h/d",
    "postgresql://u%40v:hush@[::1]:5432,h2:5433/d",
    "postgresql://:hush@/d",
    "postgresql+psycopg://u:hush@h/d",
    "postgresql://h/d?user=u&password=hush",
    "postgresql://h/d?password=hush&user=u",
    "postgresql://u:hush@h/d?sslpassword=hush",
    "host=h password=hush dbname=d",
    "host=h password = hush dbname=d",
    "host=h PASSWORD=hush",
    "host=h password='x hush' dbname=d",
    r"host=h password='x\' hush' dbname=d",
    r"host=h password=x\ hush dbname=d",
    r"host=h password=\'hush dbname=d",
    "host=h password='x hush dbname=d",
    "host=h password=x&hush dbname=d",
    "host=h password=x y hush dbname = d",
    "host=h password=x hush",
    "sslpassword=hush host=h",
    'connection to "postgresql://u:hush@h/d" failed',
]


@pytest.mark.parametrize("text", SHOWN)
def test_no_part_of_a_password_is_shown(text: str) -> None:
    masked = mask_dsn(text)
    assert SECRET not in masked
    assert "***" in masked


@pytest.mark.parametrize("text", SHOWN)
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask_dsn(mask_dsn(text)) == mask_dsn(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@h:5432/d?sslmode=require",
        "postgresql:///d?host=/var/run/postgresql&port=5433",
        "host=h port=5432 dbname=d passfile=/home/u/.pgpass",
        "connection refused: is the server running on host h and accepting connections?",
    ],
)
def test_what_holds_no_password_is_shown_as_it_is(text: str) -> None:
    assert mask_dsn(text) == text


def test_the_host_stays_readable() -> None:
    assert mask_dsn("postgresql://u:p%40ss@h:5432/d") == "postgresql://u:***@h:5432/d"
    assert mask_dsn("host=h password=x dbname=d") == "host=h password=*** dbname=d"


passwords = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=4, max_size=20
)


@given(passwords)
def test_a_password_in_keyword_form_is_never_shown(password: str) -> None:
    dsn = conninfo.make_conninfo(host="h", password=password, dbname="d")
    assume(password.strip() and password not in "host=h password=*** dbname=d")
    assert password not in mask_dsn(dsn)


@given(passwords)
def test_a_password_in_a_url_is_never_shown(password: str) -> None:
    written = quote(password, safe="")
    dsn = f"postgresql://u:{written}@host:5432/base"
    assert mask_dsn(dsn) == "postgresql://u:***@host:5432/base"


@given(passwords)
def test_a_password_that_somebody_forgot_to_escape_is_never_shown(password: str) -> None:
    assume(password.strip() and password not in "postgresql://u:***@host/base")
    assert password not in mask_dsn(f"postgresql://u:{password}@host/base")


@pytest.mark.parametrize("dsn", ["host=h password=my hush dbname=d", "postgresql://u:hush%zz@h/d"])
def test_a_dsn_that_cannot_be_read_is_refused_without_its_password(dsn: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        parameters(dsn, Settings(), "test")
    assert "hush" not in str(refused.value)
    assert str(refused.value).isprintable()


def test_an_option_that_libpq_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match='invalid connection option "frob"'):
        parameters("host=h frob=1", Settings(), "test")


def test_libpq_reads_what_was_masked_as_passwords() -> None:
    """The table above holds DSNs that libpq takes, and some that people write all the same."""
    read = 0
    for text in SHOWN:
        try:
            options = conninfo.conninfo_to_dict(normalize_dsn(text))
        except (psycopg.Error, ConfigError):
            continue
        read += any(SECRET in str(options.get(name)) for name in ("password", "sslpassword"))
    assert read > 10
