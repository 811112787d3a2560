"""How a MySQL or MariaDB server is reached, and what its errors mean."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, model_validator

from beam_datahub.component.config import Config
from beam_datahub.component.database import RowsRefused
from beam_datahub.component.database_pool import pooled
from beam_datahub.component.database_tls import TLS_FILES, tls_hint
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    DataHubError,
    InvalidValue,
    MissingDependency,
    SourceMissing,
    TargetUnusable,
    Transient,
)
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.security import Secret, redact


class MysqlConnection(Config):
    """A MySQL or MariaDB server and how it is reached."""

    url: Secret | str | None = None
    """`mysql://user@host:3306/database`, in place of the single settings; those that stand beside it win."""

    host: str | None = None
    """The server's name or address."""

    port: int | None = Field(default=None, gt=0, lt=65536)
    """Its port."""

    socket: str | None = None
    """The file of its socket, in place of host and port."""

    database: str | None = None
    """The database whose tables are meant where none is named."""

    user: str | None = None
    """The account to log in as."""

    password: Secret | None = None
    """Its password, as `${secret.NAME}`."""

    tls: Literal["disable", "require", "verify-ca", "verify-full"] | None = None
    """Whether the connection is encrypted, and whether the server's certificate and name are verified. Left out, it is
    encrypted where the server can, and nothing is verified."""

    tls_ca: str | None = None
    """The file of the certificates that may sign the server's."""

    tls_certificate: str | None = None
    """The file of our own certificate, for servers that ask for one."""

    tls_key: str | None = None
    """The file of its key."""

    connect_timeout_seconds: int = Field(default=10, gt=0)
    """How long to wait for the server to answer."""

    lock_timeout_seconds: int = Field(default=60, gt=0)
    """How long to wait for a lock that somebody else holds."""

    statement_timeout_seconds: int | None = Field(default=None, gt=0)
    """After how long the server ends a statement, on MySQL one that reads; its own setting when left out."""

    pool_size: int = Field(default=8, gt=0)
    """How many connections a process opens at most."""

    @model_validator(mode="after")
    def _reachable(self) -> MysqlConnection:
        if isinstance(self.url, str):
            if re.search(r"://[^/@]*:[^/@]+@", self.url):
                raise ValueError("has a password in clear: give it as `password: ${secret.NAME}`")
            if not re.match(r"(mysql|mariadb)(\+\w+)?://", self.url):
                raise ValueError("is no URL of MySQL: write `mysql://user@host:3306/database`")
        return self

    def resolved(self, folder: str) -> MysqlConnection:
        """With the files of certificates as seen from the spec's folder."""
        files = {name: os.path.join(folder, path) for name in TLS_FILES if (path := getattr(self, name)) is not None}
        return self.model_copy(update=files) if files else self

    def settings(self) -> dict[str, Any]:
        """What the client is given, secrets in clear. Raises InvalidValue."""
        url = self.url.reveal() if isinstance(self.url, Secret) else self.url or ""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidValue(f"the connection's URL is wrong: {redact(str(error))}") from None
        asked = parse_qs(parts.query)
        found = {
            "host": self.host or parts.hostname or "127.0.0.1",
            "port": self.port or port or 3306,
            "unix_socket": self.socket or next(iter(asked.get("unix_socket", [])), None),
            "database": self.database or unquote(parts.path.lstrip("/")) or None,
            "user": self.user or (unquote(parts.username) if parts.username else None),
            "password": self.password.reveal() if self.password is not None else unquote(parts.password or ""),
            "connect_timeout": self.connect_timeout_seconds,
        }
        if self.tls == "disable":
            found["ssl_disabled"] = True
        elif self.tls is not None:
            found |= {
                "ssl_ca": self.tls_ca,
                "ssl_cert": self.tls_certificate,
                "ssl_key": self.tls_key,
                "ssl_verify_cert": self.tls in ("verify-ca", "verify-full"),
                "ssl_verify_identity": self.tls == "verify-full",
            }
            if not any((self.tls_ca, self.tls_certificate, self.tls == "verify-full")):
                found["ssl"] = {"check_hostname": False, "verify_mode": self.tls != "require"}
        return {name: value for name, value in found.items() if value is not None}

    @contextmanager
    def connected(self) -> Iterator[MysqlSession]:
        """A connection of the process's pool. Raises ConnectorError, MissingDependency."""
        with pooled(self, self.open, limit=self.pool_size, wait_seconds=600) as session:
            assert isinstance(session, MysqlSession)
            yield session

    def open(self) -> MysqlSession:
        """A new connection. Raises AccessDenied, Transient, MissingDependency."""
        try:
            import pymysql  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingDependency("PyMySQL is not installed", hint="pip install 'beam-datahub[mysql]'") from error
        try:
            return MysqlSession(self.settings(), self.lock_timeout_seconds, meaning, self.statement_timeout_seconds)
        except (OSError, ssl.SSLError) as error:
            # What the client raises before it reaches for the server: a file that is not there, or is no certificate.
            raise AccessDenied(f"the files of TLS cannot be read: {error}", hint=tls_hint(f"TLS: {error}")) from error

    def where(self) -> tuple[str, str | None]:
        """The server as `host:port`, and the database."""
        found = self.settings()
        return f"{found['host']}:{found['port']}", found.get("database")


