"""Where the values of `${secret.NAME}` come from: the environment, or a folder with one file per secret.

The secret NAME is looked up in this order, and the first provider that has it wins:

1. `environment`: the variable `BEAM_DATAHUB_SECRET_<NAME>`, with NAME as written or in upper case.
2. `file`: the file NAME in the folder `BEAM_DATAHUB_SECRETS_DIR` (default `/run/secrets`), where container engines mount
   secrets; one line break at its end is not part of the secret.

A secret of a stored connection is its own reference: the sealed text, which whoever has the key can open.

A provider for a vault is one more class with a `name` and a `get`, added to `default_providers`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from beam_datahub.errors import AccessDenied

ENVIRONMENT_PREFIX = "BEAM_DATAHUB_SECRET_"
FOLDER_VARIABLE = "BEAM_DATAHUB_SECRETS_DIR"
DEFAULT_FOLDER = "/run/secrets"
# No name of a secret in a spec can begin so.
SEALED_PREFIX = "sealed:"


class SecretProvider(Protocol):
    """Knows secrets by name; `name` is what a pickled reference remembers it by."""

    @property
    def name(self) -> str:
        """The provider's name, the same on every machine."""

    def get(self, secret: str) -> str | None:
        """The value of `secret`, or None where this provider does not have it. Raises AccessDenied."""


class EnvironmentSecrets:
    """Secrets in variables `BEAM_DATAHUB_SECRET_<NAME>`."""

    name = "environment"

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment

    def get(self, secret: str) -> str | None:
        """The variable's value; a variable that is set to nothing does not count."""
        environment = os.environ if self._environment is None else self._environment
        return environment.get(ENVIRONMENT_PREFIX + secret) or environment.get(ENVIRONMENT_PREFIX + secret.upper()) or None


class FileSecrets:
    """Secrets in files that are called like them."""

    name = "file"

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def get(self, secret: str) -> str | None:
        """The file's text. Raises AccessDenied where the file is there and cannot be read."""
        path = self._folder / secret
        # A secret's name comes from a spec that may be someone else's: it must not lead out of the folder.
        if path.name != secret or not path.is_file():
            return None
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AccessDenied(
                f"the file of the secret '{secret}' cannot be read",
                hint=f"it must be UTF-8 text that this user may read: {path}",
            ) from error
        return text.removesuffix("\n").removesuffix("\r") or None


class SealedSecrets:
    """Secrets that are sealed texts, opened with the keys of this process or of its environment."""

    name = "sealed"

    @staticmethod
    def reference(sealed: str, context: str) -> str:
        """What a sealed text is called."""
        return f"{SEALED_PREFIX}{context}|{sealed}"

    def get(self, secret: str) -> str | None:
        """What was sealed. Raises WrongKey."""
        if not secret.startswith(SEALED_PREFIX):
            return None
        from beam_datahub.security.sealing import sealer_in_use

        context, _, sealed = secret.removeprefix(SEALED_PREFIX).rpartition("|")
        return sealer_in_use().unseal(sealed, context).decode()


def default_providers(environment: Mapping[str, str] | None = None) -> tuple[SecretProvider, ...]:
    """The providers in the order in which they are asked; `environment` stands in for the process's own."""
    variables = os.environ if environment is None else environment
    return (EnvironmentSecrets(environment), FileSecrets(variables.get(FOLDER_VARIABLE, DEFAULT_FOLDER)), SealedSecrets())
