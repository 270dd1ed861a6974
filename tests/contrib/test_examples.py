"""The example applications, run as their pages say: a real server, a real worker, a real client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.contrib.serving import client_of, environ_of, listening, program
from tests.waiting import wait_until

if TYPE_CHECKING:
    import httpx
    import psycopg

EXAMPLES = Path(__file__).parents[2] / "examples"


def jobs(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    query = "select task, state from pgqueue.jobs order by id"
    return [(task, state) for task, state in connection.execute(query)]


def shows(client: httpx.Client, path: str, text: str) -> bool:
    page = client.get(path)
    assert page.status_code == 200
    return text in page.text


def test_the_shop_writes_order_and_job_in_one_commit_and_shows_the_receipt(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    folder, named = EXAMPLES / "fastapi", {"DATABASE_URL": dsn}
    with listening() as sock:
        fd = sock.fileno()
        server = "uvicorn", "shop:api", "--fd", str(fd)
        with (
            program(*server, cwd=folder, environ=named, fds=(fd,)),
            program("pgqueue", "worker", "-A", "shop:queue", cwd=folder, environ=named),
            client_of(sock) as client,
        ):
            assert shows(client, "/", "cup (2 left)")
            refused = client.post("/orders", data={"item": "cup", "quantity": 5})
            assert refused.status_code == 409
            assert connection.execute("select count(*) from orders").fetchone() == (0,)
            assert jobs(connection) == []

            taken = client.post("/orders", data={"item": "cup", "quantity": 2})
            assert taken.status_code == 303
            page = taken.headers["location"]
            wait_until(lambda: shows(client, page, "2 of cup, job "), 20, "the receipt")
            assert shows(client, "/", "cup (0 left)")
    assert jobs(connection) == [("shop.write_receipt", "succeeded")]


def test_the_shop_can_run_with_its_worker_inside(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    named = {"DATABASE_URL": dsn, "WORKER": "inside"}
    with listening() as sock:
        fd = sock.fileno()
        server = "uvicorn", "shop:api", "--fd", str(fd)
        with (
            program(*server, cwd=EXAMPLES / "fastapi", environ=named, fds=(fd,)) as running,
            client_of(sock) as client,
        ):
            page = client.post("/orders", data={"item": "tea", "quantity": 1}).headers["location"]
            wait_until(lambda: shows(client, page, "1 of tea, job "), 20, "the receipt")
            running.terminate()
            assert "shutdown complete" in running.said()
    assert connection.execute("select count(*) from pgqueue.workers").fetchone() == (0,)


def flask(*words: str, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "signup", *words],
        cwd=EXAMPLES / "flask",
        env=environ_of(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sign_up(client: httpx.Client, email: str) -> None:
    done = client.post("/", data={"email": email, "code": "friends"})
    assert done.status_code == 303
    letter, page = f"Dear {email}, welcome to the club.", done.headers["location"]
    wait_until(lambda: shows(client, page, letter), 20, "the letter")


def test_signing_up_writes_user_and_job_in_one_commit_and_shows_the_letter(empty_dsn: str) -> None:
    folder = EXAMPLES / "flask"
    named = {
        "SQLALCHEMY_DATABASE_URI": empty_dsn.replace("postgresql:", "postgresql+psycopg:"),
    }
    assert "migrated from nothing" in flask("pgqueue", "migrate", environ=named)
    flask("init-db", environ=named)
    with listening() as sock:
        fd = sock.fileno()
        server = "gunicorn", "signup:create_app()", "--bind", f"fd://{fd}"
        worker = "flask", "--app", "signup", "pgqueue", "worker", "--poll-interval", "0.2"
        with (
            program(*server, cwd=folder, environ=named, fds=(fd,)),
            program(*worker, cwd=folder, environ=named) as working,
            client_of(sock) as client,
        ):
            sign_up(client, "ann@example.org")
            sign_up(client, "ben@example.org")
            for email in ("cid@example.org", "ann@example.org"):
                refused = client.post("/", data={"email": email, "code": "friends"})
                assert refused.status_code == 409
            assert client.get("/users/3").status_code == 404
            assert working.terminate() == 0
    listed = flask("pgqueue", "jobs", "list", environ=named).splitlines()
    assert [line.split("\t")[1:4] for line in listed] == [
        ["succeeded", "default", "signup.write_letter"]
    ] * 2