# By the number of an error: what it means, and a hint. Those that no number tells go by their SQLSTATE.
_MEANINGS: dict[int, tuple[type[DataHubError] | type[RowsRefused], str | None]] = {
    1021: (TargetUnusable, "the server's disk is full"),
    1030: (ConnectorError, None),
    1040: (Transient, "the server has too many connections"),
    1044: (AccessDenied, "grant the account the right"),
    1045: (AccessDenied, "look at `user` and `password`"),
    1046: (InvalidValue, "name the `database` of the connection, or write `database.table`"),
    1049: (SourceMissing, "look at `database`"),
    1051: (SourceMissing, None),
    1053: (Transient, None),
    1079: (Transient, None),
    1114: (TargetUnusable, "the server's disk is full"),
    1142: (AccessDenied, "grant the account the right"),
    1143: (AccessDenied, "grant the account the right"),
    1146: (SourceMissing, "look at the name of the table and at its database"),
    1152: (Transient, None),
    1158: (Transient, None),
    1159: (Transient, None),
    1160: (Transient, None),
    1161: (Transient, None),
    1203: (Transient, None),
    1205: (Transient, "somebody else holds a lock on the table"),
    1213: (Transient, None),  # a deadlock
    1226: (Transient, None),
    1227: (AccessDenied, "grant the account the right"),
    1317: (Transient, None),
    1698: (AccessDenied, "look at `user` and `password`"),
    1927: (Transient, None),
    1969: (Transient, "the statement took longer than the server lets it"),
    3024: (Transient, "the statement took longer than the server lets it"),
    2002: (Transient, None),
    2003: (Transient, None),
    2006: (Transient, None),
    2013: (Transient, None),
    2014: (Transient, None),
    2026: (AccessDenied, "look at `tls` and the server's certificate"),
    2055: (Transient, None),
    3159: (AccessDenied, "the server wants `tls: require`"),
    4025: (RowsRefused, None),  # a CHECK constraint
    3819: (RowsRefused, None),
}
_REFUSED = frozenset(
    (1048, 1062, 1169, 1216, 1217, 1263, 1264, 1265, 1292, 1364, 1366, 1367, 1369, 1406, 1411, 1416, 1451, 1452, 1525, 1557)
)
_COLUMN = re.compile(r"(?:column|field|key) [`']?(?:`?\w+`?\.)*[`']?([^`'\s]+)[`']", re.IGNORECASE)


def meaning(number: int, text: str) -> DataHubError | RowsRefused:
    """What an error of the server or the client means to us, by its number."""
    said = redact(text.strip()) or f"error {number}"
    if number in _REFUSED:
        found = _COLUMN.search(said)
        return RowsRefused(said, found[1] if found else None)
    if number in (2003, 2026) and (advice := tls_hint(said)) is not None:
        return AccessDenied(said, hint=advice)
    if number in _MEANINGS:
        kind, hint = _MEANINGS[number]
        return kind(said) if issubclass(kind, RowsRefused) else kind(said, hint=hint)
    if number == 0:
        return Transient(said)
    # What the user wrote is no SQL that the server knows: 1054, 1064 and their like.
    return InvalidValue(said) if 1000 <= number < 2000 else ConnectorError(said)
