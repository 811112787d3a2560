"""How a Kafka cluster is reached, and what its errors mean."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from beam_datahub.component.config import Config
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.file_store import is_url, join
from beam_datahub.component.messages.registry import SchemaRegistry
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
from beam_datahub.security import Secret, redact

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

# librdkafka gives a connection that is refused at once no error of its own: it tries again until somebody stops waiting.
_PATIENCE_SECONDS = 0.5


class KafkaConnection(Config):
    """A Kafka cluster and how it is reached."""

    bootstrap_servers: str
    """One broker or several, as `host:port,host:port`; they tell the others."""

    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] | None = None
    """How brokers are spoken to; when left out, `sasl_ssl` where there is a `user`, `ssl` where there is a `tls_…` file."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] = "PLAIN"
    """How we log in, where there is a `user`."""

    user: str | None = None
    """The name to log in with."""

    password: Secret | None = None
    """Its password, as `${secret.NAME}`."""

    tls_ca: str | None = None
    """The file of the certificates that may sign the brokers'; the system's own when left out."""

    tls_certificate: str | None = None
    """The file of our own certificate, for brokers that ask for one."""

    tls_key: str | None = None
    """The file of its key."""

    registry: SchemaRegistry | None = None
    """The schema registry of the formats `avro` and `protobuf`."""

    staging: str = "."
    """The folder or bucket where destinations keep what a run writes until it is sent; all workers must reach it."""

    connect_timeout_seconds: int = Field(default=10, gt=0)
    """How long to wait for a broker to answer."""

    timeout_seconds: int = Field(default=60, gt=0)
    """How long a broker may be away in the middle of a run."""

    extra: dict[str, Secret | str | int | float | bool] = {}
    """Further settings of librdkafka, by its own names; secret ones as `${secret.NAME}`."""

    def resolved(self, folder: str) -> KafkaConnection:
        """The same connection with relative paths made absolute from `folder`."""
        files = {name: getattr(self, name) for name in ("tls_ca", "tls_certificate", "tls_key", "staging")}
        found = {name: _resolved(path, folder) for name, path in files.items() if path is not None}
        return self.model_copy(update=found)

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings as librdkafka takes them, secrets in clear."""
        security = self.security
        if security is None:
            tls = self.tls_ca or self.tls_certificate
            security = "sasl_ssl" if self.user is not None else "ssl" if tls else "plaintext"
        found: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": security,
            "client.id": "beam-datahub",
            "socket.connection.setup.timeout.ms": self.connect_timeout_seconds * 1000,
            "reconnect.backoff.max.ms": 2000,
            "allow.auto.create.topics": False,
            # What it would print goes to `Told` instead.
            "log_level": 0,
        }
        if security.startswith("sasl"):
            found |= {"sasl.mechanism": self.sasl_mechanism, "sasl.username": self.user}
            found["sasl.password"] = self.password.reveal() if self.password is not None else None
        found |= {"ssl.ca.location": self.tls_ca, "ssl.certificate.location": self.tls_certificate}
        found["ssl.key.location"] = self.tls_key
        extra = {name: value.reveal() if isinstance(value, Secret) else value for name, value in self.extra.items()}
        return {name: value for name, value in {**found, **more, **extra}.items() if value is not None}

    @property
    def place(self) -> str:
        """The first broker."""
        return self.bootstrap_servers.split(",")[0].strip()

    def dataset(self, topic: str) -> DatasetName:
        """What a topic is called."""
        return DatasetName(f"kafka://{self.place}", topic)

    @contextmanager
    def administered(self, patience_seconds: int | None = None) -> Iterator[Cluster]:
        """The cluster, and how long to wait for it where that is not what the user says. Raises ConnectorError."""
        kafka()
        from confluent_kafka.admin import AdminClient

        told = Told()
        with telling(told):
            client = AdminClient(self.settings(error_cb=told, **{"allow.auto.create.topics": None}))
            yield Cluster(client, told, patience_seconds or self.connect_timeout_seconds, self.place)


class Told:
    """What the client library tells about the connection meanwhile: it keeps the errors by their names."""

    def __init__(self) -> None:
        self._errors: dict[str, Any] = {}

    def __call__(self, error: Any) -> None:
        self._errors[error.name()] = error

    def forget(self) -> None:
        """Forget what was told so far: a broker has answered."""
        self._errors.clear()

    def refusal(self) -> DataHubError | None:
        """What no waiting will mend."""
        found = [meaning(error) for name, error in self._errors.items() if _MEANINGS.get(name, (Transient,))[0] is not Transient]
        return found[0] if found else None

    def words(self) -> str | None:
        """The last thing that was told."""
        named = [error for name, error in self._errors.items() if name != "_ALL_BROKERS_DOWN"]
        return str(named[-1].str()) if named else None


class Cluster:
    """The topics of a cluster and where they begin and end."""

    def __init__(self, client: AdminClient, told: Told, patience_seconds: int, place: str) -> None:
        self.client, self._told, self._patience, self._place = client, told, patience_seconds, place

    def topics(self, topic: str | None = None) -> dict[str, Any]:
        """The metadata of one topic or of all, by name. Raises Transient, AccessDenied, SourceMissing."""
        from confluent_kafka import KafkaException

        end = time.monotonic() + self._patience
        while True:
            try:
                found: dict[str, Any] = self.client.list_topics(*((topic,) if topic else ()), timeout=_PATIENCE_SECONDS).topics
                break
            except KafkaException as error:
                self.client.poll(0)
                refusal = self._told.refusal()
                if refusal is not None:
                    raise refusal from error
                if time.monotonic() > end:
                    raise self._unreachable() from error
        for metadata in found.values():
            if metadata.error is not None and topic is not None:
                raise meaning(metadata.error, f"the topic '{topic}'")
        return found

    def _unreachable(self) -> Transient:
        words = self._told.words()
        detail = f": {redact(words)}" if words else ""
        return Transient(
            f"no broker answers at {self._place} within {self._patience} s{detail}",
            hint="look at `bootstrap_servers`, and whether the cluster is up and may be reached from here",
        )

    def offsets(self, wanted: dict[tuple[str, int], Any], *, committed: bool) -> dict[tuple[str, int], int]:
        """The offsets that OffsetSpecs mean, by topic and partition; −1 where there is none. Raises ConnectorError."""
        from confluent_kafka import IsolationLevel, TopicPartition

        if not wanted:
            return {}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(topic, number): spec for (topic, number), spec in wanted.items()}
        futures = self.client.list_offsets(asked, isolation_level=level, request_timeout=30)
        return {(each.topic, each.partition): int(future.result().offset) for each, future in futures.items()}


def kafka() -> Any:
    """The client library. Raises MissingDependency."""
    try:
        import confluent_kafka
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "the connector 'kafka' needs the module 'confluent_kafka'", hint="pip install 'beam-datahub[kafka]'"
        ) from error
    return confluent_kafka


# By librdkafka's name of an error: what it means, and a hint.
_LOGIN = "look at `user`, `password`, `sasl_mechanism` and `security`"
_RIGHT = "have the cluster's administrator grant it"
_MEANINGS: dict[str, tuple[type[DataHubError], str | None]] = {
    "_AUTHENTICATION": (AccessDenied, _LOGIN),
    "SASL_AUTHENTICATION_FAILED": (AccessDenied, _LOGIN),
    "UNSUPPORTED_SASL_MECHANISM": (InvalidValue, _LOGIN),
    "_SSL": (AccessDenied, "look at `security` and the `tls_…` files"),
    "TOPIC_AUTHORIZATION_FAILED": (AccessDenied, _RIGHT),
    "GROUP_AUTHORIZATION_FAILED": (AccessDenied, _RIGHT),
    "CLUSTER_AUTHORIZATION_FAILED": (AccessDenied, _RIGHT),
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": (AccessDenied, _RIGHT),
    "UNKNOWN_TOPIC_OR_PART": (SourceMissing, "look at the topic's name"),
    "_UNKNOWN_TOPIC": (SourceMissing, "look at the topic's name"),
    "_UNKNOWN_PARTITION": (SourceMissing, None),
    "TOPIC_EXCEPTION": (InvalidValue, "a topic's name has letters, digits, `.`, `_` and `-`"),
    "_INVALID_ARG": (InvalidValue, None),
    "_CONFLICT": (InvalidValue, None),
    "INVALID_TRANSACTION_TIMEOUT": (InvalidValue, "lower `transaction_timeout_seconds`, or raise the brokers' limit"),
    "MSG_SIZE_TOO_LARGE": (TargetUnusable, "lower `max_message_bytes`, so that such records are rejected"),
    "INVALID_REPLICATION_FACTOR": (InvalidValue, None),
    "INVALID_PARTITIONS": (InvalidValue, None),
    "POLICY_VIOLATION": (AccessDenied, None),
    "_TRANSPORT": (Transient, None),
    "_RESOLVE": (Transient, "look at the host's name"),
    "_TIMED_OUT": (Transient, None),
    "_ALL_BROKERS_DOWN": (Transient, None),
}


def meaning(error: Any, about: str | None = None) -> DataHubError:
    """What an error of the client library means to us."""
    kind, hint = _MEANINGS.get(error.name(), (Transient if error.retriable() else ConnectorError, None))
    text = redact(str(error.str()))
    return kind(f"{about}: {text}" if about else text, hint=hint)


@contextmanager
def telling(told: Told | None = None) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    from confluent_kafka import KafkaError, KafkaException

    try:
        yield
    except KafkaException as error:
        first = error.args[0] if error.args else None
        if not isinstance(first, KafkaError):
            raise InvalidValue(f"the connection's settings are wrong: {redact(str(first))}") from error
        refusal = told.refusal() if told is not None else None
        raise refusal or meaning(first) from error


def _resolved(path: str, folder: str) -> str:
    if is_url(path):
        return path
    return join(folder, path) if is_url(folder) else os.path.normpath(os.path.join(folder, path))
