"""Seals secrets at rest with AES-256-GCM; the sealed text names its key, so that keys can change.

A sealed text is `dhs1:KEY_ID:BODY`, BODY being the base64url of a 12-byte random nonce, the ciphertext and the 16-byte tag.
What a secret belongs to (its context) is authenticated with it: a text that is moved elsewhere does not open.

Keys are 32 bytes as base64, one a line or separated by commas; the first one seals, all of them open:

1. `BEAM_DATAHUB_KEY` holds them, or
2. `BEAM_DATAHUB_KEY_FILE` names their file, else it lies beside the store; it is created on first need, for its owner only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from beam_datahub.errors import WrongKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_VARIABLE = "BEAM_DATAHUB_KEY"
KEY_FILE_VARIABLE = "BEAM_DATAHUB_KEY_FILE"
KEY_BYTES = 32
NONCE_BYTES = 12

_PREFIX = "dhs1"

_in_use: Sealer | None = None


def new_key() -> bytes:
    """A random key."""
    return secrets.token_bytes(KEY_BYTES)


def key_id(key: bytes) -> str:
    """What a sealed text calls its key: it tells keys apart and nothing about them."""
    return hashlib.sha256(b"beam-datahub key id\0" + key).hexdigest()[:12]


class Sealer:
    """Seals with the first of its keys and opens with any; it shows and pickles none of them."""

    def __init__(self, keys: Iterable[bytes], origin: str = "the given keys") -> None:
        self._keys = {key_id(key): key for key in keys}
        self._origin = origin
        if not self._keys:
            raise WrongKey(f"{origin} holds no key")
        self._current = next(iter(self._keys))

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self._current

    @property
    def known(self) -> tuple[str, ...]:
        """The ids of all keys; the one that seals is the first."""
        return tuple(self._keys)

    def seal(self, data: bytes, context: str) -> str:
        """`data` sealed for `context`: what it belongs to, such as `connection/crm/password`. Never twice the same text."""
        nonce = os.urandom(NONCE_BYTES)
        body = nonce + self._cipher(self._current).encrypt(nonce, data, _bound(context))
        return f"{_PREFIX}:{self._current}:{base64.urlsafe_b64encode(body).decode()}"

    def unseal(self, sealed: str, context: str) -> bytes:
        """What was sealed for `context`. Raises WrongKey without its key, or where it was changed or moved."""
        named = key_of(sealed)
        if named is None:
            raise WrongKey(f"the secret of {context} is not a sealed text", hint="give the secret again")
        if named not in self._keys:
            raise WrongKey(
                f"the secret of {context} is sealed with the key {named}, which is not among {self._origin} "
                f"({', '.join(self._keys)})"
            )
        from cryptography.exceptions import InvalidTag

        try:
            body = base64.b64decode(sealed.split(":", 2)[2], altchars=b"-_", validate=True)
            return self._cipher(named).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], _bound(context))
        except (InvalidTag, ValueError) as error:
            hint = "it was changed, or belongs elsewhere: give the secret again"
            raise WrongKey(f"the sealed secret of {context} is damaged", hint=hint) from error

    def is_current(self, sealed: str) -> bool:
        """Whether a text is sealed with the key that seals now."""
        return key_of(sealed) == self._current

    def reseal(self, sealed: str, context: str) -> str:
        """The same secret, sealed with the key that seals now. Raises WrongKey."""
        return sealed if self.is_current(sealed) else self.seal(self.unseal(sealed, context), context)

    def derive(self, purpose: str, *, key: str | None = None, length: int = KEY_BYTES) -> bytes:
        """A key of its own for a purpose (HKDF with SHA-256), from the key that seals or from the one of an id.

        What seals very many texts uses one such key a file or column: a key must not seal more than 2**32 of them.
        Raises WrongKey where the key is not known.
        """
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        chosen = self._current if key is None else key
        if chosen not in self._keys:
            raise WrongKey(f"the key {chosen} is not among {self._origin} ({', '.join(self._keys)})")
        salt = b"beam-datahub derived key"
        return HKDF(algorithm=SHA256(), length=length, salt=salt, info=purpose.encode()).derive(self._keys[chosen])

    def _cipher(self, name: str) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._keys[name])

    def __repr__(self) -> str:
        return f"Sealer({', '.join(self._keys)})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a sealer does not travel: every process takes its keys from its own environment")


def key_of(sealed: str) -> str | None:
    """The id of the key that a text is sealed with; None where it is no sealed text."""
    match = re.fullmatch(rf"{_PREFIX}:([0-9a-f]{{12}}):[A-Za-z0-9_=-]+", sealed)
    return match[1] if match else None


def load_sealer(key_file: Path, *, create: bool = False, environment: Mapping[str, str] | None = None) -> Sealer:
    """The keys of the environment, else those of the file that it names, else those in `key_file`.

    With `create` a missing file is made, with a new key in it. Raises WrongKey where there is no key, or none that is one.
    """
    variables = os.environ if environment is None else environment
    if given := variables.get(KEY_VARIABLE, "").strip():
        return Sealer(_parsed(given, KEY_VARIABLE), KEY_VARIABLE)
    path = key_path(key_file, environment)
    if create and not path.exists():
        write_keys(path, [new_key()], replace=False)
    return Sealer(read_keys(path), str(path))


def use_sealer(sealer: Sealer) -> None:
    """Open the sealed secrets of this process with `sealer`; without it, with the keys of the environment."""
    global _in_use
    _in_use = sealer


def sealer_in_use() -> Sealer:
    """What opens the sealed secrets of this process. Raises WrongKey where it has no keys."""
    if _in_use is not None:
        return _in_use
    # On a worker of another machine: only the environment can tell.
    named = os.environ.get(KEY_FILE_VARIABLE)
    if not named and not os.environ.get(KEY_VARIABLE):
        raise WrongKey("a sealed secret is to be opened, and this process has no key")
    return load_sealer(Path(named or KEY_VARIABLE))


def key_path(key_file: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Where the file of the keys is: where the environment says, else `key_file`."""
    variables = os.environ if environment is None else environment
    named = variables.get(KEY_FILE_VARIABLE)
    return Path(named).expanduser() if named else key_file


