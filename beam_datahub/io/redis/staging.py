"""Rows of one bundle as what keys will get, in a file until the run as a whole is written."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.file_publish import Publication
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.staged_batches import StagingWriter
from beam_datahub.io.redis.options import RedisWriteOptions
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.types import JSON
from beam_datahub.kernels.workbench import over


class Keyed:
    """How the rows of a destination become keys and their values."""

    def __init__(self, options: RedisWriteOptions, request: WriteRequest) -> None:
        self._options, self._key = options, tuple(request.key)
        aside = {options.ttl, options.delete_marker}
        others = [name for name in request.schema.names if name not in aside]
        if options.format == "string":
            others = [name for name in others if name not in self._key and name != options.last_by] or others
        self.values = pa.schema([request.schema.field(name) for name in others])
        last = request.schema.field(options.last_by).type if options.last_by is not None else pa.null()
        fields = pa.list_(pa.binary())
        self.schema = pa.schema(
            [
                ("key", pa.binary()),
                ("gone", pa.bool_()),
                ("ttl", pa.int64()),
                ("value", pa.binary()),
                ("fields", fields),
                ("last", last),
                ("tie", pa.binary()),
            ]
        )

    def rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What the keys of some rows get; `fields` are the values of a hash in the order of the columns."""
        options, count = self._options, batch.num_rows
        values, fields = pa.nulls(count, pa.binary()), pa.nulls(count, pa.list_(pa.binary()))
        shown = batch.select(self.values.names)
        if options.format == "hash":
            fields = _across([_bytes(column) for column in shown.columns], count)
        elif options.format == "json":
            values = _bytes(json_rows(shown).combine_chunks())
        else:
            values = _bytes(shown.column(0))
        gone = pa.array([False] * count)
        if options.delete_marker is not None:
            gone = pc.fill_null(batch.column(options.delete_marker), False)
        ttl = pa.nulls(count, pa.int64()) if options.ttl is None else batch.column(options.ttl).cast(pa.int64())
        if options.ttl_seconds is not None:
            ttl = pc.fill_null(ttl, options.ttl_seconds)
        last, tie = pa.nulls(count), pa.nulls(count, pa.binary())
        if options.last_by is not None:
            last = batch.column(options.last_by)
            texts = json_rows(batch).to_pylist()
            tie = pa.array([hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts])
        return pa.RecordBatch.from_arrays([self._names(batch), gone, ttl, values, fields, last, tie], schema=self.schema)

    def _names(self, batch: pa.RecordBatch) -> pa.Array:
        template = self._options.key_template
        if template is None:
            template = ":".join("{" + name + "}" for name in self._key)
        parts: list[pa.Array | pa.Scalar] = []
        for text, name, _, _ in string.Formatter().parse(template):
            if text:
                parts.append(pa.scalar(text.encode(), pa.binary()))
            if name is not None:
                parts.append(_bytes(batch.column(name)))
        return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.binary()))


def _across(columns: Sequence[pa.Array], count: int) -> pa.Array:
    """The values of each row as a list."""
    width = len(columns)
    if not width or not count:
        return pa.array([[]] * count, pa.list_(pa.binary()))
    # Column after column becomes row after row.
    order = pa.array(np.arange(count * width).reshape(width, count).T.ravel())
    offsets = pa.array(np.arange(0, count * width + 1, width), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.concat_arrays(list(columns)).take(order))


def _sizes(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """How many bytes the value of each row has."""
    own: npt.NDArray[np.int64] = pc.fill_null(pc.binary_length(rows.column("value")), 0).cast(pa.int64()).to_numpy()
    fields = rows.column("fields")
    parts = pc.fill_null(pc.binary_length(fields.flatten()), 0).cast(pa.int64()).to_numpy()
    if len(parts):
        own = own + parts.reshape(rows.num_rows, -1).sum(axis=1)
    return own


def _bytes(column: pa.Array) -> pa.Array:
    """A column as the bytes that Redis gets: texts as they are, other values as SQL writes them, nested ones as JSON."""
    if column.type == pa.binary():
        return column
    source = column.storage if column.type == JSON else column
    if source.type != pa.string():
        sql = "CAST(to_json(c) AS VARCHAR)" if pa.types.is_nested(source.type) else "CAST(c AS VARCHAR)"
        found = over(pa.table({"c": source}), f"SELECT CASE WHEN c IS NOT NULL THEN {sql} END AS c FROM t").column(0)
        source = found.combine_chunks() if found.num_chunks != 1 else found.chunk(0)
    return source.cast(pa.binary())


class RedisWriter(StagingWriter):
    """Writes what keys will get to a file; rows without a key, or with too much, are refused."""

    def __init__(self, publication: Publication, keyed: Keyed, options: RedisWriteOptions, key: Sequence[str]) -> None:
        super().__init__(publication, keyed.schema)
        self._keyed, self._options, self._key = keyed, options, tuple(key)

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        refused: dict[int, tuple[str, str | None]] = {}
        for name in self._key:
            for row in pc.indices_nonzero(pc.is_null(batch.column(name))).to_pylist():
                refused.setdefault(row, (f"the key column '{name}' is null", name))
        if self._options.ttl is not None:
            early = pc.fill_null(pc.less(batch.column(self._options.ttl), 1), False)
            for row in pc.indices_nonzero(early).to_pylist():
                refused.setdefault(row, ("a key lives at least a second", self._options.ttl))
        kept = pa.array([row for row in range(batch.num_rows) if row not in refused], pa.int64())
        rows = self._keyed.rows(batch if len(kept) == batch.num_rows else batch.take(kept))
        limit = int(self._options.max_value_bytes)
        sizes = _sizes(rows)
        large = np.flatnonzero(sizes > limit).tolist()
        for place in large:
            refused[kept[place].as_py()] = (f"the value would have {sizes[place]} bytes, {limit} are allowed", None)
        if large:
            rows = rows.take(pa.array([place for place in range(rows.num_rows) if place not in set(large)], pa.int64()))
        if rows.num_rows:
            self.stage(rows, int(sizes[sizes <= limit].sum()))
        if not refused:
            return None
        places = sorted(refused)
        return rejections(places, "refused", [refused[row][0] for row in places], [refused[row][1] for row in places])
