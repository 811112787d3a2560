"""Redis as a destination: rows become the values of keys, in transactions that follow once everything else has succeeded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.file_publish import Publication, Target
from beam_datahub.component.file_store import join, writing
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import InvalidValue, LossyWrite, UnknownColumn
from beam_datahub.io.redis.applying import Applying
from beam_datahub.io.redis.options import RedisWriteOptions
from beam_datahub.io.redis.staging import Keyed, RedisWriter
from beam_datahub.io.redis_stream.connection import RedisConnection


@register("sink", "redis", since="0.1.0")
class RedisSink(Sink):
    """Writes rows to the keys that are named after them, each once; a thousand at a time are there at once."""

    Connection: ClassVar[type[Config]] = RedisConnection
    Options = RedisWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.MERGE,),
        rejects=True,
        types=(
            "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT",
            "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON",
        ),
    )  # fmt: skip
    examples = (
        Example(
            "Hashes that end after a day",
            {
                "connection": {"host": "redis"},
                "key_template": "user:{id}",
                "ttl_seconds": 86_400,
                "write_mode": "merge",
                "key": ["id"],
            },
        ),
        Example(
            "JSON documents", {"connection": {"host": "redis"}, "format": "json", "write_mode": "merge", "key": ["country", "id"]}
        ),
    )

    connection: RedisConnection
    options: RedisWriteOptions

    def check(self) -> Report:
        return self.reach()

    def reach(self) -> Report:
        return self.connection.reached()

    @property
    def place(self) -> str:
        """The names of the keys, as their template has them."""
        return self.options.key_template or "{key}"

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.place),)

    def plan_write(self, request: WriteRequest) -> None:
        options, schema = self.options, request.schema
        if request.mode != WriteMode.MERGE:
            raise InvalidValue(f"keys cannot be written with write_mode {request.mode}", hint="each is set anew: choose merge")
        if not request.key:
            raise InvalidValue("write_mode merge needs the columns that name a key", hint="name them: `key: [id]`")
        for name in filter(None, (*options.placed, options.last_by, options.delete_marker, options.ttl)):
            if name not in schema.names:
                raise UnknownColumn(name, schema.names)
        if options.key_template is not None and set(options.placed) != set(request.key):
            raise InvalidValue(
                f"`key_template` names {', '.join(options.placed) or 'no column'}, and `key` {', '.join(request.key)}",
                hint="both are what tells rows apart: name the same columns",
            )
        for name in request.key:
            if pa.types.is_nested(schema.field(name).type):
                raise InvalidValue(f"the key column '{name}' is nested", hint="take what identifies it out in a mapping before")
        marker, ttl = options.delete_marker, options.ttl
        if marker is not None and not pa.types.is_boolean(schema.field(marker).type):
            raise InvalidValue(f"the delete marker '{marker}' is not BOOLEAN", hint="compute one in a mapping before")
        if ttl is not None and not pa.types.is_integer(schema.field(ttl).type):
            raise InvalidValue(f"the column '{ttl}' of `ttl` holds no whole seconds", hint="compute them in a mapping before")
        values = Keyed(options, request).values
        if options.format == "string" and len(values) != 1:
            raise InvalidValue(
                f"the format string writes one column, and there are {len(values)}: {', '.join(values.names)}",
                hint="keep one beside the key in a mapping before",
            )
        raw = [field.name for field in values if pa.types.is_binary(field.type)]
        if options.format == "json" and len(raw) > 0:
            # Base64 would not come back as bytes by itself.
            raise LossyWrite(f"the column '{raw[0]}' holds bytes, which JSON does not keep", hint="write hashes, or encode it")

    def prepare(self, request: WriteRequest) -> None:
        with self.connection.connected(patient=False) as client:
            client.ping()
        self.publication(request).prepare()

    def publication(self, request: WriteRequest) -> Publication:
        """Where a run is staged."""
        name = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in self.place)
        return Publication(Target(join(self.connection.staging, f"{name}.redis"), False, ".arrow"), request)

    def open(self, request: WriteRequest) -> Writer:
        return RedisWriter(self.publication(request), Keyed(self.options, request), self.options, request.key)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        publication = self.publication(request)
        with publication.alone():
            done = publication.done()
            if done is not None:
                return done
            if receipts:
                note = f"_beam_datahub:{request.commit_name}:{request.step}"
                with self.connection.connected() as client:
                    Applying(client, self.options, Keyed(self.options, request).values.names, note).apply(receipts)
            rows, size = sum(receipt.rows for receipt in receipts), sum(receipt.bytes for receipt in receipts)
            with writing(publication.target.path):
                return publication.finish(Committed(rows, size, (self.place,)))

    def abort(self, request: WriteRequest) -> None:
        publication = self.publication(request)
        with publication.alone():
            publication.remove()
