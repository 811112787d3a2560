"""The event bus of the hub: where its events go, and sending those that wait in the store.

`.beam-datahub/events.yaml` of the project says so. Events are written to the store together with what they tell of, and sent
behind that; what could not be sent waits there for the next run. So an event may come twice, with the same id, and none is lost.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import beam_datahub
from beam_datahub.errors import DataHubError, InvalidValue, Place
from beam_datahub.runtime.hub_events import ENVELOPE, TYPES, addressed
from beam_datahub.security import Secrets, redact
from beam_datahub.store.location import FOLDER, Location, project_folder

if TYPE_CHECKING:
    from beam_datahub.component.sink import Sink
    from beam_datahub.runtime.store_link import StoreLink
    from beam_datahub.store.records import HubEvent

FILE = "events.yaml"
VARIABLE = "BEAM_DATAHUB_EVENTS"
_AT_ONCE = 500
# How each kind of system calls what a message goes to, and how it is made.
_TARGETS: Mapping[str, Mapping[str, Any]] = {
    "kafka": {"topic": "{topic}", "partitions": 1},
    "nats": {"stream": "{stream}", "message_subject": "{topic}", "make_stream": True},
    "redis_stream": {"stream": "{topic}"},
    "rabbitmq": {"queue": "{topic}", "make_queue": "quorum"},
    "mqtt": {"topic": "{topic}"},
    "pubsub": {"topic": "{topic}", "make_topic": True},
    "sqs": {"queue": "{stream}", "make_queue": True},
}


class BusSettings(BaseModel):
    """Where the events of the hub go."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=beam_datahub.documents_options)

    connection: str
    """The name of a stored connection."""
    prefix: str = Field(default="data-hub", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")
    """What the names of topics and the types of events begin with."""
    types: tuple[str, ...] = tuple(TYPES)
    """Which types of events are sent; all when left out."""
    options: Mapping[str, Any] = {}
    """Options of the destination, such as `{partitions: 3}`; `{topic}` in a text stands for the name of the topic."""

    @field_validator("types")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in TYPES:
                raise ValueError(f"there is no type '{name}': {', '.join(TYPES)}")
        return value


@dataclass(frozen=True)
class Sending:
    """How many events were sent, and what kept the others from it."""

    count: int
    problem: str | None = None


def settings_file() -> Path:
    """The file that says where events go."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else project_folder() / FOLDER / FILE


def bus_settings() -> BusSettings | None:
    """Where events go; None where nobody wants any. Raises UnreadableSpec, InvalidValue."""
    path = settings_file()
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise InvalidValue(f"{VARIABLE} names a file that is not there: {path}")
        return None
    from beam_datahub.spec.settings_file import section

    with section(path, "events", "a `connection`") as (findings, given):
        found = findings.validate(BusSettings, given, ("events",))
    return found


def wanted_events() -> tuple[str, ...]:
    """The types of events that somebody wants; of a file that is wrong, none: sending tells what is wrong with it."""
    try:
        settings = bus_settings()
    except DataHubError:
        return ()
    return () if settings is None else settings.types


def send_waiting(store: StoreLink, location: Location) -> Sending:
    """Send the events that wait in the store, the oldest first. Raises nothing: what cannot be sent waits on."""
    count = 0
    try:
        settings = bus_settings()
        if settings is None:
            return Sending(0)
        while waiting := store.reader.events.waiting(_AT_ONCE):
            _send(settings, waiting, store, location)
            store.writer.events.sent([each.event_id for each in waiting])
            count += len(waiting)
    except Exception as failure:
        reason = failure.reason if isinstance(failure, DataHubError) else f"{type(failure).__name__}: {failure}"
        return Sending(count, redact(reason))
    return Sending(count)


def tell_waiting(store: StoreLink, location: Location, warn: Callable[[str], None]) -> None:
    """Send the events that wait in the store, where there is a bus; what cannot be sent is warned of. Raises nothing."""
    found = send_waiting(store, location)
    if found.problem is not None:
        warn(f"events of the hub are not sent, and wait in the store: {found.problem}")


def _send(settings: BusSettings, waiting: Sequence[HubEvent], store: StoreLink, location: Location) -> None:
    schema = _registered(settings, store)
    topics: dict[str, list[dict[str, Any]]] = {f"{settings.prefix}.events": []}
    for each in waiting:
        document = addressed(each.document, settings.prefix, schema)
        topics[f"{settings.prefix}.events"].append(document)
        topics.setdefault(document["type"], []).append(document)
    connector, connection = _connection(settings, store, location)
    for topic, documents in topics.items():
        _publish(_sink(settings, topic, connector, connection), documents)


def _registered(settings: BusSettings, store: StoreLink) -> str:
    """The subject and version of the schema of events, which is registered where it is not yet."""
    subject, text = f"{settings.prefix}.events-value", json.dumps(ENVELOPE, indent=1)
    for version in store.reader.subjects.versions(subject):
        if version.text == text:
            return f"{subject}/versions/{version.version}"
    from beam_datahub.runtime.schemas import SchemaRegistry
    from beam_datahub.schemas.document import Format

    made = SchemaRegistry(store.reader, store.writer).register(subject, Format.JSON, text).version
    return f"{subject}/versions/{made.version}"


def _connection(settings: BusSettings, store: StoreLink, location: Location) -> tuple[str, dict[str, Any]]:
    """The connector of the bus, and the settings of its connection. Raises SpecError, WrongKey."""
    from beam_datahub.runtime.connections import settings_of

    stored = store.reader.connections.get(settings.connection)
    given = settings_of(stored, location, Secrets())
    # What is sent lies beside the store for a moment, and not in somebody's project.
    return stored.connector, {"staging": str(location.folder / "events"), **given}


def _sink(settings: BusSettings, topic: str, connector: str, given: Mapping[str, Any]) -> Sink:
    """The destination behind a topic. Raises SpecError."""
    from beam_datahub.runtime.connections import kinds_of

    kind = kinds_of(connector).get("sink")
    if kind is None or not hasattr(kind, "encoding"):
        raise InvalidValue(f"events go to a topic or a queue, and '{connector}' is none", hint="take kafka, nats or the like")
    # Names of streams and of queues have no dots everywhere.
    names = {"{topic}": topic, "{stream}": topic.replace(".", "-")}
    options = {"format": "text", **_TARGETS.get(connector, {}), **settings.options}
    from beam_datahub.spec.words import spec_errors

    connection = kind.Connection.model_validate(dict(given))
    filled = {key: _filled(value, names) for key, value in options.items()}
    try:
        chosen = kind.Options.model_validate(filled)
    except ValidationError as failure:
        keys, error = spec_errors(kind.Options, filled, failure)[0]
        raise error.at(Place(str(settings_file()), None, ("events", "options", *keys))) from failure
    made: Sink = kind(connection.resolved(str(project_folder())), chosen)
    return made


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    for name, text in names.items():
        value = value.replace(name, text) if isinstance(value, str) else value
    return value


def _publish(sink: Sink, documents: Sequence[Mapping[str, Any]]) -> None:
    """Send events to one topic, as one commit. Raises ConnectorError."""
    import pyarrow as pa

    from beam_datahub.component.sink import WriteRequest
    from beam_datahub.errors import TargetUnusable

    texts = [json.dumps(each, ensure_ascii=False) for each in documents]
    batch = pa.record_batch({"aggregateid": [each["aggregateid"] for each in documents], "event": texts})
    request = WriteRequest(f"events-{uuid.uuid4().hex[:12]}", "events", batch.schema, key=("aggregateid",))
    sink.prepare(request)
    writer = sink.open(request)
    try:
        refused = writer.write(batch)
        if refused is not None:
            raise TargetUnusable(f"an event is refused: {refused['message'][0].as_py()}")
        receipts = writer.close()
    except BaseException:
        writer.discard()
        sink.abort(request)
        raise
    try:
        sink.commit(request, receipts)
    except BaseException:
        # Another try sends them anew.
        sink.abort(request)
        raise
