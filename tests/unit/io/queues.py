"""What tests of all queues share: names of a test's own, and reading and writing as runs do."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beam_datahub.component.held import release_held
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Committed, Receipt, Sink, WriteRequest
from beam_datahub.component.source import Follower, ReadRequest, Source

_numbers = itertools.count()
NUMBERED = pa.schema([("n", pa.int64())])


def fresh(what: str) -> str:
    """A name that no other test has."""
    return f"{what}-{os.getpid()}-{next(_numbers)}"


def source_of(connector: str, connection: dict[str, Any], **options: Any) -> Source:
    """A source with these options."""
    kind: Any = component("source", connector)
    found: Source = kind(kind.Connection(**connection), kind.Options(**options))
    return found


def sink_of(connector: str, connection: dict[str, Any], staging: Any, **options: Any) -> Sink:
    """A destination with these options, that stages in a folder of the test's."""
    kind: Any = component("sink", connector)
    found: Sink = kind(kind.Connection(**connection, staging=str(staging)), kind.Options(**options))
    return found


class Taken:
    """What one run took of a queue, until it is published or given up."""

    def __init__(self, source: Source, schema: pa.Schema, reached: dict[str, Any] | None = None, **more: Any) -> None:
        self.source = source
        wanted = ReadRequest(schema, tuple(schema.names), takes=True, reached=reached or {}, **more)
        self.messages: list[Any] = []
        self.reached: dict[str, Any] = {}
        batches = []
        self.rejected: list[dict[str, Any]] = []
        for split in source.splits(wanted):
            self.reached |= split.reached
            for block in source.read(split, wanted):
                block.batch.validate(full=True)
                assert block.batch.schema.equals(wanted.projected)
                batches.append(block.batch)
                if block.taken is not None:
                    self.messages.append(block.taken)
                if block.rejected is not None:
                    rows = block.rejected["row"].to_pylist()
                    originals = block.originals(rows) if block.originals else [None] * len(rows)
                    facts = zip(block.rejected.to_pylist(), originals, strict=True)
                    self.rejected += [{**fact, "original": original} for fact, original in facts]
        self.table = pa.Table.from_batches(batches, wanted.projected)

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found

    @property
    def numbers(self) -> list[int]:
        return sorted(row["n"] for row in self.rows)

    def publish(self) -> None:
        """Do what follows a commit."""
        self.source.hold(self.messages)
        self.source.acknowledge(self.messages)
        release_held()

    def give_up(self) -> None:
        """Do what follows a run that failed."""
        release_held()


def staged(sink: Sink, table: pa.Table, run: str = "run1", key: tuple[str, ...] = ()) -> tuple[WriteRequest, Sequence[Receipt]]:
    """What a run has staged, ready for its commit."""
    request = WriteRequest(run, "out", table.schema, key=key)
    sink.plan_write(request)
    sink.prepare(request)
    writer = sink.open(request)
    for batch in table.to_batches():
        writer.write(batch)
    return request, writer.close()


def written(sink: Sink, table: pa.Table, run: str = "run1", key: tuple[str, ...] = ()) -> Committed:
    """Write a table as one run does."""
    request, receipts = staged(sink, table, run, key)
    return sink.commit(request, receipts)


class BrokenOffError(Exception):
    """A commit that dies."""


def broken_off(sink: Any, request: WriteRequest, receipts: Sequence[Receipt], after: int) -> None:
    """A commit that dies right after it has sent chunk number `after`, before it could note that."""
    sending = sink.sending

    class Dying:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        @property
        def done(self) -> int | None:
            found: int | None = self._inner.done
            return found

        def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
            self._inner.send(number, first, messages)
            if number == after:
                raise BrokenOffError

    from contextlib import contextmanager

    @contextmanager
    def dying(request: WriteRequest) -> Any:
        with sending(request) as inner:
            yield Dying(inner)

    sink.sending = dying
    try:
        sink.commit(request, receipts)
    except BrokenOffError:
        return
    finally:
        sink.sending = sending
    raise AssertionError("it did not break off")


def followed(source: Source, position: str = "", schema: pa.Schema = NUMBERED) -> Follower:
    """A follower of the one partition of a source."""
    wanted = ReadRequest(schema, tuple(schema.names), takes=True)
    (partition,) = source.partitions(wanted)
    return source.follow(replace(partition, position=position or partition.position), wanted)


def until(condition: Callable[[], object]) -> None:
    """Wait for what other threads and servers do."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


class Followed:
    """What a follower took."""

    def __init__(self, numbers: list[int], position: Any) -> None:
        self.numbers, self.position = numbers, position


def taken_by(follower: Follower, count: int) -> Followed:
    """At least `count` numbers of a follower, and the position behind them; those that take a minute are lost."""
    found: list[int] = []
    end = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < end, f"only {found} came"
        arrival = follower.take(0.2, 1 << 20)
        if arrival.block is not None:
            found += arrival.block.batch["n"].to_pylist()
    return Followed(found, arrival.position)
