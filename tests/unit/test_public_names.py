"""What `import pgqueue` offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pgqueue
from pgqueue import errors


def test_every_public_name_can_be_imported() -> None:
    for name in pgqueue.__all__:
        assert getattr(pgqueue, name) is not None, name


def test_the_public_names_are_sorted_and_shown() -> None:
    assert pgqueue.__all__ == sorted(pgqueue.__all__)
    assert dir(pgqueue) == pgqueue.__all__


def test_the_names_for_type_checkers_are_the_public_names() -> None:
    stub = Path(pgqueue.__file__).read_text("utf-8")
    block = stub.partition("if TYPE_CHECKING:")[2].partition("__all__")[0]
    declared = {
        name.strip()
        for line in block.replace("(\n", "").splitlines()
        for name in line.rpartition(" import ")[2].split(",")
        if name.strip(" )")
    }
    assert declared | {"__version__"} == set(pgqueue.__all__)


def test_every_error_that_a_caller_may_meet_is_public() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert raised - set(pgqueue.__all__) == {"ControlFlow"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'enqeue'"):
        _ = pgqueue.enqeue


def test_importing_the_package_loads_no_driver() -> None:
    code = "import sys, pgqueue; pgqueue.Retry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"psycopg", "sqlalchemy", "typer"} & set(done.stdout.split())
