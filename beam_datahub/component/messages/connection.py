"""Options that the connections of most queues have."""

from __future__ import annotations

import os
import ssl
from typing import Self

from pydantic import Field

from beam_datahub.component.client_tls import client_context
from beam_datahub.component.config import Config
from beam_datahub.component.file_store import is_url, join
from beam_datahub.component.messages.registry import SchemaRegistry
from beam_datahub.security import Secret


class MessageConnection(Config):
    """What every connection to a system of messages has."""

    registry: SchemaRegistry | None = None
    """The schema registry of the formats `avro` and `protobuf`."""

    staging: str = "."
    """The folder or bucket where destinations keep what a run writes until it is sent; all workers must reach it."""

    connect_timeout_seconds: int = Field(default=10, gt=0)
    """How long to wait for the server to answer."""

    timeout_seconds: int = Field(default=60, gt=0)
    """How long the server may be away in the middle of a run."""

    def resolved(self, folder: str) -> Self:
        """The same connection with relative paths made absolute from `folder`."""
        paths = [name for name in ("tls_ca", "tls_certificate", "tls_key", "staging", "credentials") if hasattr(self, name)]
        found = {name: _resolved(value, folder) for name in paths if isinstance(value := getattr(self, name), str)}
        return self.model_copy(update=found)


class LoginConnection(MessageConnection):
    """A connection with a login, and with TLS where that is wanted."""

    user: str | None = None
    """The name to log in with."""

    password: Secret | None = None
    """Its password, as `${secret.NAME}`."""

    tls: bool = False
    """Speak TLS with the server; a `tls_…` file says so as well."""

    tls_ca: str | None = None
    """The file of the certificates that may sign the server's; the system's own when left out."""

    tls_certificate: str | None = None
    """The file of our own certificate, for servers that ask for one."""

    tls_key: str | None = None
    """The file of its key."""

    @property
    def speaks_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or self.tls_ca is not None or self.tls_certificate is not None

    def tls_context(self) -> ssl.SSLContext | None:
        """How TLS is spoken; None where it is not. Raises AccessDenied where a file cannot be used."""
        if not self.speaks_tls:
            return None
        return client_context(self.tls_ca, self.tls_certificate, self.tls_key)

    def secret(self) -> str | None:
        """The password in clear."""
        return None if self.password is None else self.password.reveal()


class ServerConnection(LoginConnection):
    """A server of messages, and how it is reached."""

    host: str = "localhost"
    """The server's name or address."""


def _resolved(path: str, folder: str) -> str:
    if is_url(path):
        return path
    return join(folder, path) if is_url(folder) else os.path.normpath(os.path.join(folder, path))
