"""Encrypts single values with AES-256-GCM, so that a column can be kept where others read and opened again with its key.

An encrypted value is text: `enc:1:` and, in base64url, 4 bytes that tell the key, 12 of the nonce, then ciphertext and tag.
The key itself is derived from the secret's text, so that any secret of 16 characters or more will do.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

PREFIX = "enc:1:"
LEAST_KEY_LENGTH = 16
_CONTEXT = b"beam-datahub field encryption 1"
_ID_BYTES, _NONCE_BYTES, _TAG_BYTES = 4, 12, 16


def derived_key(secret: str, purpose: str, size: int = 32) -> bytes:
    """A key of `size` bytes for one purpose (HKDF-SHA256): knowing one tells nothing of the secret or of the others."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size, salt=None, info=f"beam-datahub {purpose}".encode()).derive(secret.encode())


def is_encrypted(value: str) -> bool:
    """Whether a text looks like an encrypted value."""
    return value.startswith(PREFIX)


class FieldCipher:
    """Encrypts under `secret`, and decrypts what was encrypted under it or under one of `old`.

    `deterministic`: equal values give equal ciphertexts (the nonce is a keyed hash of the value), so that columns can still
    be joined and counted; else every value gets a nonce of its own, and equal ones cannot be told.
    """

    def __init__(self, secret: str, old: Sequence[str] = (), *, deterministic: bool = False) -> None:
        self._ciphers: dict[bytes, Any] = {}
        for each in reversed([secret, *old]):
            self._ciphers[_key_id(each)] = _aead(each)
        self._id = _key_id(secret)
        self._nonce_key = derived_key(secret, "field nonce") if deterministic else None

    def encrypt(self, value: str) -> str:
        """`value` as text that only the key opens."""
        data = value.encode()
        if self._nonce_key is None:
            nonce = os.urandom(_NONCE_BYTES)
        else:
            nonce = hmac.digest(self._nonce_key, data, hashlib.sha256)[:_NONCE_BYTES]
        sealed = self._ciphers[self._id].encrypt(nonce, data, _CONTEXT)
        return PREFIX + urlsafe_b64encode(self._id + nonce + sealed).decode().rstrip("=")

    def decrypt(self, text: str) -> str:
        """The value in clear. Raises ValueError, which shows nothing of it, where the text or the key is wrong."""
        from cryptography.exceptions import InvalidTag

        if not is_encrypted(text):
            raise ValueError("is not encrypted")
        body = text[len(PREFIX) :]
        try:
            data = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        except ValueError:
            data = b""
        if len(data) < _ID_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise ValueError("is damaged: it is no whole encrypted value")
        cipher = self._ciphers.get(data[:_ID_BYTES])
        if cipher is None:
            raise ValueError("was encrypted with another key")
        nonce, sealed = data[_ID_BYTES : _ID_BYTES + _NONCE_BYTES], data[_ID_BYTES + _NONCE_BYTES :]
        try:
            return str(cipher.decrypt(nonce, sealed, _CONTEXT), "utf-8")
        except (InvalidTag, UnicodeDecodeError):
            raise ValueError("is damaged, or was changed") from None

    def __repr__(self) -> str:
        return f"FieldCipher({len(self._ciphers)} keys)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a cipher holds its key: pickle the Secret instead")


def _aead(secret: str) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(derived_key(secret, "field encryption"))


def _key_id(secret: str) -> bytes:
    return derived_key(secret, "field key id", _ID_BYTES)
