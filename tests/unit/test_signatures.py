"""Annotations that cannot be read where a task or a hook is registered.

Python 3.14 reads an annotation when somebody asks for it, so a name that is imported for the type
checker alone needs no quotes there, and no `from __future__ import annotations`.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError


def quoted(name: str) -> str:
    return name if sys.version_info >= (3, 14) else repr(name)


def function(parameters: str, result: str = "None") -> Any:
    """A function as a module of a user has it, without the import of this one."""
    names: dict[str, Any] = {"__name__": "shop"}
    source = f"def work({parameters}) -> {result}: ..."
    exec(compile(source, "shop.py", "exec", dont_inherit=True), names)
    return names["work"]


@pytest.mark.parametrize(
    ("parameters", "result"),
    [(f"x: {quoted('Order')}", "None"), ("x: int", quoted("Order"))],
)
def test_a_task_is_told_which_name_cannot_be_read(parameters: str, result: str) -> None:
    with pytest.raises(ConfigError, match=r"is annotated 'Order', .* not under TYPE_CHECKING"):
        PgQueue("host=nowhere").task(function(parameters, result))


@pytest.mark.parametrize("name", ["JobContext", "pgqueue.JobContext"])
def test_the_context_may_be_imported_for_the_type_checker_alone(name: str) -> None:
    task = PgQueue("host=nowhere").task(function(f"context: {quoted(name)}, x: int"))
    assert task.job(x=1).args == {"x": 1}


def test_a_hook_and_a_middleware_may_name_what_only_the_type_checker_knows() -> None:
    app = PgQueue("host=nowhere")
    app.on_dead(function(f"event: {quoted('Ended')}"))
    app.middleware(function(f"context: {quoted('Context')}, call: {quoted('Call')}"))
