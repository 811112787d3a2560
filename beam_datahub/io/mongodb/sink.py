"""A collection as a destination: bundles go to collections of their own, then a commit that can be repeated publishes them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import retrying
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Finding, Report
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import DataHubError, InvalidValue, LossyWrite, TargetUnusable, UnknownColumn
from beam_datahub.io.mongodb.connection import MongodbConnection, is_there, reached
from beam_datahub.io.mongodb.ledger import Ledger, Publication, publication, staging_prefix
from beam_datahub.io.mongodb.options import MongodbWriteOptions
from beam_datahub.io.mongodb.target import refuse_target, staging_options
from beam_datahub.kernels.rejection import rejections

if TYPE_CHECKING:
    from pymongo.database import Database


@register("sink", "mongodb", since="0.1.0")
class MongodbSink(Sink):
    """Writes documents to a collection: added, in place of all that was there, or by key.

    `overwrite`, and what makes a collection, is there at once. Where rows are added or merged, others see them as they come; a
    run that is killed meanwhile is brought to its end by the next one, and no row is there twice.
    """

    Connection: ClassVar[type[Config]] = MongodbConnection
    Options = MongodbWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND, WriteMode.OVERWRITE, WriteMode.MERGE),
        rejects=True,
        erase=True,
        types=(
            "BOOLEAN", "BIGINT", "DOUBLE", "DECIMAL(38,10)", "VARCHAR", "BLOB", "TIMESTAMPTZ", "VARCHAR[]",
            "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]",
        ),
    )  # fmt: skip
    examples = (
        Example(
            "Upsert by a key",
            {
                "connection": {"host": "db", "database": "shop"},
                "collection": "orders",
                "write_mode": "merge",
                "key": ["order_id"],
            },
        ),
    )

    connection: MongodbConnection
    options: MongodbWriteOptions

    def check(self) -> Report:
        lines = list(self.reach().findings)
        if lines[-1].fine:
            try:
                with self.connection.opened(refused=TargetUnusable) as database:
                    there = is_there(database, self.options.collection)
                    refuse_target(database, self.options.collection)
                    probe = f"_dh_check_{secrets.token_hex(4)}"
                    database[probe].insert_one({})
                    database.drop_collection(probe)
                lines.append(Finding(self.options.collection, True, "is there" if there else "will be made"))
                lines.append(Finding("rights", True, "collections can be made"))
            except DataHubError as error:
                lines.append(Finding("rights", False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        return reached(self.connection)

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.collection),)

    def plan_write(self, request: WriteRequest) -> None:
        options, schema = self.options, request.schema
        for name in schema.names:
            if not name or name.startswith("$") or "." in name or "\0" in name:
                raise LossyWrite(f"a field of a document cannot be called '{name}'", hint="rename it in a mapping before")
        for name in options.types:
            if name not in schema.names:
                raise UnknownColumn(name, schema.names)
        merging = request.mode == WriteMode.MERGE
        for option, name in (("last_by", options.last_by), ("delete_marker", options.delete_marker)):
            if name is not None and not merging:
                raise InvalidValue(f"`{option}` is for write_mode merge", hint="leave it out")
            if name is not None and name not in schema.names:
                raise UnknownColumn(name, schema.names)
        if not merging:
            return
        if not request.key:
            raise InvalidValue("write_mode merge needs the columns that identify a document", hint="name them: `key: [_id]`")
        for name in request.key:
            if pa.types.is_nested(schema.field(name).type):
                raise InvalidValue(f"the key column '{name}' is nested", hint="take what identifies it out in a mapping before")
        if "_id" in schema.names and "_id" not in request.key:
            raise InvalidValue("the `_id` of a document that is there cannot be changed", hint="make it the key, or leave it out")
        marker = options.delete_marker
        if marker is not None and not pa.types.is_boolean(schema.field(marker).type):
            raise InvalidValue(f"the delete marker '{marker}' is not BOOLEAN", hint="compute one in a mapping before")
        if marker is not None and marker in request.key:
            raise InvalidValue(f"the delete marker '{marker}' cannot be part of the key")

    @property
    def place(self) -> str:
        """Where a person finds the documents."""
        return f"{self.connection.database}.{self.options.collection}"

    def prepare(self, request: WriteRequest) -> None:
        from beam_datahub.io.mongodb.publish import publish

        for attempt in retrying():
            with attempt, self.connection.opened(refused=TargetUnusable) as database:
                ledger = Ledger(database, self.options.collection, request)
                for entry in ledger.begin():
                    # A run died while it published: what it began is brought to its end, before anything new is added.
                    found = Publication.of(entry["publication"])
                    try:
                        publish(database, found, again=True)
                        ledger.committed(entry["_id"], found.rows)
                    except TargetUnusable:
                        # It never will be, and must not stand in the way of others.
                        ledger.entries.delete_one({"_id": entry["_id"]})
                    ledger.drop_staging(entry["_id"])
                refuse_target(database, self.options.collection, overwriting=request.mode == WriteMode.OVERWRITE)

    def open(self, request: WriteRequest) -> Writer:
        return MongodbWriter(self, request)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        from beam_datahub.io.mongodb.publish import check, publish

        rows, size = sum(receipt.rows for receipt in receipts), sum(receipt.bytes for receipt in receipts)
        options = self.options
        wanted = publication(
            request, options.collection, receipts, options.last_by, options.delete_marker, options.nulls == "keep"
        )
        for attempt in retrying():
            with attempt, self.connection.opened(refused=TargetUnusable) as database:
                ledger = Ledger(database, options.collection, request)
                entry = ledger.entry() or {}
                if entry.get("state") == "committed":
                    rows = int(entry["rows"])
                else:
                    again = entry.get("state") == "publishing"
                    if not again:
                        check(database, wanted)
                        ledger.publishing(wanted)
                    try:
                        publish(database, wanted, again=again)
                    except TargetUnusable:
                        ledger.staging_again()
                        raise
                    ledger.committed(staging_prefix(request), rows)
                ledger.drop_staging(staging_prefix(request))
        return Committed(rows, size, (self.place,))

    def abort(self, request: WriteRequest) -> None:
        with self.connection.opened(refused=TargetUnusable) as database:
            Ledger(database, self.options.collection, request).forget()

    def find(self, request: WriteRequest, subject: Subject, take: Callable[[bytes], None] | None = None) -> Held:
        from beam_datahub.io.mongodb import erasure

        with self.connection.opened(refused=TargetUnusable) as database:
            return erasure.find(database[self.options.collection], self.place, subject, take)

    def erase(self, request: WriteRequest, subject: Subject) -> Held:
        from beam_datahub.io.mongodb import erasure

        with self.connection.opened(refused=TargetUnusable) as database:
            return erasure.erase(database[self.options.collection], self.place, subject)


class MongodbWriter(Writer):
    """Puts the documents of one bundle into a collection of its own; what the server refuses is told singly."""

    def __init__(self, sink: MongodbSink, request: WriteRequest) -> None:
        from beam_datahub.io.mongodb.documents import Encoding

        self._sink, self._request = sink, request
        self._name = staging_prefix(request) + secrets.token_hex(4)
        options = sink.options
        self._encoding = Encoding(options.types, keep_nulls=options.nulls == "keep", cut_times=options.finer_times == "cut")
        self._rows = self._bytes = self._given = 0
        self._begun = False

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        documents, refused = self._encoding.documents(batch)
        merging = self._request.mode == WriteMode.MERGE
        if merging:
            for name in self._request.key:
                for i, missing in enumerate(batch.column(name).is_null().to_pylist()):
                    if missing:
                        refused.setdefault(i, (f"the key column '{name}' is null", name))
        rows = [i for i in range(len(documents)) if i not in refused]
        sent = [{"_id": self._given + i, "d": documents[i]} if merging else documents[i] for i in rows]
        self._given += batch.num_rows
        told = {rows[place]: (said, None) for place, said in self._sent(sent).items()}
        self._rows += len(sent) - len(told)
        self._bytes += batch.nbytes
        every: dict[int, tuple[str, str | None]] = {**refused, **told}
        if not every:
            return None
        places = sorted(every)
        return rejections(places, "refused", [every[i][0] for i in places], [every[i][1] for i in places])

    def _sent(self, documents: list[dict[str, Any]]) -> dict[int, str]:
        """Stage documents; what the server, or BSON itself, says of those that it does not take."""
        from beam_datahub.io.mongodb.sending import sent

        if not documents:
            return {}
        for attempt in retrying():
            with attempt, self._sink.connection.opened(refused=TargetUnusable) as database:
                again = self._begun and attempt.retry_state.attempt_number > 1
                if not self._begun:
                    self._make(database)
                    self._begun = True
                found = sent(database[self._name], documents, again=again)
        return {place: said.replace(self._name, self._sink.options.collection) for place, said in found.items()}

    def _make(self, database: Database[dict[str, Any]]) -> None:
        """Make the staging collection, with what the target demands of documents where it gets whole ones."""
        demands = staging_options(database, self._sink.options.collection)
        if demands and self._request.mode != WriteMode.MERGE and not is_there(database, self._name):
            database.create_collection(self._name, **demands)

    def close(self) -> Sequence[Receipt]:
        if not self._rows:
            self.discard()
            return ()
        return (Receipt(self._name, self._rows, self._bytes),)

    def discard(self) -> None:
        if not self._begun:
            return
        try:
            with self._sink.connection.opened() as database:
                database.drop_collection(self._name)
        except DataHubError:
            # The run drops it when it ends, the next one where this one dies.
            pass
        self._begun = False
