"""Which arguments are never shown: not in lists, not in views, not in error messages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

HIDDEN: Final = "***"
"""What stands for a hidden value."""

MARK: Final = "$pgqueue"
"""The member of a job's `meta` that is pgqueue's own: handlers and views do not see it."""


class Redaction:
    """Names of arguments to hide.

    A name without a dot hides every member of that name, at any depth. One with dots is a path
    from the top: `card.number` hides that member alone; lists on the way are walked through.

    Args:
        names: the names; none of them hides nothing.

    Raises:
        ConfigError: not a collection of names.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self.names = tuple(sorted(_checked(names)))
        self._anywhere = frozenset(name for name in self.names if "." not in name)
        self._paths = tuple(tuple(name.split(".")) for name in self.names if "." in name)

    def __bool__(self) -> bool:
        return bool(self.names)

    def covers(self, steps: Sequence[str | int]) -> bool:
        """Whether what these steps lead to is hidden, or part of something hidden."""
        names = tuple(step for step in steps if isinstance(step, str))
        if not self._anywhere.isdisjoint(names):
            return True
        return any(names[: len(path)] == path for path in self._paths)

    def hide(self, value: Any) -> Any:
        """A copy of JSON data in which every hidden member is `***`."""
        return self._hide(value, ()) if self else value

    def _hide(self, value: Any, steps: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [self._hide(item, steps) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: HIDDEN if self.covers((*steps, name)) else self._hide(item, (*steps, name))
            for name, item in value.items()
        }

    def mark(self) -> dict[str, Any]:
        """The members of `meta` that tell every reader of the table what to hide."""
        return {MARK: {"redact": list(self.names)}} if self else {}

    @classmethod
    def marked(cls, meta: Mapping[str, Any]) -> Redaction:
        """What the `meta` of a stored job says; anybody may have written it, so it never fails."""
        mark = meta.get(MARK)
        names = mark.get("redact") if isinstance(mark, dict) else None
        if not isinstance(names, list):
            return cls()
        return cls([name for name in names if _is_name(name)])


def _checked(names: Any) -> set[str]:
    if isinstance(names, str):
        raise ConfigError(f"redact={names!r} must be a set of names, such as {{{names!r}}}")
    try:
        found = set(names)
    except TypeError:
        raise ConfigError(f"redact={names!r} must be a set of names of arguments") from None
    for name in found:
        if not _is_name(name):
            raise ConfigError(f"redact: {name!r} is not the name of an argument, or a path of such")
    return found


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and all(name.split("."))
