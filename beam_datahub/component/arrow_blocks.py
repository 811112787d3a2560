"""Batches that carry types of their own (Parquet, Avro, rows in the spec) fitted to what the plan promised.

Columns go by name; layouts and wider types change freely, a value that the promised type cannot hold is handled as the
source's contract says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.files import record_batch
from beam_datahub.component.source import Block, Drift, Origin, ReadRequest
from beam_datahub.errors import SchemaDrift
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.rejection import ATTEMPTS, REJECTION, rejections
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.types import JSON, canonical, sql_type
from beam_datahub.kernels.workbench import over


@dataclass(frozen=True)
class Fitted:
    """A batch in the promised types, and what became of the rest; `records` counts the rows of both."""

    batch: pa.RecordBatch
    records: int
    raw: pa.RecordBatch
    rejected: pa.Table | None = None
    positions: pa.Array | None = None

    def block(self, origin: Origin, drifted: tuple[str, ...] = ()) -> Block:
        """The block that a source yields."""
        return Block(
            self.batch,
            origin,
            rejected=self.rejected,
            positions=self.positions,
            originals=lambda positions: as_json(self.raw, positions),
            drifted=drifted,
        )


# A column of the data in the type of a field, and a mask of the values that the type cannot hold (None: there are none).
Convert = Callable[[pa.Array, pa.Field], tuple[pa.Array, pa.Array | None]]


class Fitting:
    """Fits the batches of one file, by the request's schema and contract. Raises SchemaDrift where that is frozen.

    `convert` says how a format's values become a type; without it, as SQL casts them where nothing is lost.
    """

    def __init__(self, request: ReadRequest, place: str, drifted: Sequence[str] = (), convert: Convert | None = None) -> None:
        self._convert = convert or (lambda array, field: fit_array(array, field.type))
        self._schema, self._contract, self._place = request.projected, request.contract, place
        self._dictionaries = request.dictionaries
        self._drifted = tuple(drifted)
        if drifted and request.contract.columns == Drift.FREEZE:
            raise SchemaDrift(
                f"'{place}' has the column '{drifted[0]}', which the schema does not have",
                hint="add it to the source's schema, or loosen contract.columns",
            )

    def fit(self, batch: pa.RecordBatch) -> Fitted:
        """`batch` in the promised columns and types."""
        rows = batch.num_rows
        if self._drifted and self._contract.columns == Drift.DISCARD_ROW:
            message = f"the record has the column '{self._drifted[0]}', which the schema does not have"
            rejected = rejections(range(rows), "contract", message, self._drifted[0])
            return Fitted(_empty(self._schema), rows, batch, rejected, pa.array([], pa.int64()))
        arrays: list[pa.Array] = []
        misfits: list[pa.Table] = []
        for field in self._schema:
            if field.name not in batch.schema.names:
                arrays.append(pa.nulls(rows, field.type))
                continue
            array, bad = batch.column(field.name), None
            if not (self._dictionaries and _is_encoded_text(array.type, field.type)):
                array, bad = self._convert(array, field)
            arrays.append(array)
            if bad is not None:
                misfits += self._misfits(field, batch.column(field.name), bad)
        fitted = record_batch(arrays, self._schema, rows)
        if not misfits:
            return Fitted(fitted, rows, batch)
        rejected = first_of_each_row(pa.concat_tables(misfits))
        kept = pc.invert(pc.is_in(pa.array(range(rows), pa.int64()), rejected.column("row").combine_chunks()))
        return Fitted(fitted.filter(kept), rows, batch, rejected, pc.indices_nonzero(kept).cast(pa.int64()))

    def _misfits(self, field: pa.Field, values: pa.Array, bad: pa.Array) -> list[pa.Table]:
        """The rejections of the rows whose value does not fit; none where the contract turns such values into nulls."""
        if self._contract.types == Drift.DISCARD_VALUE:
            return []
        rows = pc.indices_nonzero(bad).cast(pa.int64())
        kind = sql_type(field.type)
        messages = [f"{_shown(value)} is not of type {kind}" for value in values.take(rows)]
        if self._contract.types == Drift.FREEZE:
            raise SchemaDrift(
                f"'{self._place}': column '{field.name}': {messages[0]}",
                hint="change the source's schema, or loosen contract.types",
            )
        reason = "contract" if self._contract.types == Drift.DISCARD_ROW else "type_mismatch"
        return [rejections(rows, reason, messages, field.name)]


def _is_encoded_text(given: pa.DataType, wanted: pa.DataType) -> bool:
    return wanted == pa.string() and bool(pa.types.is_dictionary(given)) and given.value_type == wanted


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return record_batch([pa.nulls(0, field.type) for field in schema], schema, 0)


def _shown(value: pa.Scalar) -> str:
    text = str(value.as_py())
    return repr(text if len(text) <= 80 else text[:77] + "…")


def first_of_each_row(rejected: pa.Table) -> pa.Table:
    """One rejection a row, the first, by row."""
    order = pc.sort_indices(rejected, sort_keys=[("row", "ascending")])
    ordered = rejected.take(order)
    rows = ordered.column("row").combine_chunks()
    if len(rows) < 2:
        return ordered
    fresh = pa.concat_arrays([pa.array([True]), pc.not_equal(rows.slice(1), rows.slice(0, len(rows) - 1))])
    found = ordered.filter(fresh)
    return found if ATTEMPTS in found.column_names else found.cast(REJECTION)


def fit_array(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """`array` in the type `target`, and a mask of the values that it cannot hold (null there), or None when all fit."""
    if array.type == target:
        return array, None
    try:
        return _cast(array, target), None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, duckdb.Error):
        found = _try_cast(array, target)
        bad = pc.and_(pc.is_valid(array), pc.is_null(found))
        return found, bad if pc.any(bad).as_py() else None


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(array.type) and pa.types.is_timestamp(target) and array.type.unit == "ns":
        # Edges hold microseconds; finer digits are cut, as documented.
        return array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(target)
    if pa.types.is_time64(array.type) and array.type.unit == "ns" and target == pa.time64("us"):
        return array.cast(target, safe=False)
    if _is_text(array.type) and target not in (pa.string(), JSON):
        # Text becomes another type only value by value, by SQL's rules.
        raise pa.ArrowInvalid("text")
    column = conform(pa.table({"c": array}), pa.schema([("c", target)])).column(0)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _is_text(data_type: pa.DataType) -> bool:
    return bool(canonical(data_type) == pa.string())


def _try_cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    fits = f"TRY_CAST(c AS {sql_type(target)})"
    if pa.types.is_integer(target) and (pa.types.is_floating(array.type) or pa.types.is_decimal(array.type)):
        fits = f"CASE WHEN c = round(c) THEN {fits} END"
    elif pa.types.is_decimal(target) and pa.types.is_decimal(array.type) and target.scale < array.type.scale:
        # A cast rounds without a word.
        fits = f"CASE WHEN c = round(c, {target.scale}) THEN {fits} END"
    column = conform(over(pa.table({"c": array}), f"SELECT {fits} AS c FROM t"), pa.schema([("c", target)])).column(0)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def as_json(batch: pa.RecordBatch, positions: Sequence[int]) -> list[str]:
    """The rows of a batch as JSON objects."""
    some = batch.take(pa.array(positions, pa.int64()))
    found: list[str] = json_rows(some).to_pylist()
    return found
