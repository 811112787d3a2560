"""How a MongoDB server is reached, and what its errors mean."""

from __future__ import annotations

import atexit
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from beam_datahub.component.client_tls import client_context
from beam_datahub.component.config import Config
from beam_datahub.component.database_tls import handshake_hint
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.source import Finding, Report
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    DataHubError,
    InvalidValue,
    MissingDependency,
    TargetUnusable,
    Transient,
    UnreadableData,
)
from beam_datahub.security import Secret, redact

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

Documents = dict[str, Any]


class MongodbConnection(Config):
    """A MongoDB server, replica set or cluster, and how it is reached."""

    url: Secret | str | None = None
    """`mongodb://host:27017` or `mongodb+srv://…`, in place of the single settings; those that stand beside it win."""

    host: str | None = None
    """The server's name or address, or several as `a:27017,b:27017`."""

    port: int | None = Field(default=None, gt=0, lt=65536)
    """Its port."""

    database: str
    """The database."""

    user: str | None = None
    """The name to log in with."""

    password: Secret | None = None
    """Its password, as `${secret.NAME}`."""

    auth_database: str | None = None
    """The database that knows the user; `admin` when left out."""

    auth_mechanism: Literal["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN", "GSSAPI", "MONGODB-AWS"] | None = None
    """How we log in; when left out, the strongest way that the server offers."""

    replica_set: str | None = None
    """The replica set's name, where there is one."""

    tls: bool | None = None
    """Whether the connection is encrypted; always where there is a `tls_…` file."""

    tls_ca: str | None = None
    """The file of the certificates that may sign the server's."""

    tls_certificate: str | None = None
    """The file of our own certificate and its key, for servers that ask for one."""

    read_preference: Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"] | None = None
    """Which members of a replica set sources read from."""

    connect_timeout_seconds: int = Field(default=10, gt=0)
    """How long to wait for a server that answers."""

    timeout_seconds: int = Field(default=300, gt=0)
    """How long one answer may take."""

    @model_validator(mode="after")
    def _reachable(self) -> MongodbConnection:
        if isinstance(self.url, str) and re.search(r"://[^/@]*:[^/@]+@", self.url):
            raise ValueError("has a password in clear: give it as `password: ${secret.NAME}`")
        return self

    def settings(self) -> dict[str, Any]:
        """The settings as the client takes them, secrets in clear."""
        found: dict[str, Any] = {
            "host": (self.url.reveal() if isinstance(self.url, Secret) else self.url) or self.host or "localhost",
            "port": self.port,
            "username": self.user,
            "password": self.password.reveal() if self.password is not None else None,
            "authSource": self.auth_database,
            "authMechanism": self.auth_mechanism,
            "replicaSet": self.replica_set,
            "tls": self.tls or (True if self.tls_ca or self.tls_certificate else None),
            "tlsCAFile": self.tls_ca,
            "tlsCertificateKeyFile": self.tls_certificate,
            "readPreference": self.read_preference,
            "serverSelectionTimeoutMS": self.connect_timeout_seconds * 1000,
            "connectTimeoutMS": self.connect_timeout_seconds * 1000,
            "socketTimeoutMS": self.timeout_seconds * 1000,
            "appname": "beam-datahub",
            "uuidRepresentation": "standard",
            # What is told to be written has reached most members, and outlives the loss of one.
            "w": "majority",
        }
        return {name: value for name, value in found.items() if value is not None}

    def resolved(self, folder: str) -> MongodbConnection:
        """The same connection with relative paths made absolute from `folder`."""
        files = {name: getattr(self, name) for name in ("tls_ca", "tls_certificate")}
        found = {name: os.path.normpath(os.path.join(folder, path)) for name, path in files.items() if path is not None}
        return self.model_copy(update=found)

    @property
    def place(self) -> str:
        """The first server, without what is secret."""
        text = (self.url.reveal() if isinstance(self.url, Secret) else self.url) or self.host or "localhost"
        host = re.sub(r"^[\w+]+://([^/@]*@)?", "", text).split("/")[0].split(",")[0]
        return host if ":" in host or "+srv" in text else f"{host}:{self.port or 27017}"

    def dataset(self, collection: str) -> DatasetName:
        """What a collection is called."""
        return DatasetName(f"mongodb://{self.place}", f"{self.database}.{collection}")

    @contextmanager
    def opened(self, *, refused: type[ConnectorError] = ConnectorError) -> Iterator[Database[Documents]]:
        """The database, by the process's client; `refused` is what it means that the server will not. Raises ConnectorError."""
        with telling(refused):
            yield _client(self)[self.database]


