"""Which records of an incremental source are new, and where the next run goes on: pure functions over batches.

A run takes the records whose cursor column lies at or above a floor, but for those that an earlier run has taken. The floor is
the newest value that was taken (or so much below as the `lag` says); of the records there the *marks* are kept, digests of their
keys, so that those which share the newest value are neither lost nor doubled.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import InvalidValue, RunError
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.session import decoded, single_batch
from beam_datahub.kernels.types import literal, sql_type
from beam_datahub.kernels.workbench import over

# More marks than these are refused: they are kept in the store, and travel to every worker.
MOST_MARKS = 250_000


@dataclass(frozen=True)
class Increment:
    """What is new of a source: records whose `column` is at least `floor`, without those with a mark in `seen`.

    `key` are the columns that tell records of one value apart. `last` is the newest value that earlier runs have taken and `seen`
    holds the values and marks from `floor` up to it; `until` ends a partial run (exclusive), which does not move the cursor.
    Values are SQL texts of `data_type`. `revision` is that of the cursor as the run found it.
    """

    column: str
    data_type: pa.DataType
    key: tuple[str, ...]
    lag: str | None = None
    nulls: Literal["reject", "skip", "read"] = "reject"
    floor: str | None = None
    until: str | None = None
    last: str | None = None
    seen: str | None = None
    revision: int = 0
    moves: bool = True

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that it looks at."""
        return tuple(dict.fromkeys((self.column, *self.key)))

    def after(self, last: str, seen: str | None, revision: int) -> Increment:
        """It behind what earlier runs have taken."""
        floor = last if self.lag is None else _text(f"CAST({literal(last)} AS {self._kind}) - {self._step}", self.data_type)
        return replace(self, floor=floor, last=last, seen=seen, revision=revision)

    def value(self, text: str) -> str:
        """The value that a user wrote, in its SQL text. Raises InvalidValue."""
        found = _text(f"TRY_CAST({literal(text)} AS {self._kind})", self.data_type)
        if found is None:
            raise InvalidValue(f"'{text}' is not a {self._kind}, which '{self.column}' is")
        return found

    @property
    def _kind(self) -> str:
        return sql_type(self.data_type)

    @property
    def _step(self) -> str:
        return f"{literal(self.lag or '')}::INTERVAL" if pa.types.is_temporal(self.data_type) else str(self.lag)


def check_lag(lag: str, data_type: pa.DataType) -> None:
    """Raises InvalidValue for a lag that cannot be taken from a value of the type."""
    t = pa.types
    if t.is_string(data_type):
        raise InvalidValue("a text has no `lag`", hint="leave it out")
    if t.is_temporal(data_type):
        if over(_one(), f"SELECT TRY_CAST({literal(lag)} AS INTERVAL) AS v FROM t").column(0)[0].as_py() is None:
            raise InvalidValue(f"'{lag}' is no length of time", hint="write it as `5 minutes` or `1 day`")
    elif over(_one(), f"SELECT TRY_CAST({literal(lag)} AS DECIMAL(38,9)) AS v FROM t").column(0)[0].as_py() is None:
        raise InvalidValue(f"'{lag}' is no number, and the values are", hint="write it as a number such as 100")


def can_order(data_type: pa.DataType) -> bool:
    """Whether a column of the type can be a cursor: its values are exact and have an order."""
    t = pa.types
    exact = t.is_integer(data_type) or t.is_decimal(data_type) or t.is_date(data_type) or t.is_timestamp(data_type)
    return bool(exact or t.is_string(data_type))


@dataclass(frozen=True)
class Taken:
    """What a batch has of a run's increment: the rows to take (None: all), and those that are refused for want of a value."""

    rows: pa.Array | None
    without: pa.Array


