"""Idempotency keys: how one is made of a job's arguments, and the words of their options. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

from pgqueue.errors import InvalidName

if TYPE_CHECKING:
    from collections.abc import Mapping

Until = Literal["finished", "started"]
OnConflict = Literal["existing", "raise", "replace", "reschedule"]
Changed = Literal["replaced", "rescheduled"]

UNTIL: Final[tuple[Until, ...]] = ("finished", "started")
ON_CONFLICT: Final[tuple[OnConflict, ...]] = ("existing", "raise", "replace", "reschedule")

_PREFIX: Final = "args1:"
"""Names the form of the hash: a later form gets another, so that no key ever means two things."""


@dataclass(frozen=True, slots=True)
class FromArgs:
    """A key that is made of the job's arguments; see `from_args`."""

    names: tuple[str, ...] = ()

    def key(self, args: Mapping[str, Any]) -> str:
        """The key of a job with these arguments, as JSON has them.

        Raises:
            InvalidName: a name that is not among the arguments.
        """
        missing = [name for name in self.names if name not in args]
        if missing:
            raise InvalidName(
                f"key: from_args{self.names!r} is refused; {missing[0]!r} is not among the "
                f"arguments of this call ({', '.join(args) or 'it has none'}): pass it by name, "
                "a default of the function is not stored"
            )
        chosen = {name: args[name] for name in self.names} if self.names else args
        text = json.dumps(chosen, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return _PREFIX + sha256(text.encode()).hexdigest()


def from_args(*names: str) -> FromArgs:
    """A key made of the job's arguments: calls with equal arguments have the same key.

    The key is `args1:` and the SHA-256, in hexadecimal digits, of the arguments as JSON with sorted
    names, without spaces, in UTF-8. It does not depend on the order in which they were passed, nor
    on the version of Python or of pgqueue. Values are compared as JSON: 1, 1.0 and "1" differ, a
    tuple equals a list.

    Args:
        names: the arguments that make it up; none for all that the call passed.

    Raises:
        TypeError: a name that is not a string.
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"from_args() takes names of arguments, not {name!r}")
    return FromArgs(tuple(sorted(set(names))))
