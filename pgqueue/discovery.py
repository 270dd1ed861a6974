"""Find the application's app: -A module:attribute, PGQUEUE_APP, or [tool.pgqueue] app."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import tomllib
import traceback
from typing import TYPE_CHECKING, Any, Final

from pgqueue.app import PgQueue
from pgqueue.errors import ConfigError
from pgqueue.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

APP_VARIABLE: Final = "PGQUEUE_APP"
DEFAULT_ATTRIBUTE: Final = "app"


def load_app(
    spec: str | None, *, cwd: Path, environ: Mapping[str, str] = os.environ
) -> tuple[PgQueue, str]:
    """The app that `spec` names, and its full name `module:attribute`.

    Args:
        spec: `module:attribute`, where the attribute is a PgQueue or a function that makes one;
            `module` alone takes its `app`, or its only PgQueue. None asks the environment and
            the project's pyproject.toml.
        cwd: comes first on sys.path, as for `python -m`.
        environ: holds PGQUEUE_APP.

    Raises:
        ConfigError: nothing names an app, it cannot be imported, or it is something else.
    """
    spec = spec or environ.get(APP_VARIABLE) or _from_pyproject(cwd / "pyproject.toml")
    if not spec:
        raise ConfigError(
            "no app is named: pass -A module:attribute, set PGQUEUE_APP, or write "
            'app = "module:attribute" under [tool.pgqueue] in pyproject.toml'
        )
    module_name, _, attribute = spec.partition(":")
    parts = module_name.split(".")
    if parts[-1] == "py" or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{spec!r} does not name an app: write it as package.module:attribute")
    module = _import(module_name, cwd)
    attribute = attribute or _only_app(module)
    return _as_app(_attribute(module, attribute), f"{module_name}:{attribute}")


def _from_pyproject(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("pgqueue", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [tool] pgqueue = {table!r}; expected a table [tool.pgqueue]")
    spec = table.get("app")
    if spec is not None and not isinstance(spec, str):
        raise ConfigError(f'{path}: [tool.pgqueue] app = {spec!r}; expected "module:attribute"')
    return spec


def _import(name: str, cwd: Path) -> ModuleType:
    if sys.path[:1] != [str(cwd)]:
        sys.path.insert(0, str(cwd))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"there is no module {error.name!r} in {cwd} or sys.path") from None
        raise _broken(f"importing {name!r} failed", error) from error
    except (Exception, SystemExit) as error:
        raise _broken(f"importing {name!r} failed", error) from error


def _broken(what: str, error: BaseException) -> ConfigError:
    """The user's own error, with the part of the traceback that is the user's."""
    report = traceback.TracebackException.from_exception(error)
    hidden = ("<frozen importlib", __file__, importlib.__file__)
    frames = [frame for frame in report.stack if not frame.filename.startswith(hidden)]
    report.stack = traceback.StackSummary.from_list(frames)
    report.__context__ = None
    return ConfigError(f"{what}:\n{''.join(report.format()).rstrip()}")


def _only_app(module: ModuleType) -> str:
    apps = _apps(module)
    if len(apps) == 1 and not hasattr(module, DEFAULT_ATTRIBUTE):
        return apps[0]
    if len(apps) > 1 and not hasattr(module, DEFAULT_ATTRIBUTE):
        names = ", ".join(f"{module.__name__}:{name}" for name in apps)
        raise ConfigError(f"module {module.__name__!r} holds several apps; name one: {names}")
    return DEFAULT_ATTRIBUTE


def _apps(module: ModuleType) -> list[str]:
    """The names of the apps that a module holds, each once."""
    apps = {id(value): name for name, value in vars(module).items() if isinstance(value, PgQueue)}
    return list(apps.values())


def _attribute(module: ModuleType, attribute: str) -> Any:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    close = _apps(module) or difflib.get_close_matches(attribute, vars(module), n=1)
    advice = f"; did you mean {module.__name__}:{close[0]}?" if close else ""
    raise ConfigError(f"module {module.__name__!r} has no attribute {attribute!r}{advice}")


def _as_app(found: Any, name: str) -> tuple[PgQueue, str]:
    if isinstance(found, Task):
        raise ConfigError(f"{name} is a task, not an app: name the PgQueue that it belongs to")
    if not isinstance(found, PgQueue) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise _broken(f"{name}() failed", error) from error
    if not isinstance(found, PgQueue):
        raise ConfigError(f"{name} is a {type(found).__name__}, not a PgQueue")
    return found, name
