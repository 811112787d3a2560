"""Collections for tests, filled and read by MongoDB's own client."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pyarrow as pa

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Receipt, Sink, WriteRequest
from beam_datahub.component.source import Source
from tests.conftest import MongodbServer

_numbers = itertools.count()


class Store:
    """A database of a test's own."""

    def __init__(self, server: MongodbServer) -> None:
        import pymongo

        self.server = server
        self.name = f"t{next(_numbers)}_{os.getpid()}"
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            f"mongodb://{server.address}", tz_aware=True, uuidRepresentation="standard"
        )
        self.database = self.client[self.name]

    @property
    def connection(self) -> dict[str, Any]:
        """What stands under `connection:`."""
        return {"url": f"mongodb://{self.server.address}", "database": self.name}

    def source(self, collection: str | None = "in", **options: Any) -> Source:
        """A source of a collection."""
        kind: Any = component("source", "mongodb")
        reach = {**self.connection, **options.pop("connection", {})}
        found: Source = kind(kind.Connection(**reach), kind.Options(collection=collection, **options))
        return found

    def sink(self, collection: str = "out", **options: Any) -> Sink:
        """A destination in a collection."""
        kind: Any = component("sink", "mongodb")
        reach = {**self.connection, **options.pop("connection", {})}
        found: Sink = kind(kind.Connection(**reach), kind.Options(collection=collection, **options))
        return found

    def documents(self, collection: str = "out") -> list[dict[str, Any]]:
        """What a collection holds, by `_id`."""
        return list(self.database[collection].find(sort=[("_id", 1)]))

    def rows(self, collection: str = "out") -> list[dict[str, Any]]:
        """The same without `_id`, in the order of the first field."""
        found = [{name: value for name, value in each.items() if name != "_id"} for each in self.documents(collection)]
        return sorted(found, key=lambda each: str(next(iter(each.values()), None)))

    @property
    def left(self) -> list[str]:
        """The names of staging collections that are there."""
        return [name for name in self.database.list_collection_names() if name.startswith("_dh_")]


def request(schema: pa.Schema, mode: str = "append", run: str = "run1", key: tuple[str, ...] = ()) -> WriteRequest:
    """What one run writes."""
    return WriteRequest(run, "out", schema, WriteMode(mode), key)


def staged(sink: Sink, wanted: WriteRequest, *bundles: pa.Table) -> tuple[list[Receipt], list[dict[str, Any]]]:
    """Stage tables, a bundle each; gives the receipts and the rejections."""
    receipts: list[Receipt] = []
    rejected: list[dict[str, Any]] = []
    for table in bundles:
        writer = sink.open(wanted)
        for batch in table.to_batches():
            found = writer.write(batch)
            rejected += found.to_pylist() if found is not None else []
        receipts += writer.close()
    return receipts, rejected


def write(sink: Sink, wanted: WriteRequest, *bundles: pa.Table) -> list[dict[str, Any]]:
    """Write tables as a run does; gives the rejections."""
    sink.plan_write(wanted)
    sink.prepare(wanted)
    receipts, rejected = staged(sink, wanted, *bundles)
    sink.commit(wanted, receipts)
    return rejected
