"""The example shop, run as its README says, and visited over HTTP."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, build_opener

import psycopg
import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOP = Path(__file__).parents[3] / "examples" / "django"


def manage(dsn: str, *arguments: str, folder: Path = SHOP, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": dsn, "PYTHONUNBUFFERED": "1"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.Popen(
        [sys.executable, str(folder / "manage.py"), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def stop(process: subprocess.Popen[str]) -> int:
    process.terminate()
    process.communicate(timeout=20)
    return process.returncode


@pytest.fixture
def shop(empty_dsn: str, tmp_path: Path) -> Iterator[str]:
    """The migrated shop behind a server on loopback; its address. A folder that is not its own."""
    migrated = manage(empty_dsn, "migrate", "--verbosity", "0")
    assert migrated.wait(60) == 0, migrated.stdout and migrated.stdout.read()
    migrated.communicate()
    server = manage(empty_dsn, "runserver", "127.0.0.1:0", "--noreload", cwd=tmp_path)
    assert server.stdout is not None
    said = ""
    while (line := server.stdout.readline()) and not said:
        said = "".join(re.findall(r"http://127\.0\.0\.1:\d+", line))
    yield said
    server.kill()
    server.communicate()


def test_a_worker_with_reload_starts_anew_when_a_file_changes(
    empty_dsn: str, tmp_path: Path
) -> None:
    copy = tmp_path / "shop"
    shutil.copytree(SHOP, copy, ignore=shutil.ignore_patterns("__pycache__"))
    migrated = manage(empty_dsn, "migrate", "pgqueue", "--verbosity", "0", folder=copy)
    assert migrated.wait(60) == 0
    migrated.communicate()
    worker = manage(empty_dsn, "pgqueue", "worker", "--reload", folder=copy)
    try:
        with psycopg.connect(empty_dsn, autocommit=True) as connection:

            def workers() -> list[int]:
                rows = connection.execute("select id from pgqueue.workers").fetchall()
                return [row[0] for row in rows]

            [first] = wait_until(workers, 20, "the worker is registered")
            os.utime(copy / "orders" / "tasks.py", (1, 1))
            wait_until(lambda: workers() not in ([], [first]), 20, "a new one is registered")
    finally:
        code = stop(worker)
    assert code == 0


def open_page(client: OpenerDirector, address: str, **form: str) -> str:
    data = urlencode(form).encode() if form else None
    with client.open(address, data, timeout=10) as page:
        text: str = page.read().decode()
        return text


def test_a_visitor_orders_and_sees_the_receipt(shop: str, empty_dsn: str, tmp_path: Path) -> None:
    client = build_opener(HTTPCookieProcessor(CookieJar()), ProxyHandler({}))
    form = open_page(client, f"{shop}/")
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)

    with pytest.raises(HTTPError) as raised:
        open_page(client, f"{shop}/", csrfmiddlewaretoken=token, item="unicorn")
    assert raised.value.code == 500
    assert "out of unicorns" in raised.value.read().decode()
    raised.value.close()
    with psycopg.connect(empty_dsn) as connection:
        for table in ("orders_order", "pgqueue.jobs"):
            counted = connection.execute(f"select count(*) from {table}".encode()).fetchone()
            assert counted == (0,), table

    page = open_page(client, f"{shop}/", csrfmiddlewaretoken=token, item="tea")
    assert '<p id="status">READY</p>' in page
    [order] = re.findall(r"<h1>order (\d+): tea</h1>", page)
    worker = manage(empty_dsn, "pgqueue", "worker", "--poll-interval", "0.2", cwd=tmp_path)
    try:
        page = wait_until(
            lambda: next(
                (
                    page
                    for page in [open_page(client, f"{shop}/orders/{order}/")]
                    if "SUCCESSFUL" in page
                ),
                "",
            ),
            20,
            "the receipt is written",
        )
    finally:
        code = stop(worker)
    assert f"1 x tea: thank you for order {order}" in page
    assert code == 0
