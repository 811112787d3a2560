"""How Amazon SQS is reached, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import Field

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
from beam_datahub.security import Secret, redact


class SqsConnection(MessageConnection):
    """Amazon SQS in a region, or a service that speaks its protocol; without keys, AWS's usual ways to find them are taken."""

    region: str | None = None
    """The region, such as `eu-central-1`; AWS's own settings when left out."""

    endpoint_url: str | None = None
    """The address of a service that speaks SQS's protocol, or of a private endpoint."""

    access_key: str | None = None
    """The id of an access key."""

    secret_key: Secret | None = None
    """Its secret, as `${secret.NAME}`."""

    session_token: Secret | None = None
    """The token of a temporary key, as `${secret.NAME}`."""

    profile: str | None = None
    """A profile of AWS's own settings."""

    role: str | None = None
    """The ARN of a role to take on."""

    calls_at_once: int = Field(default=8, gt=0, le=32)
    """How many calls are under way at the same time; each takes ten messages at most."""

    @property
    def place(self) -> str:
        """Where the service is."""
        return self.endpoint_url or f"sqs.{self.region or 'aws'}"

    def dataset(self, queue: str) -> DatasetName:
        """What a queue is called."""
        return DatasetName(f"sqs://{self.endpoint_url.rpartition('//')[2] if self.endpoint_url else self.region or 'aws'}", queue)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client of the service. Raises ConnectorError."""
        try:
            import boto3
            from botocore.config import Config
        except ModuleNotFoundError as error:
            raise MissingDependency(f"the connector 'sqs' needs the module '{error.name}'", hint="pip install boto3") from error
        with telling(self.place):
            keys: dict[str, Any] = {
                "aws_access_key_id": self.access_key,
                "aws_secret_access_key": None if self.secret_key is None else self.secret_key.reveal(),
                "aws_session_token": None if self.session_token is None else self.session_token.reveal(),
                "profile_name": self.profile,
                "region_name": self.region,
            }
            session = boto3.Session(**{name: value for name, value in keys.items() if value is not None})
            if self.role is not None:
                session = self._assumed(session)
            settings = Config(
                connect_timeout=self.connect_timeout_seconds,
                # A long poll answers within 20 seconds.
                read_timeout=max(30, self.connect_timeout_seconds),
                retries={"mode": "standard", "total_max_attempts": 5},
                max_pool_connections=32,
            )
            client = session.client("sqs", endpoint_url=self.endpoint_url, config=settings)
            try:
                yield client
            finally:
                client.close()

    def _assumed(self, session: Any) -> Any:
        import boto3

        sts = session.client("sts", endpoint_url=self.endpoint_url)
        found = sts.assume_role(RoleArn=self.role, RoleSessionName="beam-datahub")["Credentials"]
        return boto3.Session(
            aws_access_key_id=found["AccessKeyId"],
            aws_secret_access_key=found["SecretAccessKey"],
            aws_session_token=found["SessionToken"],
            region_name=session.region_name,
        )

    def url(self, client: Any, queue: str) -> str:
        """The URL of a queue that is named by its name or its URL. Raises SourceMissing."""
        return queue if queue.startswith(("http://", "https://")) else str(client.get_queue_url(QueueName=queue)["QueueUrl"])

    def reached(self) -> Report:
        """What `check` tells of a service that answers."""

        def ask() -> str:
            with self.client() as client:
                client.list_queues(MaxResults=1)
                return "answers"

        return reported("service", ask)


_RIGHTS = "look at the keys, the role and their policies"
_MEANINGS: dict[str, tuple[type[DataHubError], str | None]] = {
    "AWS.SimpleQueueService.NonExistentQueue": (SourceMissing, "look at `queue` and `region`"),
    "QueueDoesNotExist": (SourceMissing, "look at `queue` and `region`"),
    "AccessDenied": (AccessDenied, _RIGHTS),
    "AccessDeniedException": (AccessDenied, _RIGHTS),
    "InvalidClientTokenId": (AccessDenied, _RIGHTS),
    "SignatureDoesNotMatch": (AccessDenied, _RIGHTS),
    "ExpiredToken": (AccessDenied, _RIGHTS),
    "UnrecognizedClientException": (AccessDenied, _RIGHTS),
    "InvalidParameterValue": (InvalidValue, None),
    "MissingParameter": (InvalidValue, None),
    "RequestThrottled": (Transient, None),
    "Throttling": (Transient, None),
    "OverLimit": (Transient, "too many messages are under way: 120,000 of a standard queue, 20,000 of a FIFO queue"),
}


@contextmanager
def telling(place: str) -> Iterator[None]:
    """Turn errors of the client library into ours."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        facts = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        fallback: type[DataHubError] = Transient if status >= 500 or status == 429 else ConnectorError
        kind, hint = _MEANINGS.get(facts.get("Code", ""), (fallback, None))
        raise kind(f"{place}: {redact(str(facts.get('Message') or error))}", hint=hint) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise AccessDenied(f"{place}: {redact(str(error))}", hint=_RIGHTS) from error
    except (exceptions.NoRegionError, ValueError) as error:
        raise InvalidValue(f"{place}: {redact(str(error))}", hint="name the `region`") from error
    except (exceptions.HTTPClientError, exceptions.BotoCoreError, OSError) as error:
        raise Transient(f"{place} does not answer: {redact(str(error))}", hint="look at `region` and `endpoint_url`") from error
