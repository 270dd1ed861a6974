"""Encrypted arguments and results: the envelope in the table, and who opens it.

What is stored is `{"$pgqueue": {"codec": ..., "kid": ..., "data": ...}}`, still JSON. A codec is
asked with the context of the text, "args of shop.charge": what was written as one thing must not be
read as another.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from pgqueue.errors import InvalidPayload, KeyMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMBER: Final = "$pgqueue"
"""The one member of an envelope."""


class Codec(Protocol):
    """Encrypts the JSON text of arguments and results; safe from many threads.

    Attributes:
        name: kept with what it wrote; another codec does not open that.
    """

    name: str

    def encode(self, text: str, context: str) -> dict[str, str]:
        """Encrypt a text.

        Returns:
            JSON data that `decode` understands; `kid` is the id of the key that was used.
        """

    def decode(self, sealed: Mapping[str, Any], context: str) -> str:
        """The text again.

        Raises:
            KeyMissing: this process does not have the key; another one may.
            InvalidPayload: it was not written by this codec, in this context, with this key.
        """


def seal(codec: Codec, text: str, context: str) -> str:
    """The envelope around a text, as JSON text."""
    sealed = {"codec": codec.name, **codec.encode(text, context)}
    return json.dumps({MEMBER: sealed}, separators=(",", ":"))


def is_sealed(value: Any) -> bool:
    """Whether decoded JSON data is an envelope."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(MEMBER), dict)


def opened(codec: Codec | None, value: Any, context: str) -> str:
    """The text inside of an envelope.

    Raises:
        KeyMissing: there is no codec, another one wrote it, or it does not have the key.
        InvalidPayload: see `Codec.decode`.
    """
    sealed = value[MEMBER]
    name, kid = sealed.get("codec"), sealed.get("kid")
    if codec is None or codec.name != name:
        has = "no codec" if codec is None else f"the codec {codec.name!r}"
        raise KeyMissing(
            f"{context}: encrypted by {name!r} with the key {kid!r}, and this process has {has}: "
            "give it the key, PgQueue(codec=...)"
        )
    try:
        return codec.decode(sealed, context)
    except (KeyMissing, InvalidPayload):
        raise
    except Exception as error:  # noqa: BLE001 - a codec is the user's code
        raise InvalidPayload(
            f"{context}: the codec {name!r} raised {type(error).__name__}: {error}"
        ) from None


def describe(value: Any) -> str:
    """An envelope in words: which codec and key, and not its data."""
    sealed = value[MEMBER]
    return f"encrypted by {sealed.get('codec')} with the key {sealed.get('kid')}"
