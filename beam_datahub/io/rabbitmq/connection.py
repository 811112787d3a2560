"""How a RabbitMQ server is reached, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import Field

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
    SourceMissing,
    TargetUnusable,
    Transient,
)
from beam_datahub.security import redact

# It logs each refusal with its stack; what matters is in the errors.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class RabbitmqConnection(ServerConnection):
    """A RabbitMQ server, and how it is reached."""

    port: int | None = Field(default=None, gt=0, lt=65536)
    """The server's port: 5672 when left out, with TLS 5671."""

    virtual_host: str = "/"
    """The virtual host."""

    heartbeat_seconds: int = Field(default=60, ge=5)
    """How soon the server and we find out that the other is gone."""

    @property
    def place(self) -> str:
        """Where the server is."""
        return f"{self.host}:{self.port or (5671 if self.speaks_tls else 5672)}"

    def dataset(self, name: str) -> DatasetName:
        """What a queue or an exchange is called."""
        return DatasetName(f"amqp://{self.place}", f"{self.virtual_host.strip('/')}/{name}".lstrip("/"))

    def parameters(self) -> Any:
        """The parameters as the client library takes them. Raises MissingDependency, AccessDenied."""
        try:
            import pika
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "the connector 'rabbitmq' needs the module 'pika'", hint="pip install 'beam-datahub[rabbitmq]'"
            ) from error
        context = self.tls_context()
        login = {}
        if self.user is not None:
            login["credentials"] = pika.PlainCredentials(self.user, self.secret() or "")
        return pika.ConnectionParameters(
            host=self.host,
            port=self.port or (5671 if context is not None else 5672),
            virtual_host=self.virtual_host,
            ssl_options=None if context is None else pika.SSLOptions(context, self.host),
            heartbeat=self.heartbeat_seconds,
            socket_timeout=self.connect_timeout_seconds,
            stack_timeout=self.connect_timeout_seconds,
            blocked_connection_timeout=self.timeout_seconds,
            client_properties={"connection_name": "beam-datahub"},
            **login,
        )

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of a connection of its own. Raises ConnectorError."""
        with self.opened() as connection:
            yield connection.channel()

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """A connection, for one thread. Raises ConnectorError."""
        parameters = self.parameters()
        import pika
        from pika.adapters.select_connection import SelectConnection

        loops: list[Any] = []

        class Connection(SelectConnection):
            """Remembers its loop, which the library leaves open where it cannot connect, and where the connection is lost."""

            @classmethod
            def create_connection(cls, *arguments: Any, **named: Any) -> Any:
                loops.append(named.get("custom_ioloop"))
                return super().create_connection(*arguments, **named)

        try:
            with telling(self.place):
                connection = pika.BlockingConnection(parameters, _impl_class=Connection)
                try:
                    yield connection
                finally:
                    with suppress(Exception):
                        connection.close()
        finally:
            for loop in loops:
                with suppress(Exception):
                    loop.close()

    def reached(self) -> Report:
        """What `check` tells of a server that answers."""

        def ask() -> str:
            with self.channel() as channel:
                facts = channel.connection._impl.server_properties or {}
                return f"RabbitMQ {facts.get('version', 'of an unknown version')}"

        return reported("server", ask)


_MEANINGS: dict[int, tuple[type[DataHubError], str | None]] = {
    403: (AccessDenied, "have the server's administrator grant it"),
    404: (SourceMissing, "look at the names of queues and exchanges, and at `virtual_host`"),
    405: (Transient, "somebody else has the queue for himself"),
    406: (InvalidValue, "it is there, and is of another kind"),
    530: (AccessDenied, "look at `virtual_host`, and at the rights of the user in it"),
    320: (Transient, "the server has ended the connection"),
    312: (TargetUnusable, "no queue is bound to the exchange for this routing key"),
}


@contextmanager
def telling(place: str) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    from pika.exceptions import AMQPError

    try:
        yield
    except (AMQPError, OSError) as error:
        raise meaning(place, error) from error


def meaning(place: str, error: BaseException) -> DataHubError:
    """What an error of the client library means to us."""
    from pika import exceptions

    if isinstance(error, DataHubError):
        return error
    text = redact(str(error) or type(error).__name__)
    login = (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError)
    if isinstance(error, login) or "ACCESS_REFUSED - Login" in text:
        return AccessDenied(f"{place}: the login is refused", hint="look at `user` and `password`")
    if isinstance(error, exceptions.ProbableAccessDeniedError):
        return AccessDenied(f"{place}: {text}", hint=_MEANINGS[530][1])
    if isinstance(error, exceptions.ChannelClosed | exceptions.ConnectionClosed):
        kind, hint = _MEANINGS.get(error.reply_code, (ConnectorError if error.reply_code >= 400 else Transient, None))
        return kind(f"{place}: {redact(error.reply_text)}", hint=hint)
    if "certificate" in text.lower() or "SSL" in text:
        return AccessDenied(f"{place}: {text}", hint="look at `tls` and the `tls_…` files")
    if isinstance(error, exceptions.AMQPConnectionError | exceptions.AMQPError | OSError):
        return Transient(f"{place} does not answer: {text}", hint="look at `host` and `port`, and whether the server is up")
    return ConnectorError(f"{place}: {text}")