def read_keys(path: Path) -> list[bytes]:
    """The keys in a file, the one that seals first. Raises WrongKey."""
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise WrongKey(f"there is no key: {path} is missing and {KEY_VARIABLE} is not set") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongKey(f"the key file {path} cannot be read", hint="it is UTF-8 text that this user may read") from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        # Container engines mount secrets for a group to read; nobody else may, and nobody may change them.
        raise WrongKey(f"others can read or change the key file {path}", hint=f"chmod 600 {path}")
    return _parsed(text, str(path))


def write_keys(path: Path, keys: Iterable[bytes], *, replace: bool = True) -> None:
    """Write a key file for its owner only, whole or not at all; without `replace` one that is there stays."""
    lines = ["# Keys of beam-datahub: the first one seals, all of them open. Who has them can read the sealed secrets."]
    lines += [base64.b64encode(key).decode() for key in keys]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(name, path)
            else:
                # Of several processes that begin at once, one key must win for all.
                os.link(name, path)
        except FileExistsError:
            pass
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise WrongKey(f"the key file {path} cannot be written: {error.strerror}") from error


def _parsed(text: str, origin: str) -> list[bytes]:
    keys: list[bytes] = []
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for number, word in enumerate(re.split(r"[\s,]+", "\n".join(lines).strip()), start=1):
        if not word:
            continue
        try:
            key = base64.b64decode(word.translate(str.maketrans("-_", "+/")), validate=True)
        except (binascii.Error, ValueError) as error:
            raise WrongKey(f"key {number} of {origin} is not base64", hint="`openssl rand -base64 32` makes one") from error
        if len(key) != KEY_BYTES:
            hint = "`openssl rand -base64 32` makes one"
            raise WrongKey(f"key {number} of {origin} has {len(key)} bytes, not {KEY_BYTES}", hint=hint)
        keys.append(key)
    return keys


def _bound(context: str) -> bytes:
    return f"beam-datahub\0{context}".encode()
