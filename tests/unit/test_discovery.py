"""Finding the app; each test imports modules of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pgqueue.discovery import load_app
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Load = Callable[..., str]

APP = "from pgqueue import PgQueue\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Write shop.py, load the app that a spec names; returns its full name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def load_source(source: str, spec: str | None = "shop", **environ: str) -> str:
        (tmp_path / "shop.py").write_text(source)
        return load_app(spec, cwd=tmp_path, environ=environ)[1]

    yield load_source
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("source", "spec", "name"),
    [
        ("app = PgQueue()", "shop:app", "shop:app"),
        ("jobs = PgQueue()", "shop:jobs", "shop:jobs"),
        ("app = PgQueue()", "shop", "shop:app"),
        ("jobs = PgQueue()", "shop", "shop:jobs"),
        ("jobs = same = PgQueue()", "shop", "shop:same"),
        ("app = PgQueue(); other = PgQueue()", "shop", "shop:app"),
        ("def make(): return PgQueue()", "shop:make", "shop:make"),
    ],
)
def test_an_app_is_found_by_its_name(load: Load, source: str, spec: str, name: str) -> None:
    assert load(APP + source, spec) == name


@pytest.mark.parametrize(
    ("source", "spec", "words"),
    [
        ("", "nosuch:app", "there is no module 'nosuch' in "),
        ("", "shop.nosuch:app", "there is no module 'shop.nosuch'|importing"),
        ("import nosuch_dependency", "shop", "(?s)importing 'shop' failed.*nosuch_dependency"),
        ("\n1 / 0", "shop", r"(?s)importing 'shop' failed.*shop\.py\", line 3.*ZeroDivisionError"),
        ("def f(:", "shop", r"(?s)importing 'shop' failed.*shop\.py.*SyntaxError"),
        ("raise SystemExit(3)", "shop", "(?s)importing 'shop' failed.*SystemExit: 3"),
        ("application = PgQueue()", "shop:aplication", "did you mean shop:application"),
        ("x = 1", "shop", "module 'shop' has no attribute 'app'"),
        ("queue = PgQueue()\nquery = 1", "shop:quer", "did you mean shop:queue"),
        (
            "app = PgQueue()\n@app.task(name='work')\ndef work(n: int): ...",
            "shop:work",
            "shop:work is a task, not an app",
        ),
        ("x = 1", "shop:x", "shop:x is a int, not a PgQueue"),
        ("def make(): return 1", "shop:make", "shop:make is a int, not a PgQueue"),
        ("def make(): return 1 / 0", "shop:make", r"(?s)shop:make\(\) failed.*ZeroDivisionError"),
        ("a = PgQueue(); b = PgQueue()", "shop", "several apps; name one: shop:a, shop:b"),
        ("", "shop.py", "write it as package.module:attribute"),
        ("", "./shop:app", "write it as package.module:attribute"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(load: Load, source: str, spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(APP + source, spec)


def test_the_user_s_own_error_is_shown_without_frames_of_ours(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("1 / 0")
    assert "discovery.py" not in str(caught.value)
    assert "importlib" not in str(caught.value)


def test_the_environment_comes_before_the_project_s_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.pgqueue]\napp = "shop:one"')
    source = APP + "one = PgQueue(); two = PgQueue(); three = PgQueue()"
    assert load(source, None) == "shop:one"
    assert load(source, None, PGQUEUE_APP="shop:two") == "shop:two"
    assert load(source, "shop:three", PGQUEUE_APP="shop:two") == "shop:three"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no app is named: pass -A"),
        ("[tool.other]", "no app is named: pass -A"),
        ("[tool.pgqueue]\napp = 3", "app = 3; expected"),
        ("[tool]\npgqueue = 3", r"pgqueue = 3; expected a table \[tool.pgqueue\]"),
        ("[tool", "cannot be read"),
    ],
)
def test_without_a_name_it_says_where_to_put_one(
    load: Load, tmp_path: Path, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(APP, None)


def test_the_working_folder_comes_first(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "shop.py").write_text("raise RuntimeError('the wrong shop')")
    monkeypatch.syspath_prepend(other)
    assert load(APP + "app = PgQueue()") == "shop:app"
