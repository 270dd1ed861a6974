from __future__ import annotations

import os

import pytest
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from pgqueue import ConfigError
from pgqueue.contrib.flask import PgQueueFlask, flask_queue

VARIABLES = ("PGQUEUE_APP", "PGQUEUE_DATABASE_URL", "DATABASE_URL", "FLASK_APP")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
        monkeypatch.delenv(name)


@pytest.fixture
def flask_app(dsn: str) -> Flask:
    app = Flask(__name__)
    app.config["PGQUEUE_DATABASE_URL"] = dsn
    PgQueueFlask(app)
    return app


def test_the_command_line_works_on_the_database_of_the_application(flask_app: Flask) -> None:
    run = flask_app.test_cli_runner().invoke
    done = run(args=["pgqueue", "enqueue", "greet", "--args", '{"name": "you"}', "--json"])
    assert (done.exit_code, '"created": true' in done.output) == (0, True)
    listed = run(args=["pgqueue", "jobs", "list"])
    assert listed.output.split("\t")[1:4] == ["ready", "default", "greet"]
    assert run(args=["pgqueue", "jobs", "show", "99"]).exit_code == 5
    assert run(args=["pgqueue", "--nonsense"]).exit_code == 2
    assert "--concurrency" in run(args=["pgqueue", "worker", "--help"]).output


def test_worker_processes_are_told_which_application_to_import(flask_app: Flask, dsn: str) -> None:
    info = ScriptInfo(app_import_path="shop:create_app('dev')")
    info._loaded_app = flask_app
    flask_app.test_cli_runner().invoke(args=["pgqueue", "--version"], obj=info)
    told = [os.environ.get(name) for name in VARIABLES]
    assert told == ["pgqueue.contrib.flask:flask_queue", dsn, None, "shop:create_app('dev')"]


def test_an_application_that_flask_finds_by_its_file_is_found_by_worker_processes_too(
    flask_app: Flask,
) -> None:
    info = ScriptInfo()
    info._loaded_app = flask_app
    flask_app.test_cli_runner().invoke(args=["pgqueue", "--version"], obj=info)
    assert os.environ.get("PGQUEUE_APP") == "pgqueue.contrib.flask:flask_queue"
    assert "FLASK_APP" not in os.environ


def test_an_application_that_no_process_could_import_must_be_named(flask_app: Flask) -> None:
    program = FlaskGroup(create_app=lambda: flask_app)
    done = flask_app.test_cli_runner().invoke(program, ["pgqueue", "worker"])
    assert done.exit_code == 2
    assert "no app is named" in done.stderr


def test_the_queue_is_that_of_the_current_application(flask_app: Flask) -> None:
    with flask_app.app_context():
        assert flask_queue() is flask_app.extensions["pgqueue"]
    with Flask("empty").app_context(), pytest.raises(ConfigError, match="init_app"):
        flask_queue()
