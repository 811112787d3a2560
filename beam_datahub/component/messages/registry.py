"""Schemas of a Confluent-compatible registry, and the five bytes in front of every value that name one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

from beam_datahub.component.config import Config
from beam_datahub.component.retry import Attempts
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    InvalidSchema,
    MissingDependency,
    MissingValue,
    SourceMissing,
    Transient,
)
from beam_datahub.schemas.document import Document, Format
from beam_datahub.security import Secret

# A zero, and the number of the schema.
PREFIX = struct.Struct(">bI")
_FORMATS = {"AVRO": Format.AVRO, "PROTOBUF": Format.PROTOBUF, "JSON": Format.JSON}


class SchemaRegistry(Config):
    """A schema registry that speaks Confluent's protocol."""

    url: str
    """Its address, such as `https://registry.example.com`."""

    user: str | None = None
    """The name to log in with."""

    password: Secret | None = None
    """Its password, as `${secret.NAME}`."""

    tls_ca: str | None = None
    """The file of the certificates that may sign the registry's."""

    retry: Attempts = Attempts()
    """How often a source asks for the schema of a message that the registry does not have, or not yet, and where it does not
    answer, before the message is rejected or the run fails."""


class Registry:
    """One registry; schemas are fetched once a process."""

    def __init__(self, settings: SchemaRegistry | None, wanted_by: str) -> None:
        if settings is None:
            raise MissingValue(f"{wanted_by} needs a schema registry", hint="name it: `connection: {registry: {url: https://…}}`")
        self._settings = settings
        self.retry = settings.retry

    def document(self, number: int) -> Document:
        """The schema with this number. Raises SourceMissing, AccessDenied, Transient."""
        with _asking(self._settings.url, f"schema {number}"):
            return _by_number(_client(self._settings), number)

    def latest(self, subject: str) -> Document:
        """The newest schema of a subject. Raises SourceMissing, AccessDenied, Transient."""
        with _asking(self._settings.url, f"the subject '{subject}'"):
            client = _client(self._settings)
            return _document(client, client.get_latest_version(subject).schema)

    def register(self, subject: str, text: str) -> int:
        """The number of an Avro schema under a subject, made a version of it where it is none yet. Raises ConnectorError."""
        from confluent_kafka.schema_registry import Schema

        with _asking(self._settings.url, f"the subject '{subject}'"):
            return int(_client(self._settings).register_schema(subject, Schema(text, "AVRO")))


@lru_cache(maxsize=16)
def _client(settings: SchemaRegistry) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"schema registries need the module '{error.name}'", hint="pip install 'beam-datahub[kafka]'"
        ) from error
    found: dict[str, Any] = {"url": settings.url, "timeout": 20}
    if settings.user is not None:
        password = settings.password.reveal() if settings.password is not None else ""
        found["basic.auth.user.info"] = f"{settings.user}:{password}"
    if settings.tls_ca is not None:
        found["ssl.ca.location"] = settings.tls_ca
    return SchemaRegistryClient(found)


@lru_cache(maxsize=1024)
def _by_number(client: Any, number: int) -> Document:
    return _document(client, client.get_schema(number))


def _document(client: Any, schema: Any) -> Document:
    texts: dict[str, str] = {}
    _add_references(client, schema, texts)
    return Document(_FORMATS[schema.schema_type], schema.schema_str, texts)


def _add_references(client: Any, schema: Any, texts: dict[str, str]) -> None:
    for each in schema.references or ():
        if each.name not in texts:
            found = client.get_version(each.subject, each.version).schema
            texts[each.name] = found.schema_str
            _add_references(client, found, texts)


@contextmanager
def _asking(url: str, what: str) -> Iterator[None]:
    """Turn errors of the registry's client into ours."""
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    try:
        yield
    except SchemaRegistryError as error:
        status = error.http_status_code
        if status in (401, 403):
            raise AccessDenied(f"the registry at {url} refuses {what}", hint="look at its `user` and `password`") from error
        if status == 404:
            raise SourceMissing(f"the registry at {url} does not have {what}") from error
        if status in (409, 422):
            raise InvalidSchema(f"the registry at {url} refuses the schema of {what}: {error.error_message}") from error
        kind: type[ConnectorError] = Transient if status >= 500 or status == 429 else ConnectorError
        raise kind(f"the registry at {url} failed on {what}: {error.error_message}") from error
    except _unanswered() as error:
        raise Transient(f"the registry at {url} does not answer: {error}", hint="look at its `url`") from error


@lru_cache
def _unanswered() -> tuple[type[Exception], ...]:
    """The errors of the client's own client, which is `httpx2` or, in older ones, `httpx`."""
    found = []
    for name in ("httpx2", "httpx"):
        with suppress(ImportError):
            found.append(import_module(name).HTTPError)
    return tuple(found)
