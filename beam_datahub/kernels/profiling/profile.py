"""The profile of a stream of batches: one column profile for each leaf, merged over batches, bundles and runs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.profiling.column import ColumnProfile
from beam_datahub.kernels.profiling.leaves import leaf_types, leaves
from beam_datahub.kernels.profiling.measure import Measure
from beam_datahub.kernels.profiling.sketches import Frequent, Ranks

# What a serialised profile begins with, and the number of its form. Hashes of another form do not compare.
_MAGIC, _FORM = b"BDHP", 1


class Profile:
    """What the rows of `schema` hold, column by column; nested columns by their leaves, such as `customer.city`."""

    def __init__(self, columns: dict[str, ColumnProfile], rows: int = 0) -> None:
        self._columns = columns
        self._measures: dict[str, Measure] = {}
        self.rows = rows

    @property
    def columns(self) -> dict[str, ColumnProfile]:
        """Path → what that column holds."""
        for each in self._measures.values():
            each.settle()
        return self._columns

    @classmethod
    def of(cls, schema: pa.Schema, columns: Sequence[str] | None = None) -> Profile:
        """The profile of no rows of a canonical schema; of the named columns, all of them when None."""
        return cls({path: ColumnProfile.of(each) for path, each in leaf_types(schema, columns).items()})

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch, whose texts may be dictionary-encoded; columns that it was not made for are left out."""
        self.rows += batch.num_rows
        for path, array in self.parts(batch):
            if path not in self._measures:
                self._measures[path] = Measure(self._columns[path], _decoded(array.type))
            self._measures[path].add(array)

    def parts(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
        """The leaves of a batch that this profile is made for."""
        wanted = {path.partition(".")[0].removesuffix("[]") for path in self._columns} | set(self._columns)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in wanted:
                yield from ((path, array) for path, array in leaves(name, column) if path in self._columns)

    def merge(self, other: Profile) -> None:
        """Take what another profile saw. Raises ValueError where a column is of another type there."""
        self.rows += other.rows
        for path, column in other.columns.items():
            if path in self._columns:
                self._columns[path].merge(column)
            else:
                self._columns[path] = column

    def without_values(self, columns: Collection[str] | None = None) -> Profile:
        """This profile without what shows values of the data (of `columns`): extremes, ranks and frequent values."""
        hidden: dict[str, Any] = {"least": None, "most": None, "ranks": Ranks(), "frequent": Frequent()}
        return Profile(
            {
                path: replace(each, **hidden) if columns is None or path in columns else each
                for path, each in self.columns.items()
            },
            self.rows,
        )

    def to_bytes(self) -> bytes:
        """The profile as bytes, from which `from_bytes` makes it again."""
        parts = {"rows": self.rows, "columns": {path: column.to_json() for path, column in self.columns.items()}}
        return _MAGIC + bytes([_FORM]) + zlib.compress(json.dumps(parts, separators=(",", ":")).encode(), 1)

    @classmethod
    def from_bytes(cls, body: bytes) -> Profile:
        """The profile that `to_bytes` wrote. Raises UnreadableData for bytes that are none, or of a newer form."""
        if body[:4] != _MAGIC or len(body) < 6:
            raise UnreadableData("this is no profile")
        if body[4] != _FORM:
            raise UnreadableData(
                f"the profile is of form {body[4]}, not {_FORM}", hint="another version of beam-datahub wrote it"
            )
        try:
            parts = json.loads(zlib.decompress(body[5:]))
            columns = {path: ColumnProfile.from_json(each) for path, each in parts["columns"].items()}
            return cls(columns, int(parts["rows"]))
        except (zlib.error, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UnreadableData(f"the profile is damaged: {error}") from error


def _decoded(data_type: pa.DataType) -> pa.DataType:
    return data_type.value_type if pa.types.is_dictionary(data_type) else data_type
