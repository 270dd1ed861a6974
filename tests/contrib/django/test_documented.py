"""The page about Django names every option, setting and check, and its code is code."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from pgqueue.contrib.django import backend, checks, configuration, task

PAGE = (Path(__file__).parents[3] / "docs" / "django.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_option_setting_and_check_is_documented() -> None:
    sources = "".join(map(inspect.getsource, (backend, checks)))
    codes = {code.removeprefix("pgqueue.") for code in re.findall(r"pgqueue\.[EW]\d+", sources)}
    options = {*task.JOB_OPTIONS, *backend.OPTIONS, "transactional"}
    for name in (*codes, *options, *configuration.KEYS):
        assert re.search(rf"\b{name}\b", PAGE), name


@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_of_the_page_is_python(block: str) -> None:
    compile(block, "docs/django.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
