"""How NATS servers are reached, and what their errors mean."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.connection import LoginConnection
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
from beam_datahub.security import Secret, redact

_Value = TypeVar("_Value")
_LOGIN = "look at `user`, `password`, `token` and `credentials`"


class NatsConnection(LoginConnection):
    """NATS servers with JetStream, and how they are reached."""

    servers: str = "nats://localhost:4222"
    """One server or several, as `nats://host:port,nats://host:port`; they tell the others."""

    token: Secret | None = None
    """A token to log in with, as `${secret.NAME}`."""

    credentials: str | None = None
    """A credentials file (`.creds`) to log in with."""

    domain: str | None = None
    """The JetStream domain, where it is not that of the servers."""

    @property
    def place(self) -> str:
        """The first server."""
        return self.servers.split(",")[0].strip().rpartition("://")[2].rpartition("@")[2]

    def dataset(self, stream: str) -> DatasetName:
        """What a stream is called."""
        return DatasetName(f"nats://{self.place}", stream)

    @contextmanager
    def connected(self) -> Iterator[Session]:
        """The servers. Raises ConnectorError."""
        session = Session(self)
        try:
            with telling(session):
                yield session
        finally:
            session.close()

    def reached(self) -> Report:
        """What `check` tells of a server that answers."""

        def ask() -> str:
            with self.connected() as session:
                account = session.do(session.stream.account_info())
                version = session.client.connected_server_version
                return f"NATS {version}, streams: {account.streams}"

        return reported("server", ask)


class Session:
    """A connection that lives in a thread of its own, because the client library is asynchronous."""

    def __init__(self, connection: NatsConnection) -> None:
        try:
            from nats.aio.client import Client
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"the connector 'nats' needs the module '{error.name}'", hint="pip install 'beam-datahub[nats]'"
            ) from error
        self.connection = connection
        self.words: str | None = None
        """What the client library last told of the connection."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self.client = Client()
        try:
            with telling(self):
                self.do(self._open(connection), connection.connect_timeout_seconds + 5)
        except BaseException:
            self.close()
            raise
        self.stream = self.client.jetstream(timeout=connection.connect_timeout_seconds, domain=connection.domain)

    async def _open(self, connection: NatsConnection) -> None:
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def told(error: Exception) -> None:
            from nats.errors import AuthorizationError

            if refused.done() and not refused.cancelled():
                # It tried once more meanwhile: what comes of that says less.
                return
            self.words = str(error) or type(error).__name__
            # The client would try again for as long as it may try.
            lasting = isinstance(error, AuthorizationError) or "uthorization" in self.words or "uthentication" in self.words
            if (lasting or "CERTIFICATE" in self.words.upper()) and not refused.done():
                refused.set_exception(error)

        login: dict[str, Any] = {
            "user": connection.user,
            "password": connection.secret(),
            "token": None if connection.token is None else connection.token.reveal(),
            "user_credentials": connection.credentials,
            "tls": connection.tls_context(),
        }
        opening = asyncio.ensure_future(
            self.client.connect(
                [each.strip() for each in connection.servers.split(",")],
                name="beam-datahub",
                error_cb=told,
                connect_timeout=connection.connect_timeout_seconds,
                reconnect_time_wait=1,
                max_reconnect_attempts=connection.timeout_seconds,
                **{name: value for name, value in login.items() if value is not None},
            )
        )
        done, _ = await asyncio.wait(
            [opening, refused], timeout=connection.connect_timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if opening in done:
            refused.cancel()
            opening.result()
            return
        opening.cancel()
        with suppress(BaseException):
            await opening
        if refused in done:
            refused.result()
        raise TimeoutError

    def do(self, work: Coroutine[Any, Any, _Value], seconds: float | None = None) -> _Value:
        """What `work` gives, on the connection's own thread."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the connection. Raises nothing."""
        if self._loop.is_closed():
            return
        with suppress(BaseException):
            self.do(self.client.close(), 5)
        with suppress(BaseException):
            self.do(_cancel_all(), 5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def telling(session: Session) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    from nats import errors
    from nats.js import errors as js

    place = session.connection.place
    try:
        yield
    except DataHubError:
        raise
    except (errors.AuthorizationError, errors.InvalidUserCredentialsError, errors.SecureConnRequiredError) as error:
        raise AccessDenied(f"{place}: {redact(str(error))}", hint=_LOGIN) from error
    except js.NotFoundError as error:
        raise SourceMissing(
            f"{place}: {redact(error.description or str(error))}", hint="look at `stream` and `consumer`"
        ) from error
    except (js.ServiceUnavailableError, js.NoStreamResponseError, errors.NoRespondersError) as error:
        raise TargetUnusable(
            f"{place}: nobody answers for JetStream or the subject",
            hint="is JetStream on for this account, and does a stream take the subject?",
        ) from error
    except js.APIError as error:
        kind: type[DataHubError] = InvalidValue if error.code == 400 else ConnectorError
        raise kind(f"{place}: {redact(error.description or str(error))}") from error
    except errors.MaxPayloadError as error:
        raise TargetUnusable(f"{place}: a message is larger than the server takes", hint="lower `max_message_bytes`") from error
    except (errors.Error, OSError, TimeoutError, asyncio.CancelledError) as error:
        words = redact(session.words or str(error) or type(error).__name__)
        if "permissions violation" in words.lower() or "uthorization" in words:
            raise AccessDenied(f"{place}: {words}", hint="have the server's administrator grant it") from error
        if "certificate" in words.lower():
            raise AccessDenied(f"{place}: {words}", hint="look at `tls` and the `tls_…` files") from error
        raise Transient(f"{place} does not answer: {words}", hint="look at `servers`, and whether the server is up") from error
