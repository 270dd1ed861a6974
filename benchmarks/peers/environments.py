"""The peers' environments: one for each, made once, kept in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = ROOT / ".pgqueue" / "peers"
NEWEST: Final = 14
"""Of the Python 3.x that are looked for; what is newer is found as `python3`."""

ASK: Final = "import sys; print(*sys.version_info[:2])"
VERSIONS: Final = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))"""


class NotRunError(Exception):
    """A peer that cannot be measured here; the message is the reason in the table."""


class Environments:
    """Makes virtual environments, and finds those made before.

    Args:
        folder: where they are kept; nothing else should be in it.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def python(self, needs: tuple[str, ...], minimum: tuple[int, int]) -> Path:
        """The interpreter of an environment with these packages.

        Without packages: the one that runs this program.

        Raises:
            NotRunError: no Python is new enough, or pip could not install them.
        """
        if not needs:
            return Path(sys.executable)
        base = interpreter(minimum)
        place = self._folder / f"{name_of(needs[0])}-{digest(needs, base)}"
        python = place / "bin" / "python"
        if not (place / "complete").exists():
            make(place, base, needs)
        return python


def make(place: Path, base: Path, needs: tuple[str, ...]) -> None:
    """Make an environment from nothing; it counts only when all of it is there."""
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for command in (
        [str(base), "-m", "venv", str(place)],
        [*pip, "--disable-pip-version-check", "--prefer-binary", *needs],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = (said or done.stderr.splitlines() or ["no message"])[-1]
            raise NotRunError(f"{' '.join(needs)} could not be installed: {reason}")
    (place / "complete").touch()


def versions(python: Path, needs: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of the packages that an environment was made of."""
    done = subprocess.run(
        [python, "-c", VERSIONS, *map(name_of, needs)], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def interpreter(minimum: tuple[int, int]) -> Path:
    """A Python that is new enough: this one, else the oldest on PATH or under pyenv."""
    if sys.version_info[:2] >= minimum:
        return Path(sys.executable)
    for path in candidates(minimum):
        done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
        # A shim of pyenv answers only while its version is chosen.
        if done.returncode == 0 and tuple(map(int, done.stdout.split())) >= minimum:
            return path
    raise NotRunError(f"needs Python {minimum[0]}.{minimum[1]}: none on PATH or under pyenv")


def candidates(minimum: tuple[int, int]) -> list[Path]:
    """Where a Python may be, the oldest that would do first."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: list[Path] = []
    for minor in range(minimum[1], NEWEST + 1):
        name = f"python3.{minor}"
        if on_path := shutil.which(name):
            found.append(Path(on_path))
        found += sorted(root.glob(f"versions/3.{minor}.*/bin/{name}"))
    return [*found, *([Path(newest)] if (newest := shutil.which("python3")) else [])]


def name_of(need: str) -> str:
    """A package's name, without extras and bounds."""
    return re.split(r"[\[<>=!~]", need)[0]


def digest(needs: tuple[str, ...], base: Path) -> str:
    """Tells environments apart that were made of other packages, or by another Python."""
    return hashlib.sha256(repr((needs, str(base))).encode()).hexdigest()[:8]
