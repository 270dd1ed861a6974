"""A codec that encrypts with AES-256-GCM; needs the extra `[crypto]`."""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pgqueue.errors import ConfigError, InvalidPayload, KeyMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class AesGcmCodec:
    """Encrypts arguments and results with AES-256-GCM, and a new nonce for each.

    To rotate: give every process the new key beside the old one, then make it `current`; drop the
    old one when no job needs it any more. One key serves 2**32 texts: rotate before that.

    Args:
        keys: by key id, each as `generate_key` made it. The ids are stored with every job.
        current: the id of the key to encrypt with; needless where there is one key.

    Raises:
        ConfigError: no keys, one of a wrong length, or a current one that is not among them.
    """

    name = "aesgcm"

    def __init__(self, keys: Mapping[str, str], *, current: str | None = None) -> None:
        if current is None and len(keys) == 1:
            current = next(iter(keys))
        if current is None or current not in keys:
            raise ConfigError(
                f"current={current!r} is not the id of a key; there are {sorted(keys)!r}"
            )
        self._ciphers = {kid: AESGCM(_key(kid, text)) for kid, text in keys.items()}
        self._current = current

    @staticmethod
    def generate_key() -> str:
        """A new random key, as text for a secret store or an environment variable."""
        return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()

    def encode(self, text: str, context: str) -> dict[str, str]:
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._ciphers[self._current]
        data = nonce + cipher.encrypt(nonce, text.encode(), context.encode())
        return {"kid": self._current, "data": base64.b64encode(data).decode()}

    def decode(self, sealed: Mapping[str, Any], context: str) -> str:
        kid = sealed.get("kid")
        cipher = self._ciphers.get(kid) if isinstance(kid, str) else None
        if cipher is None:
            raise KeyMissing(
                f"{context}: encrypted with the key {kid!r}, and this process has "
                f"{sorted(self._ciphers)!r}: give it that key too"
            )
        try:
            data = base64.b64decode(sealed["data"], validate=True)
            nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            return cipher.decrypt(nonce, rest, context.encode()).decode()
        except (InvalidTag, ValueError, KeyError, TypeError):
            raise InvalidPayload(
                f"{context}: cannot be decrypted: the data was changed or moved, or the key "
                f"{kid!r} is not the one that it was encrypted with"
            ) from None


def _key(kid: str, text: str) -> bytes:
    # The message never holds the key, not even a wrong one.
    try:
        key = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError, TypeError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            f"the key {kid!r} is not {_KEY_BYTES} bytes as URL-safe base64: make one with "
            "AesGcmCodec.generate_key()"
        )
    return key
