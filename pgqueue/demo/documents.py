"""The demo's input: the files of a folder, and what is to become of each."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from pgqueue.demo.app import Fate

LARGEST: Final = 900_000
"""Bytes; larger files are passed over."""
FEWEST: Final = 20
"""With fewer documents there is nothing to kill a worker over."""
DEFAULT_LIMIT: Final = 2000

SHARES: Final[dict[Fate, float]] = {
    "slow": 0.05,
    "fails once": 0.05,
    "fails always": 0.02,
    "rolls back": 0.05,
}
"""All others are plain."""

_INSTALLED: Final = ("site-packages", "dist-packages")


def find(folder: Path | None) -> list[Path]:
    """The text files below a folder, in order; by default the Python sources of this Python.

    Hidden files and folders, links, and files above LARGEST are passed over.

    Raises:
        ConfigError: it is not a folder, or holds too few files.
    """
    root = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    if not root.is_dir():
        raise ConfigError(f"{str(root)!r} is not a folder: pass one that holds text files")
    found = sorted(_walk(root, ".py" if folder is None else ""))
    if len(found) < FEWEST:
        raise ConfigError(
            f"{str(root)!r} holds {len(found)} files of at most {LARGEST:,} bytes, and the demo "
            f"needs {FEWEST}: pass another folder"
        )
    return found


def _walk(root: Path, suffix: str) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and name not in _INSTALLED
        ]
        for name in names:
            path = Path(folder, name)
            if name.endswith(suffix) and not name.startswith(".") and _fits(path):
                yield path


def _fits(path: Path) -> bool:
    return (
        path.is_file()
        and not path.is_symlink()
        and path.stat().st_size <= LARGEST
        and os.access(path, os.R_OK)
    )


def choose(paths: list[Path], limit: int, dice: random.Random) -> list[tuple[Path, Fate]]:
    """At most `limit` of the files, in a random order, each with its fate.

    Every fate is given out at least once.
    """
    chosen = dice.sample(paths, min(limit, len(paths)))
    fates: list[Fate] = []
    for fate, share in SHARES.items():
        fates += [fate] * max(round(share * len(chosen)), 1)
    fates += ["plain"] * (len(chosen) - len(fates))
    dice.shuffle(fates)
    return list(zip(chosen, fates, strict=True))


def read(path: Path) -> str:
    """A file as text that PostgreSQL can hold: bad bytes replaced, NUL removed."""
    return path.read_bytes().decode("utf-8", "replace").replace("\0", "")
