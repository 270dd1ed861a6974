"""Databases in the states that migrations meet."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from pgqueue import ddl, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Databases

ODD = "100% at 10::30"
EXTRA = """
create table pgqueue.extra (id bigint);
comment on table pgqueue.extra is '100%, %s, %% and :name at 10:30';
"""


@pytest.fixture(scope="session")
def built_dsn(databases: Databases) -> Iterator[str]:
    """A database with what schema.py and ddl.py say, made without any migration."""
    with databases.fresh() as dsn:
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool
        )
        with engine.begin() as connection:
            ddl.create_all(connection)
        yield dsn


@pytest.fixture
def next_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations with one more, 0002, that makes a table `extra`; used by this test alone."""
    folder = tmp_path / "100% migrations"
    shutil.copytree(migrate.folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    made = command.revision(config, "An extra table", rev_id="0002")
    assert not isinstance(made, list)
    assert made is not None
    (folder / "versions" / "0002_extra.sql").write_text(EXTRA)
    path = folder / "versions" / "0002_an_extra_table.py"
    up = f'run("extra")\n    op.execute("comment on column pgqueue.extra.id is \'{ODD}\'")'
    down = 'op.execute("drop table pgqueue.extra")'
    text = path.read_text().replace("pass", up, 1)
    path.write_text(text.replace("pass", down, 1))
    monkeypatch.setattr(migrate, "folder", lambda: folder)
    return folder
