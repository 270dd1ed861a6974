"""What makes two errors the same one: a fingerprint of task, type, and where it was raised. Pure.

Line numbers, values and ids are not part of it, so that it outlives most releases, and so that
40,000 dead jobs are a handful of causes.
"""

from __future__ import annotations

import re
import sysconfig
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

LENGTH: Final = 16
"""Hexadecimal digits: among a million different errors two are alike once in 37 million times."""

_OURS: Final = str(Path(__file__).parent) + "/"
_STANDARD: Final = tuple(
    {f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")} | {"<frozen "}
)
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")
_LONGEST_MESSAGE: Final = 500

# What differs from one job to the next. Quotes inside of words are apostrophes.
_VARIABLE: Final = re.compile(
    r"""(?<!\w)(?P<quote>['"`]).*?(?P=quote)(?!\w)
    |\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    |\b0x[0-9a-f]+\b
    |\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b
    |\d+(?:[.,:]\d+)*""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def of_error(task: str, error_type: str, error: BaseException, message: str | None) -> str:
    """The fingerprint of what a handler raised.

    Args:
        task: the task's name.
        error_type: as it is recorded.
        error: with its traceback. Of a group of exceptions the first one counts too.
        message: as it is recorded; it counts only where no code of the user's raised the error.
    """
    leaf, kind = error, error_type
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
        kind += f" of {type(leaf).__qualname__}"
    home = task.partition(".")[0]
    place = _place(leaf, home) or _place(error, home) or pattern(message or "")
    return of(task, kind, place)


def of(task: str, what: str, place: str = "") -> str:
    """The fingerprint of these three; sql/rescue.sql and finish_unsuccessful.sql make the same."""
    text = f"{task}\n{what}\n{place}"
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:LENGTH]


def pattern(message: str) -> str:
    """A message without what differs from job to job: quoted text, numbers, UUIDs, hex."""
    return _VARIABLE.sub("#", message[:_LONGEST_MESSAGE])


def _place(error: BaseException, home: str) -> str:
    """Module and function of the innermost frame of the user's code; "" where there is none.

    The user's is what was not installed. An application may be installed too: then it is what is
    of the package that the task is named after (`home`), or of the outermost frame's package,
    which is the handler's, or that of middleware round it.
    """
    outermost, place = "", ""
    for frame in _frames(error):
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        outermost = outermost or package
        if package in (home, outermost) or not _is_installed(frame.f_code.co_filename):
            place = f"{module}:{frame.f_code.co_qualname}"
    return place


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames in which an error passed, outermost first, without ours and Python's own."""
    step = error.__traceback__
    while step is not None:
        if _is_foreign(step.tb_frame.f_code.co_filename):
            yield step.tb_frame
        step = step.tb_next


@lru_cache(maxsize=4096)
def _is_foreign(filename: str) -> bool:
    if filename.startswith(_OURS):
        return False
    return _is_installed(filename) or not filename.startswith(_STANDARD)


def _is_installed(filename: str) -> bool:
    return any(part in filename for part in _INSTALLED)
