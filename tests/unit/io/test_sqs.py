"""What a user can rely on when SQS is read and written, as far as a service of the same protocol on loopback shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import InvalidValue, SourceMissing, TargetUnusable, Transient
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import needed
from tests.unit.io.queues import (
    NUMBERED,
    Taken,
    broken_off,
    followed,
    fresh,
    sink_of,
    source_of,
    staged,
    taken_by,
    until,
    written,
)


@pytest.fixture(scope="session")
def sqs() -> Iterator[str]:
    """The address of a service that speaks SQS's protocol."""
    server = needed("moto.server").ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Queue:
    """A queue of a test's own."""

    def __init__(self, address: str, *, make: bool = True, fifo: bool = False) -> None:
        import boto3

        self.address, self.name = address, fresh("queue") + (".fifo" if fifo else "")
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s"}
        self.client: Any = boto3.client("sqs", endpoint_url=address, region_name="us-east-1", **keys)
        if make:
            attributes = {"FifoQueue": "true"} if fifo else {}
            self.url = self.client.create_queue(QueueName=self.name, Attributes=attributes)["QueueUrl"]

    def send(self, *bodies: Any, headers: dict[str, str] | None = None) -> None:
        attributes = {name: {"DataType": "String", "StringValue": text} for name, text in (headers or {}).items()}
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self.client.send_message(QueueUrl=self.url, MessageBody=text, MessageAttributes=attributes)

    def numbers(self, *numbers: int) -> None:
        self.send(*({"n": n} for n in numbers))

    def counts(self) -> tuple[int, int]:
        """How many messages wait, and how many are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    @property
    def connection(self) -> dict[str, Any]:
        return {"endpoint_url": self.address, "region": "us-east-1", "access_key": "k", "secret_key": Secret("s3cretkey")} | {
            # The service of the tests does one thing at a time.
            "calls_at_once": 1
        }

    def source(self, **options: Any) -> Any:
        connection = {**self.connection, **options.pop("connection", {})}
        return source_of("sqs", connection, **{"queue": self.name, "wait_seconds": 0, **options})

    def sink(self, staging: Any, **options: Any) -> Any:
        return sink_of("sqs", self.connection, staging, **{"queue": self.name, **options})


@pytest.fixture
def queue(sqs: str) -> Queue:
    return Queue(sqs)


def test_what_is_published_is_deleted_and_what_is_not_comes_again(queue: Queue) -> None:
    queue.numbers(*range(25))
    source = queue.source(metadata=["delivery_count"])
    schema = pa.schema([*NUMBERED, ("_delivery_count", pa.int64())])
    failed = Taken(source, schema)
    assert failed.numbers == list(range(25))
    assert queue.counts() == (0, 25)
    failed.give_up()
    assert queue.counts() == (25, 0)
    again = Taken(source, schema)
    assert sorted((row["n"], row["_delivery_count"]) for row in again.rows) == [(n, 2) for n in range(25)]
    again.publish()
    assert queue.counts() == (0, 0)
    assert Taken(source, schema).rows == []


def test_a_stream_deletes_what_is_published_and_gives_the_rest_back(queue: Queue) -> None:
    queue.numbers(*range(25))
    queue.send("{")
    one = followed(queue.source(lease_seconds=600))
    first = taken_by(one, 25)
    assert sorted(first.numbers) == list(range(25))
    until(lambda: queue.counts() == (0, 26))
    queue.numbers(25)
    second = taken_by(one, 1)
    one.published(first.position)
    assert (one.owes, queue.counts()) == (True, (0, 1))
    one.close()
    assert queue.counts() == (1, 0)
    two = followed(queue.source(), second.position)
    again = taken_by(two, 1)
    assert again.numbers == [25]
    two.published(again.position)
    until(lambda: two.take(0.0, 1).behind == 0)
    two.close()
    assert queue.counts() == (0, 0)


def test_a_message_whose_loan_ran_out_in_a_stream_is_not_told_twice(queue: Queue) -> None:
    queue.numbers(1)
    one = followed(queue.source(lease_seconds=600))
    first = taken_by(one, 1)
    received = queue.client.receive_message(QueueUrl=queue.url, WaitTimeSeconds=0).get("Messages", [])
    assert received == []
    # As if it had: others can have the message, which then comes to us again.
    intake: Any = one
    handle = intake._lent[0].token
    queue.client.change_message_visibility(QueueUrl=queue.url, ReceiptHandle=handle, VisibilityTimeout=0)
    until(lambda: intake._lent[0].token != handle or one.take(0.05, 1).block is not None)
    queue.numbers(2)
    second = taken_by(one, 1)
    assert (first.numbers, second.numbers) == ([1], [2])
    one.published(second.position)
    one.close()
    assert queue.counts() == (0, 0)


def test_a_fifo_queue_is_followed_to_its_end_though_it_waits_for_acknowledgements(sqs: str) -> None:
    fifo = Queue(sqs, fifo=True)
    for n in range(25):
        fifo.client.send_message(
            QueueUrl=fifo.url, MessageBody=json.dumps({"n": n}), MessageGroupId="g", MessageDeduplicationId=str(n)
        )
    one = followed(fifo.source())
    numbers: list[int] = []
    while len(numbers) < 25:
        some = taken_by(one, 1)
        numbers += some.numbers
        one.published(some.position)
    assert numbers == list(range(25))
    one.close()
    assert fifo.counts() == (0, 0)


def test_another_process_can_delete_what_a_run_that_died_had_published(queue: Queue) -> None:
    queue.numbers(1, 2)
    taken = Taken(queue.source(), NUMBERED)
    other = queue.source()
    messages = json.loads(json.dumps(taken.messages))
    other.acknowledge(messages)
    assert queue.counts() == (0, 0)
    other.acknowledge(messages)


def test_what_a_run_has_taken_stays_hidden_for_as_long_as_it_lasts(queue: Queue) -> None:
    from beam_datahub.component.held import held
    from beam_datahub.component.messages.lease import Lease

    queue.numbers(1)
    taken = Taken(queue.source(), NUMBERED)
    lease = held(taken.messages[0]["lease"], Lease)
    assert lease is not None
    handle = taken.messages[0]["handles"][0]
    queue.client.change_message_visibility(QueueUrl=queue.url, ReceiptHandle=handle, VisibilityTimeout=0)
    assert queue.counts() == (1, 0)
    lease.renew()
    assert queue.counts() == (0, 1)
    taken.publish()


def test_looking_leaves_the_messages_where_they_are(queue: Queue) -> None:
    queue.numbers(1, 2, 3)
    source = queue.source()
    assert source.discover().schema == NUMBERED
    assert read(source, NUMBERED, limit=2).table.num_rows == 2
    assert queue.counts() == (3, 0)


def test_a_run_takes_at_most_what_it_may(queue: Queue) -> None:
    queue.numbers(*range(30))
    some = Taken(queue.source(maximum_messages=20), NUMBERED)
    assert len(some.rows) == 20
    some.publish()
    assert queue.counts() == (10, 0)


def test_what_is_known_of_a_message_becomes_columns_and_misfits_are_rejected(queue: Queue) -> None:
    queue.send({"n": 1}, headers={"trace": "t"})
    queue.send("{")
    source = queue.source(metadata=["id", "timestamp", "queue", "headers", "group"])
    found = Taken(source, pa.schema([*NUMBERED, *source.metadata]))
    (row,) = found.rows
    assert (row["n"], row["_queue"], dict(row["_headers"]), row["_group"]) == (1, queue.name, {"trace": "t"}, None)
    assert len(row["_id"]) == 36
    assert row["_timestamp"].year > 2000
    assert [(each["reason"], each["original"]) for each in found.rejected] == [("malformed", "{")]
    found.publish()
    assert queue.counts() == (0, 0)


def test_what_is_written_is_read_again(queue: Queue, tmp_path: Any) -> None:
    table = pa.table({"n": list(range(35)), "name": ["a\nb", "", 'c,"d"', None, "é"] * 7})
    for form, encoding in (("json", "text"), ("csv", "base64")):
        written(queue.sink(tmp_path, format=form, encoding=encoding), table, run=form)
        taken = Taken(queue.source(format=form, encoding=encoding), table.schema)
        assert sorted(taken.rows, key=lambda row: row["n"]) == table.to_pylist(), form
        taken.publish()
    with pytest.raises(InvalidValue, match="FIFO"):
        queue.sink(tmp_path).plan_write(WriteRequest("r", "out", NUMBERED, key=("n",)))
    with pytest.raises(InvalidValue, match="takes only text"):
        queue.sink(tmp_path, format="avro").plan_write(WriteRequest("r", "out", NUMBERED))


def test_a_commit_that_breaks_off_sends_a_fifo_queue_nothing_twice(sqs: str, tmp_path: Any) -> None:
    queue = Queue(sqs, fifo=True)
    sink = queue.sink(tmp_path)
    sink.chunk_rows = 20
    request, receipts = staged(sink, pa.table({"k": ["a b", "b"] * 20, "n": list(range(40))}), key=("k",))
    broken_off(sink, request, receipts, after=0)
    assert sink.commit(request, receipts).rows == 40
    assert queue.counts() == (40, 0)
    first = queue.client.receive_message(QueueUrl=queue.url, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"])
    (message,) = first["Messages"]
    assert json.loads(message["Body"])["n"] == 0
    assert message["MessageAttributes"]["id"]["StringValue"] == "run1.out.0"


def test_what_is_wrong_with_a_service_or_a_queue_is_said(sqs: str, queue: Queue, tmp_path: Any) -> None:
    with pytest.raises(SourceMissing, match="does not exist"):
        queue.source(queue="nothing").discover()
    assert queue.source().check().lines[-1] == (queue.name, True, "0 messages")
    with pytest.raises(Transient, match="does not answer"):
        queue.source(connection={"endpoint_url": "http://127.0.0.1:1", "connect_timeout_seconds": 1}).discover()
    new = Queue(sqs, make=False)
    with pytest.raises(TargetUnusable, match="there is no queue"):
        new.sink(tmp_path).prepare(WriteRequest("r", "out", NUMBERED))
    written(new.sink(tmp_path, make_queue=True), pa.table({"n": [1]}))
    assert Taken(new.source(), NUMBERED).numbers == [1]
    assert "s3cretkey" not in repr(queue.source().connection)
