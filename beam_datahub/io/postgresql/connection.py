"""How a PostgreSQL server is reached, and what its errors mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

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
    SourceMissing,
    TargetUnusable,
    Transient,
)
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.security import Secret, redact


class PostgresqlConnection(Config):
    """A PostgreSQL server and how it is reached; what is left out comes from the usual variables (`PGHOST`, `PGUSER`, …)."""

    url: Secret | str | None = None
    """`postgresql://user@host:5432/database`, in place of the single settings; those that stand beside it win."""

    host: str | None = None
    """The server's name or address, or the folder of its socket."""

    port: int | None = Field(default=None, gt=0, lt=65536)
    """Its port."""

    database: str | None = None
    """The database."""

    user: str | None = None
    """The role to log in as."""

    password: Secret | None = None
    """Its password, as `${secret.NAME}`."""

    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """Whether the connection is encrypted, and whether the server's certificate and name are verified."""

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
    """After how long the server ends a statement; its own setting when left out."""

    pool_size: int = Field(default=8, gt=0)
    """How many connections a process opens at most."""

    @model_validator(mode="after")
    def _reachable(self) -> PostgresqlConnection:
        if isinstance(self.url, str) and re.search(r"://[^/@]*:[^/@]+@", self.url):
            raise ValueError("has a password in clear: give it as `password: ${secret.NAME}`")
        return self

    def resolved(self, folder: str) -> PostgresqlConnection:
        """With the files of certificates as seen from the spec's folder."""
        files = {name: os.path.join(folder, path) for name in TLS_FILES if (path := getattr(self, name)) is not None}
        return self.model_copy(update=files) if files else self

    def conninfo(self) -> str:
        """The settings as libpq takes them, secrets in clear."""
        import psycopg
        from psycopg.conninfo import make_conninfo

        settings = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password.reveal() if self.password is not None else None,
            "sslmode": self.tls,
            "sslrootcert": self.tls_ca,
            "sslcert": self.tls_certificate,
            "sslkey": self.tls_key,
            "connect_timeout": self.connect_timeout_seconds,
            "application_name": "beam-datahub",
            # A server that vanishes without a word is noticed within a minute.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        url = self.url.reveal() if isinstance(self.url, Secret) else self.url or ""
        # What SQLAlchemy calls its driver is no part of libpq's name.
        url = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url)
        try:
            return make_conninfo(url, **{name: value for name, value in settings.items() if value is not None})
        except psycopg.Error as error:
            raise InvalidValue(f"the connection's settings are wrong: {redact(str(error))}") from None

    @contextmanager
    def connected(self) -> Iterator[PostgresqlSession]:
        """A connection of the process's pool. Raises ConnectorError."""
        with pooled(self, self.open, limit=self.pool_size, wait_seconds=600) as session:
            assert isinstance(session, PostgresqlSession)
            yield session

    def open(self) -> PostgresqlSession:
        """A new connection. Raises AccessDenied, Transient."""
        return PostgresqlSession(self.conninfo(), self.lock_timeout_seconds, meaning, self.statement_timeout_seconds)

    def where(self) -> tuple[str, str]:
        """The server as `host:port`, and the database."""
        from psycopg.conninfo import conninfo_to_dict

        found = conninfo_to_dict(self.conninfo())
        host = found.get("host") or "localhost"
        return f"{host}:{found.get('port') or 5432}", str(found.get("dbname") or found.get("user") or "postgres")


# By the longest beginning of SQLSTATE: what an error means, and a hint.
_MEANINGS: dict[str, tuple[type[DataHubError] | type[RowsRefused], str | None]] = {
    "08": (Transient, None),  # the connection broke
    "21": (TargetUnusable, None),  # a key that comes twice where it must not
    "22": (RowsRefused, None),  # a value that its type cannot hold
    "23": (RowsRefused, None),  # a constraint
    "28": (AccessDenied, "look at `user`, `password` and the server's pg_hba.conf"),
    "2B": (TargetUnusable, None),
    "3D": (SourceMissing, "look at `database`"),
    "3F": (SourceMissing, "look at the name of the schema"),
    "40": (Transient, None),  # a deadlock, or a conflict with another transaction
    "42501": (AccessDenied, "grant the role the right"),
    "42P01": (SourceMissing, "look at the name of the table and at its schema"),
    "42": (InvalidValue, None),  # what the user wrote is no SQL that the server knows
    "44": (RowsRefused, None),  # a view's check option
    "53": (Transient, None),  # connections, memory
    "53100": (TargetUnusable, "the server's disk is full"),
    "55P03": (Transient, "somebody else holds a lock on the table"),
    "55006": (Transient, None),
    "57014": (Transient, "the server's statement_timeout ended it"),
    "57": (Transient, None),  # the server goes down or comes up
    "P0": (RowsRefused, None),  # raised by a trigger or a function
}
# What a refused login says: libpq gives no SQLSTATE for it.
_LOGIN = (
    (
        r"password authentication failed|no password supplied|fe_sendauth|role .* does not exist|is not permitted to log in",
        "28000",
    ),
    (r"no pg_hba.conf entry|authentication failed|certificate|SSL|GSSAPI", "28000"),
    (r"database .* does not exist", "3D000"),
    (r"too many clients|remaining connection slots", "53300"),
    (r"invalid (connection option|port number|sslmode|dsn)|missing \"=\"", "42601"),
)
_NOISE = re.compile(r"\b(?:ERROR|FATAL|PANIC):\s+|\n+Query was:.*|\. SQLSTATE: \w+|\[libpq\]\s*|^\w+: ", re.DOTALL)


def meaning(text: str, state: str | None, column: str | None = None) -> DataHubError | RowsRefused:
    """What an error of the server means to us, by its SQLSTATE, else by its words."""
    said = redact(_NOISE.sub("", text).strip())
    if state == "21000" and "ON CONFLICT" in said:
        advice = "name the column that tells with `last_by`, or deduplicate before"
        return TargetUnusable("some of the merged rows have the same key, and nothing says which wins", hint=advice)
    if not state:
        state = next((known for pattern, known in _LOGIN if re.search(pattern, text)), "08000")
    for length in (5, 2):
        if state[:length] in _MEANINGS:
            kind, hint = _MEANINGS[state[:length]]
            break
    else:
        kind, hint = ConnectorError, None
    if issubclass(kind, RowsRefused):
        return kind(said, column)
    if kind is AccessDenied:
        hint = tls_hint(said) or hint
    return kind(said, hint=hint)
