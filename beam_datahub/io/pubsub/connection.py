"""How Google Pub/Sub is reached, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.connection import MessageConnection
from beam_datahub.component.messages.source import reported
from beam_datahub.component.source import Report
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    DataHubError,
    InvalidValue,
    MissingDependency,
    SourceMissing,
    Transient,
)
from beam_datahub.security import redact


class PubsubConnection(MessageConnection):
    """Google Pub/Sub of a project; without `credentials`, Google's usual ways to find them are taken."""

    project: str
    """The project."""

    credentials: str | None = None
    """The key file of a service account."""

    emulator: str | None = None
    """An emulator, as `host:port`, in the place of Google's service."""

    @property
    def place(self) -> str:
        """Where the service is."""
        return self.emulator or "pubsub.googleapis.com"

    def dataset(self, topic: str) -> DatasetName:
        """What a topic or a subscription is called."""
        return DatasetName("pubsub", topic if topic.startswith("projects/") else f"topic:{self.project}:{topic}")

    def path(self, kind: str, name: str) -> str:
        """The whole name of a topic or a subscription."""
        return name if name.startswith("projects/") else f"projects/{self.project}/{kind}/{name}"

    @contextmanager
    def subscriber(self) -> Iterator[Any]:
        """A client that receives. Raises ConnectorError."""
        with self._client("Subscriber") as client:
            yield client

    @contextmanager
    def publisher(self) -> Iterator[Any]:
        """A client that sends. Raises ConnectorError."""
        with self._client("Publisher") as client:
            yield client

    @contextmanager
    def _client(self, kind: str) -> Iterator[Any]:
        try:
            from google import pubsub_v1
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"the connector 'pubsub' needs the module '{error.name}'", hint="pip install google-cloud-pubsub"
            ) from error
        make = getattr(pubsub_v1, f"{kind}Client")
        with telling(self.place):
            if self.emulator is not None:
                import grpc  # type: ignore[import-untyped]

                channel = grpc.insecure_channel(self.emulator)
                client = make(transport=make.get_transport_class("grpc")(channel=channel))
            elif self.credentials is not None:
                client = make.from_service_account_file(self.credentials)
            else:
                client = make()
            try:
                yield client
            finally:
                client.transport.close()

    def reached(self) -> Report:
        """What `check` tells of a service that answers."""

        def ask() -> str:
            with self.publisher() as client:
                next(
                    iter(
                        client.list_topics(project=f"projects/{self.project}", retry=None, timeout=self.connect_timeout_seconds)
                    ),
                    None,
                )
                return f"project {self.project}"

        return reported("service", ask)


_MEANINGS: dict[str, tuple[type[DataHubError], str | None]] = {
    "NotFound": (SourceMissing, "look at the project and the name"),
    "PermissionDenied": (AccessDenied, "have the project's administrator grant it"),
    "Forbidden": (AccessDenied, "have the project's administrator grant it"),
    "Unauthenticated": (AccessDenied, "look at `credentials`"),
    "InvalidArgument": (InvalidValue, None),
    "FailedPrecondition": (InvalidValue, None),
    "ResourceExhausted": (Transient, "a quota is used up"),
    "ServiceUnavailable": (Transient, "is the service to be reached from here?"),
    "DeadlineExceeded": (Transient, None),
    "RetryError": (Transient, "is the service to be reached from here?"),
    "InternalServerError": (Transient, None),
    "Aborted": (Transient, None),
}


@contextmanager
def telling(place: str) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPIError as error:
        kind, hint = _MEANINGS.get(type(error).__name__, (ConnectorError, None))
        raise kind(f"{place}: {redact(str(getattr(error, 'message', '') or error))}", hint=hint) from error
    except GoogleAuthError as error:
        raise AccessDenied(f"{place}: {redact(str(error))}", hint="name a key file: `credentials`") from error
    except (OSError, ValueError) as error:
        raise AccessDenied(f"{place}: {redact(str(error))}", hint="look at `credentials`") from error