def is_there(database: Database[Documents], name: str) -> bool:
    """Whether a database has a collection."""
    return name in database.list_collection_names(filter={"name": name})


_clients: dict[MongodbConnection, MongoClient[Documents]] = {}
_owner = os.getpid()
_lock = threading.Lock()


def _client(connection: MongodbConnection) -> MongoClient[Documents]:
    global _owner
    pymongo = pymongo_of()
    with _lock:
        if _owner != os.getpid():
            # What a parent process opened must not be touched: its sockets are the parent's.
            _clients.clear()
            _owner = os.getpid()
        if connection not in _clients:
            if connection.tls_ca or connection.tls_certificate:
                # The client reads these files itself, and says less of what is wrong with them.
                client_context(connection.tls_ca, connection.tls_certificate, None)
            try:
                _clients[connection] = pymongo.MongoClient(**connection.settings())
            except (pymongo.errors.ConfigurationError, pymongo.errors.InvalidURI, ValueError, OSError) as error:
                raise InvalidValue(f"the connection's settings are wrong: {redact(str(error))}") from error
        return _clients[connection]


@atexit.register
def close_clients() -> None:
    """Close this process's connections."""
    for client in _clients.values() if _owner == os.getpid() else ():
        client.close()


def pymongo_of() -> Any:
    """The client library. Raises MissingDependency."""
    try:
        import pymongo
        import pymongo.errors
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "the connector 'mongodb' needs the module 'pymongo'", hint="pip install 'beam-datahub[mongodb]'"
        ) from error
    return pymongo


# By the server's number of an error: what it means, and a hint.
_MEANINGS: dict[int, tuple[type[DataHubError], str | None]] = {
    13: (AccessDenied, "have the database's administrator grant it"),
    18: (AccessDenied, "look at `user`, `password` and `auth_database`"),
    8000: (AccessDenied, "look at `user`, `password` and `auth_database`"),
    14031: (TargetUnusable, "the server's disk is full"),
    2: (InvalidValue, None),
    9: (InvalidValue, None),
    73: (InvalidValue, "look at the collection's name"),
    40324: (InvalidValue, "look at the stages of the `pipeline`"),
    11000: (TargetUnusable, None),
    121: (TargetUnusable, None),
    43: (Transient, None),
    50: (Transient, "raise `timeout_seconds`"),
    11600: (Transient, None),
    10107: (Transient, None),
}


def meaning(error: Exception, refused: type[ConnectorError] = ConnectorError) -> Exception | None:
    """What an error of the client library means to us; None where it is none of its."""
    import bson.errors
    import pymongo.errors as errors

    if isinstance(error, bson.errors.BSONError):
        return UnreadableData(redact(str(error)))
    if not isinstance(error, errors.PyMongoError):
        return None
    text = redact(re.sub(r" \(configured timeouts:[^)]*\)", "", str(error).split(", full error:")[0].split(", Timeout:")[0]))
    # The client looks for a server until its time is up also where each tells it the same.
    if (hint := handshake_hint(text)) is not None:
        return AccessDenied(text, hint=hint)
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return Transient(f"no server answers: {text}", hint="look at `host` and `port`, and whether it may be reached from here")
    if isinstance(error, errors.OperationFailure):
        kind, hint = _MEANINGS.get(error.code or 0, (refused, None))
        if error.has_error_label("TransientTransactionError") or error.has_error_label("RetryableWriteError"):
            kind = Transient
        return kind(text, hint=hint)
    if isinstance(error, errors.ConnectionFailure):
        # The client watches its servers, and breaks off what waits for one that has stopped answering.
        gone = text == "operation cancelled"
        return Transient("the server has stopped answering" if gone else text)
    if isinstance(error, errors.ConfigurationError | errors.InvalidName):
        return InvalidValue(text)
    return refused(text)


@contextmanager
def telling(refused: type[ConnectorError] = ConnectorError) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    try:
        yield
    except DataHubError:
        raise
    except Exception as error:
        found = meaning(error, refused)
        if found is None:
            raise
        raise found from error


def reached(connection: MongodbConnection) -> Report:
    """What `check` tells of a server that answers."""
    try:
        with connection.opened() as database:
            version = database.client.server_info()["version"]
            database.list_collection_names(filter={"name": "_"})
        encrypted = "encrypted" if connection.settings().get("tls") else "not encrypted"
        who = f" as {connection.user}" if connection.user else ""
        return Report((Finding("reach", True, f"MongoDB {version}{who}, {encrypted}"),))
    except DataHubError as error:
        return Report((Finding("reach", False, error.reason, error.hint),))
