"""Raw BSON as columns by pymongoarrow, where it can be known beforehand that it changes nothing.

It cuts fractions in columns of whole numbers, makes null of NaN, and empty lists of what is no list. So it gets only columns of
single values, and no block in which a field has a type that it would bend: such a field is found by its tag and name.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.types import TIMESTAMPTZ

# BSON's tags of the types that pymongoarrow takes in a column of another without a word.
_DOUBLE, _BOOL, _INT64 = b"\x01", b"\x08", b"\x12"
_BENT: dict[pa.DataType, tuple[bytes, ...]] = {
    pa.int64(): (_DOUBLE, _BOOL),
    pa.float64(): (_BOOL, _INT64),
    pa.string(): (_DOUBLE,),
    pa.bool_(): (_DOUBLE,),
    TIMESTAMPTZ: (_DOUBLE,),
}


@functools.cache
def _library() -> Any:
    """pymongoarrow; None where it is not there, or made for another version of Arrow."""
    try:
        with warnings.catch_warnings():
            # Objects of Arrow's that have only grown since it was compiled.
            warnings.simplefilter("ignore", RuntimeWarning)
            for part in ("api", "context", "errors", "lib", "types"):
                importlib.import_module(f"pymongoarrow.{part}")
    except ImportError:
        return None
    return sys.modules["pymongoarrow"]


class FastColumns:
    """Columns of whole blocks. `identity`: whether `_id` is an ObjectId."""

    def __init__(self, schema: pa.Schema, identities: frozenset[str]) -> None:
        self._schema, self._identities = schema, identities
        self._nans = {
            field.name: re.compile(b"\x01" + re.escape(field.name.encode()) + b"\x00.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)
            for field in schema
            if field.type == pa.float64()
        }
        names = [field.name for field in schema]
        self._possible = bool(
            names
            and all(field.type in _BENT for field in schema)
            and not any("." in name or "[" in name for name in names)
            and _library() is not None
        )

    def columns(self, raw: bytes) -> list[pa.Array] | None:
        """The columns of a block; None where only a closer look can tell what its values are."""
        if not self._possible or self._is_bent(raw):
            return None
        library = _library()
        kinds = {
            field.name: library.types.ObjectIdType()
            if field.name in self._identities
            else pa.timestamp("ms")
            if field.type == TIMESTAMPTZ
            else field.type
            for field in self._schema
        }
        context = library.context.PyMongoArrowContext(library.api.Schema(kinds))
        try:
            context.process_bson_stream(raw)
            table = context.finish().combine_chunks()
            table.validate(full=True)
            return [self._canonical(table.column(field.name), field) for field in self._schema]
        except (TypeError, ValueError, OverflowError, pa.ArrowException, library.errors.InvalidBSON):
            return None

    def _is_bent(self, raw: bytes) -> bool:
        for field in self._schema:
            name = field.name.encode() + b"\x00"
            if any(tag + name in raw for tag in _BENT[field.type]):
                return True
            if field.name in self._nans and self._nans[field.name].search(raw):
                return True
        return False

    def _canonical(self, column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
        array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        if field.name in self._identities:
            storage = array.storage if isinstance(array, pa.ExtensionArray) else array
            return _hex(storage)
        if field.type == TIMESTAMPTZ:
            return array.cast(pa.timestamp("us")).cast(TIMESTAMPTZ)
        return array


def _hex(identities: pa.Array) -> pa.Array:
    from beam_datahub.kernels.workbench import over

    found = over(pa.table({"c": identities.cast(pa.binary())}), "SELECT lower(hex(c)) AS c FROM t").column(0)
    return pc.cast(found.chunk(0) if found.num_chunks == 1 else found.combine_chunks(), pa.string())