class Taking:
    """Takes what is new out of the batches of one bundle, and notes where that ends."""

    def __init__(self, increment: Increment) -> None:
        self._increment = increment
        self._floor = _scalar(increment.floor, increment.data_type)
        self._until = _scalar(increment.until, increment.data_type)
        self._last = _scalar(increment.last, increment.data_type)
        self._marks = _unpacked(increment.seen)["mark"] if increment.seen else None
        self._newest: list[pa.Table] = []

    def take(self, batch: pa.RecordBatch) -> Taken:
        """Which rows of `batch` are new."""
        it = self._increment
        values = decoded(pa.Table.from_batches([batch.select([it.column])])).column(0).combine_chunks()
        nothing = pc.is_null(values)
        wanted = pc.is_valid(values)
        if self._floor is not None:
            wanted = pc.and_(wanted, pc.fill_null(pc.greater_equal(values, self._floor), False))
        if self._until is not None:
            wanted = pc.and_(wanted, pc.fill_null(pc.less(values, self._until), False))
        if self._marks is not None and self._last is not None:
            wanted = self._without_seen(batch, values, wanted)
        if it.moves:
            self._note(batch, values, wanted)
        if it.nulls == "read":
            wanted = pc.or_(wanted, nothing)
        without = pc.indices_nonzero(nothing) if it.nulls == "reject" else pa.array([], pa.uint64())
        if pc.all(wanted, min_count=0).as_py():
            return Taken(None, without.cast(pa.int64()))
        return Taken(pc.indices_nonzero(wanted).cast(pa.int64()), without.cast(pa.int64()))

    def _without_seen(self, batch: pa.RecordBatch, values: pa.Array, wanted: pa.Array) -> pa.Array:
        again = pc.indices_nonzero(pc.and_(wanted, pc.fill_null(pc.less_equal(values, self._last), False)))
        if not len(again):
            return wanted
        assert self._marks is not None
        known = pc.is_in(marks(batch.take(again), self._increment.key), self._marks.combine_chunks())
        return pc.and_not(wanted, _mask(len(values), again.filter(known)))

    def _note(self, batch: pa.RecordBatch, values: pa.Array, wanted: pa.Array) -> None:
        """Keep the newest of the rows that are taken, with their marks."""
        taken = values.filter(wanted)
        if not len(taken):
            return
        newest = pc.max(taken)
        floor = _below(newest, self._increment)
        rows = pc.indices_nonzero(pc.and_(wanted, pc.fill_null(pc.greater_equal(values, floor), False)))
        self._newest.append(pa.table({"value": values.take(rows), "mark": marks(batch.take(rows), self._increment.key)}))
        if sum(table.num_rows for table in self._newest) > MOST_MARKS:
            self._newest = [_newest(self._newest, self._increment)]

    def taken(self) -> str | None:
        """What was taken since the last call, as text for `moved`; None where nothing was."""
        if not self._newest:
            return None
        found = _packed(_newest(self._newest, self._increment))
        self._newest = []
        return found


def moved(increment: Increment, parts: Iterable[str]) -> dict[str, Any] | None:
    """Where the cursor goes after a run whose bundles have taken `parts`: `last`, `seen`; None where nothing was new.

    Raises RunError where too many records share the newest values.
    """
    tables = [_unpacked(part) for part in parts]
    if not tables:
        return None
    if increment.seen is not None:
        tables.append(_unpacked(increment.seen))
    elif increment.last is not None:
        tables.append(pa.table({"value": pa.array([_scalar(increment.last, increment.data_type)]), "mark": pa.array([""])}))
    found = _newest(tables, increment)
    if found.num_rows > MOST_MARKS:
        raise RunError(
            f"{found.num_rows:,} records have the newest values of '{increment.column}': it cannot be kept which were taken",
            hint="take a column whose values differ more, or a shorter `lag`",
        )
    return {"last": as_text(pc.max(found["value"]), increment.data_type), "seen": _packed(found)}


def marks(batch: pa.RecordBatch, key: Sequence[str]) -> pa.Array:
    """A digest of each row's key: 16 hexadecimal digits."""
    texts = json_rows(single_batch(decoded(pa.Table.from_batches([batch.select(list(key))]))))
    found = over(pa.table({"l": texts}), "SELECT substr(md5(l), 1, 16) AS m FROM t").column(0)
    return found.combine_chunks()


def as_text(value: pa.Scalar, data_type: pa.DataType) -> str:
    """The SQL text of a value."""
    found = over(pa.table({"v": pa.array([value], data_type)}), "SELECT CAST(v AS VARCHAR) AS v FROM t").column(0)
    return str(found[0].as_py())


def _one() -> pa.Table:
    """One row, made of no Python list: Arrow would load pandas, where that is, to look whether the list is a frame."""
    return pa.Table.from_arrays([pa.nulls(1, pa.int64())], names=["one"])


def _text(sql: str, data_type: pa.DataType) -> str | None:
    found = over(_one(), f"SELECT CAST(CAST({sql} AS {sql_type(data_type)}) AS VARCHAR) AS v FROM t").column(0)
    value: str | None = found[0].as_py()
    return value


def _scalar(text: str | None, data_type: pa.DataType) -> pa.Scalar | None:
    if text is None:
        return None
    found = over(_one(), f"SELECT CAST({literal(text)} AS {sql_type(data_type)}) AS v FROM t").column(0)
    return found.cast(data_type)[0]


def _below(newest: pa.Scalar, increment: Increment) -> pa.Scalar:
    if increment.lag is None:
        return newest
    text = as_text(newest, increment.data_type)
    return _scalar(increment.after(text, None, 0).floor, increment.data_type)


def _newest(tables: Sequence[pa.Table], increment: Increment) -> pa.Table:
    """The rows of `tables` from the floor of their newest value on, each mark once."""
    whole = pa.concat_tables(tables).combine_chunks()
    floor = _below(pc.max(whole["value"]), increment)
    kept = whole.filter(pc.greater_equal(whole["value"], floor))
    return kept.group_by("mark", use_threads=False).aggregate([("value", "max")]).rename_columns(["mark", "value"])


def _mask(length: int, rows: pa.Array) -> pa.Array:
    mask = np.zeros(length, bool)
    mask[rows.to_numpy()] = True
    return pa.array(mask)


def _packed(table: pa.Table) -> str:
    sink = io.BytesIO()
    ordered = table.select(["value", "mark"]).sort_by("mark")
    with pa.ipc.new_stream(sink, ordered.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(ordered)
    return base64.b64encode(sink.getvalue()).decode()


def _unpacked(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()
