"""Topics for tests, filled and read by Kafka's own client, and a schema registry of two questions."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa

from beam_datahub.component.registry import component
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.component.source import ReadRequest, Source
from tests.conftest import KafkaBroker

_numbers = itertools.count()


class Topic:
    """A topic of a test's own."""

    def __init__(
        self, broker: KafkaBroker, partitions: int = 1, name: str | None = None, make: bool = True, **config: str
    ) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        self.broker = broker
        self.name = name or f"t{next(_numbers)}-{threading.get_native_id()}"
        self.admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        if make:
            new = NewTopic(self.name, partitions, 1, config=config)
            self.admin.create_topics([new])[self.name].result()

    def send(
        self, *values: Any, partition: int = 0, keys: Sequence[Any] = (), transaction: str | None = None, **more: Any
    ) -> None:
        """Send messages; a value that is no bytes goes as JSON. `transaction`: in one, which is then committed or aborted."""
        from confluent_kafka import Producer

        settings: dict[str, Any] = {"bootstrap.servers": self.broker.address, "log_level": 0}
        if transaction is not None:
            settings["transactional.id"] = self.name
        producer = Producer(settings)
        if transaction is not None:
            producer.init_transactions(30)
            producer.begin_transaction()
        for i, value in enumerate(values):
            data = value if isinstance(value, bytes | None) else json.dumps(value).encode()
            producer.produce(self.name, data, keys[i] if keys else None, partition=partition, **more)
        if transaction is None:
            producer.flush(30)
        elif transaction == "commit":
            producer.commit_transaction(30)
        else:
            producer.flush(30)
            producer.abort_transaction(30)

    def messages(self) -> list[Any]:
        """All committed messages, by partition and offset."""
        from confluent_kafka import Consumer, TopicPartition

        settings = {"bootstrap.servers": self.broker.address, "group.id": "tests", "enable.partition.eof": True, "log_level": 0}
        consumer = Consumer({**settings, "isolation.level": "read_committed", "fetch.wait.max.ms": 50})
        found = []
        for number in sorted(consumer.list_topics(self.name, timeout=30).topics[self.name].partitions):
            consumer.assign([TopicPartition(self.name, number, 0)])
            while (message := consumer.poll(30)) is not None and message.error() is None:
                found.append(message)
        consumer.close()
        return found

    def values(self) -> list[Any]:
        """The values of all committed messages, which are JSON."""
        return [json.loads(message.value()) for message in self.messages()]

    def source(self, **options: Any) -> Source:
        """A source of the topic."""
        kind: Any = component("source", "kafka")
        connection = options.pop("connection", {})
        chosen = {} if "pattern" in options else {"topic": self.name}
        found: Source = kind(self._connection(kind, connection), kind.Options(**{**chosen, **options}))
        return found

    def sink(self, staging: Any, **options: Any) -> Sink:
        """A destination in the topic."""
        kind: Any = component("sink", "kafka")
        connection = {"staging": str(staging), **options.pop("connection", {})}
        found: Sink = kind(self._connection(kind, connection), kind.Options(**{"topic": self.name, **options}))
        return found

    def _connection(self, kind: Any, more: dict[str, Any]) -> Any:
        return kind.Connection(**{"bootstrap_servers": self.broker.address, **more})


def reached(source: Source, schema: pa.Schema, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """The positions that a run from `before` reaches."""
    request = ReadRequest(schema, tuple(schema.names), reached=before or {})
    return {name: at for split in source.splits(request) for name, at in split.reached.items()}


def written(schema: pa.Schema, run: str = "run1", key: tuple[str, ...] = ()) -> WriteRequest:
    """What one run writes."""
    return WriteRequest(run, "out", schema, key=key)


class Schemas(dict[int, str]):
    """Schemas by number. `late` says how often one is not found before it is."""

    def __init__(self) -> None:
        super().__init__()
        self.late: dict[int, int] = {}

    def is_there(self, number: int) -> bool:
        """Whether somebody who asks now gets the schema."""
        left = self.late.get(number, 0)
        self.late[number] = max(0, left - 1)
        return number in self and not left


@contextmanager
def registry() -> Iterator[tuple[str, Schemas]]:
    """A registry's address, and the schemas that it has; those under `<topic>-value` are what was added last."""
    schemas = Schemas()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/schemas/ids/"):
                number = int(self.path.split("/")[3].split("?")[0])
                self._tell(self._schema(number) if schemas.is_there(number) else None)
            else:
                number = max(schemas, default=0)
                subject = self.path.split("/")[2]
                self._tell({"subject": subject, "id": number, "version": 1, **self._schema(number)} if number else None)

        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
            known = [number for number, schema in schemas.items() if schema == text]
            number = known[0] if known else len(schemas) + 1
            schemas[number] = text
            self._tell({"id": number, "version": number, "schema": text, "subject": self.path.split("/")[2]})

        def _schema(self, number: int) -> dict[str, str]:
            text = schemas[number]
            return {"schema": text, "schemaType": "PROTOBUF" if text.startswith("syntax") else "AVRO"}

        def _tell(self, answer: dict[str, Any] | None) -> None:
            body = json.dumps(answer or {"error_code": 40403, "message": "Schema not found"}).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", schemas
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
