"""How a Redis server is reached, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from beam_datahub.component.database_tls import handshake_hint
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.connection import ServerConnection
from beam_datahub.component.messages.source import reported
from beam_datahub.component.source import Report
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
from beam_datahub.security import redact

if TYPE_CHECKING:
    from redis import Redis

# What is tried again at once, with pauses that grow up to this long.
_LONGEST_PAUSE_SECONDS = 2.0


class RedisConnection(ServerConnection):
    """A Redis server (or one that speaks its protocol, as Valkey does), and how it is reached."""

    port: int = Field(default=6379, gt=0, lt=65536)
    """The server's port."""

    database: int = Field(default=0, ge=0)
    """The number of the database."""

    @property
    def place(self) -> str:
        """Where the server is."""
        return f"{self.host}:{self.port}"

    def dataset(self, stream: str) -> DatasetName:
        """What a stream is called."""
        return DatasetName(f"redis://{self.place}", f"{self.database}/{stream}")

    def _refused(self) -> None:
        """Ask once, because what is refused is refused again. Raises what the client library does."""
        from redis.exceptions import AuthenticationError, RedisError

        once = self.client(patient=False)
        try:
            once.ping()
        except AuthenticationError:
            raise
        except RedisError as error:
            # It may be away for a moment.
            if handshake_hint(str(error)) is not None:
                raise
        finally:
            once.close()

    def client(self, *, patient: bool = True, timeout_seconds: float | None = None) -> Redis:
        """A client, which connects when it is first used, and again where the server was away. Raises MissingDependency."""
        try:
            import redis
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "the connector 'redis_stream' needs the module 'redis'", hint="pip install 'beam-datahub[redis_stream]'"
            ) from error
        from redis.backoff import ExponentialBackoff, NoBackoff
        from redis.retry import Retry

        tls: dict[str, Any] = {}
        if self.speaks_tls:
            self.tls_context()
            tls = {
                "ssl": True,
                "ssl_ca_certs": self.tls_ca,
                "ssl_certfile": self.tls_certificate,
                "ssl_keyfile": self.tls_key,
            }
        attempts = max(3, round(self.timeout_seconds / _LONGEST_PAUSE_SECONDS))
        growing = ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=0.05)
        return redis.Redis(
            host=self.host,
            port=self.port,
            db=self.database,
            username=self.user,
            password=self.secret(),
            socket_connect_timeout=self.connect_timeout_seconds,
            socket_timeout=timeout_seconds or self.timeout_seconds,
            # A server that is starting says so, and answers soon.
            retry=Retry(growing, attempts) if patient else Retry(NoBackoff(), 0),
            retry_on_error=[redis.exceptions.BusyLoadingError],
            client_name="beam-datahub",
            decode_responses=False,
            protocol=2,
            **tls,
        )

    @contextmanager
    def connected(self, *, patient: bool = True, timeout_seconds: float | None = None) -> Iterator[Redis]:
        """The server. One who is not `patient` tries once; an answer may take `timeout_seconds`. Raises ConnectorError."""
        client = self.client(patient=patient, timeout_seconds=timeout_seconds)
        with telling(self.place):
            try:
                if patient:
                    self._refused()
                yield client
            finally:
                client.close()

    def reached(self) -> Report:
        """What `check` tells of a server that answers."""

        def ask() -> str:
            with self.connected(patient=False) as client:
                facts: Any = client.info("server")
                return f"Redis {facts.get('redis_version', 'of an unknown version')}"

        return reported("server", ask)


# The first word of what the server says: what it means, and a hint.
_LOGIN = "look at `user` and `password`"
_MEANINGS: dict[str, tuple[type[DataHubError], str | None]] = {
    "NOAUTH": (AccessDenied, _LOGIN),
    "WRONGPASS": (AccessDenied, _LOGIN),
    "NOPERM": (AccessDenied, "have the server's administrator grant it"),
    "READONLY": (TargetUnusable, "it is a replica: name the primary"),
    "OOM": (TargetUnusable, "it has no memory left (`maxmemory`)"),
    "WRONGTYPE": (UnreadableData, "the key is there, and is no stream"),
    "LOADING": (Transient, None),
    "BUSY": (Transient, None),
    "TRYAGAIN": (Transient, None),
    "MASTERDOWN": (Transient, None),
    "MISCONF": (TargetUnusable, "it cannot save its data: look at its log"),
    "MOVED": (InvalidValue, "it is a cluster, which is not supported: name a server by itself"),
    "NOGROUP": (Transient, "somebody has removed the stream or its group meanwhile"),
}


@contextmanager
def telling(place: str) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    from redis import exceptions

    try:
        yield
    except exceptions.AuthenticationError as error:
        raise AccessDenied(f"{place}: {redact(str(error))}", hint=_LOGIN) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        if (hint := handshake_hint(str(error))) is not None:
            raise AccessDenied(f"{place}: {redact(str(error))}", hint=hint) from error
        raise Transient(
            f"{place} does not answer: {redact(str(error))}", hint="look at `host` and `port`, and whether the server is up"
        ) from error
    except exceptions.RedisError as error:
        text = redact(str(error))
        # The client leaves some of the server's first words away, and makes them classes.
        word = next((name for name, kind in _CLASSES.items() if isinstance(error, getattr(exceptions, kind, ()))), None)
        kind, hint = _MEANINGS.get(word or text.split(" ")[0], (ConnectorError, None))
        raise kind(f"{place}: {text}", hint=hint) from error


_CLASSES = {"NOPERM": "NoPermissionError", "READONLY": "ReadOnlyError", "OOM": "OutOfMemoryError", "LOADING": "BusyLoadingError"}
