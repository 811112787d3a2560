"""Changes of tables as records: in Debezium's envelope, or as rows that say what became of them.

What reads a database's log gives `Changes`; `ChangeBlocks` makes blocks of them, by a request's schema and contract.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.arrow_blocks import Fitting, as_json, first_of_each_row
from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config
from beam_datahub.component.database import TableName
from beam_datahub.component.files import record_batch
from beam_datahub.component.source import Arrival, Block, Origin, ReadRequest, Source
from beam_datahub.errors import InvalidValue, UnreadableData
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ

Integers = npt.NDArray[np.int64]

# What a change is: a row that was there at first, one that is new, changed or gone; a table that was emptied.
OPERATIONS = ("r", "c", "u", "d", "t")
READ, CREATED, UPDATED, DELETED, TRUNCATED = range(5)

# The position in a log of a table that is still to be read as a whole.
ANEW = "the beginning"

# What a stream may read at once.
_MOST_BYTES = 256 * 1024 * 1024

BEFORE, AFTER, SOURCE, OP, TIME = "before", "after", "source", "op", "ts_ms"
# What stands beside the columns of a table in the form of rows.
ROW_FIELDS = pa.schema(
    [("__op", pa.string()), ("__deleted", pa.bool_()), ("__position", pa.int64()), ("__committed_at", TIMESTAMPTZ)]
)


class ChangeOptions(Config):
    """The form that changes come in."""

    changes: Literal["envelope", "rows"] = "envelope"
    """`envelope`: the columns `op`, `before`, `after`, `source` and `ts_ms`, as Debezium has them. `rows`: the table's own
    columns, with `__op`, `__deleted`, `__position` and `__committed_at` beside them; of a row that is gone, those known."""

    key: Names | None = None
    """The columns that tell rows apart; those of the primary key when left out. A row whose key changes is one that goes and one
    that comes."""

    truncates: Literal["keep", "skip", "fail"] | None = None
    """What a table that is emptied by TRUNCATE does: it is a record of its own (`op` is `t`; the default for `envelope`), is left
    out, or fails the run (the default for `rows`, which have no way to say so)."""

    @property
    def on_truncate(self) -> str:
        """What TRUNCATE does."""
        return self.truncates or ("keep" if self.changes == "envelope" else "fail")


@dataclass(frozen=True)
class Changes:
    """Changes of one table, in their order. `images` are rows as they were before and after, in the database's own types; `after`
    and `before` say for each change which of them are its own (−1: none). `ops` are places in OPERATIONS, `positions` rise with
    every change of a row, `times` are microseconds since 1970 of the commits. `source` says where each change comes from, by
    field. `refused`: changes that cannot be had, with reason, message and column. `order`: places among other tables' changes.
    `texts` are the rows as JSON, where the database has them so itself.
    """

    table: TableName
    images: pa.RecordBatch
    ops: npt.NDArray[np.int8]
    after: Integers
    before: Integers
    positions: Integers
    times: Integers
    source: Mapping[str, pa.Array]
    refused: Mapping[int, tuple[str, str, str | None]] = field(default_factory=dict)
    order: Integers | None = None
    texts: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.ops)

    def where(self, mask: npt.NDArray[np.bool_]) -> Changes:
        """The changes of a mask."""
        if mask.all():
            return self
        chosen = pa.array(mask)
        places = np.cumsum(mask) - 1
        return replace(
            self,
            ops=self.ops[mask],
            after=self.after[mask],
            before=self.before[mask],
            positions=self.positions[mask],
            times=self.times[mask],
            source={name: array.filter(chosen) for name, array in self.source.items()},
            refused={int(places[row]): why for row, why in self.refused.items() if mask[row]},
            order=None if self.order is None else self.order[mask],
        )


def changes_schema(options: ChangeOptions, columns: pa.Schema | None, source: pa.DataType) -> pa.Schema:
    """The schema of changes to a table with these columns (None: several tables, whose rows are JSON). Raises InvalidValue."""
    if options.changes == "envelope":
        row = JSON if columns is None else pa.struct(list(columns))
        return pa.schema([(OP, pa.string()), (BEFORE, row), (AFTER, row), (SOURCE, source), (TIME, pa.int64())])
    if columns is None:
        raise InvalidValue(
            "the rows of several tables have no columns in common", hint="take `changes: envelope`, or one `table`"
        )
    taken = [name for name in columns.names if name in ROW_FIELDS.names]
    if taken:
        raise InvalidValue(f"the table has a column '{taken[0]}', as changes have one", hint="take `changes: envelope`")
    return pa.schema([*columns, *ROW_FIELDS])


def with_change_columns(options: ChangeOptions, declared: pa.Schema) -> pa.Schema:
    """The columns of a table that a user declared, with those of changes; an envelope is declared as a whole."""
    if options.changes == "envelope":
        return declared
    return pa.schema([*declared, *(each for each in ROW_FIELDS if each.name not in declared.names)])


def first_changes(changes: Changes, count: int) -> Changes:
    """The first of some changes."""
    return changes.where(np.arange(len(changes)) < count)


class ChangeBlocks:
    """Makes blocks of changes. `place` is what the dead letter calls their origin, `inner` asks for rows (None: as JSON)."""

    def __init__(self, request: ReadRequest, options: ChangeOptions, place: str) -> None:
        self._request, self._options, self._place = request, options, place
        self._first = 0
        columns = self._table_columns()
        self.inner: ReadRequest | None = None
        if columns is not None:
            asked = set(request.columns)
            names = columns.names if {BEFORE, AFTER} & asked else [name for name in columns.names if name in asked]
            self.inner = replace(request, schema=columns, columns=tuple(names), limit=None, dictionaries=False)

    def _table_columns(self) -> pa.Schema | None:
        """The columns of the table; None where rows are JSON."""
        schema = self._request.schema
        if self._options.changes == "rows":
            return pa.schema([each for each in schema if each.name not in ROW_FIELDS.names])
        fields: dict[str, pa.Field] = {}
        for name in (BEFORE, AFTER):
            if name in schema.names and pa.types.is_struct(kind := schema.field(name).type):
                fields |= {each.name: each for each in kind if each.name not in fields}
        return pa.schema(list(fields.values())) if fields else None

    def block(self, parts: Sequence[Changes], convert: Any = None) -> Block | None:
        """The block of some changes, of each table one part; None where there are none. Raises SchemaDrift, UnreadableData."""
        parts = [self._judged(each) for each in parts if len(each)]
        made = [self._part(each, convert) for each in parts if len(each)]
        if not made:
            return None
        block = made[0] if len(made) == 1 else _merged(made, [each.order for each in parts if len(each)])
        count = block.batch.num_rows + (0 if block.rejected is None else block.rejected.num_rows)
        origin = Origin(self._place, first_row=self._first)
        self._first += count
        return replace(block, origin=origin)

    def _judged(self, changes: Changes) -> Changes:
        truncated = changes.ops == TRUNCATED
        what = self._options.on_truncate
        if what == "keep" or not truncated.any():
            return changes
        if what == "fail":
            raise UnreadableData(
                f"the table '{changes.table}' was emptied by TRUNCATE, which rows cannot say",
                hint="empty the destination and go on with `truncates: skip`, or read everything again: --full",
            )
        return changes.where(~truncated)

    def _part(self, changes: Changes, convert: Any) -> Block:
        count = len(changes)
        images, rejected, drifted = changes.images, [], tuple[str, ...]()
        where = np.arange(images.num_rows + 1)
        where[-1] = -1
        if self.inner is not None:
            drifted = tuple(name for name in images.schema.names if name not in self.inner.schema.names)
            fitted = Fitting(self.inner, str(changes.table), drifted, convert).fit(images)
            if fitted.rejected is not None and fitted.positions is not None:
                where[:-1] = -1
                where[fitted.positions.to_numpy()] = np.arange(fitted.batch.num_rows)
                rejected.append(_of_changes(fitted.rejected, changes))
            images = fitted.batch
        for row, (reason, message, column) in changes.refused.items():
            rejected.append(rejections([row], reason, message, column))
        positions = told = None
        after, before = where[changes.after], where[changes.before]
        names = self._request.columns
        if rejected:
            told = first_of_each_row(pa.concat_tables(rejected))
            fine = np.ones(count, dtype=bool)
            fine[told["row"].to_numpy()] = False
            positions = pa.array(np.flatnonzero(fine), pa.int64())
            batch = self._assembled(changes.where(fine), images, after[fine], before[fine], names, self._request.schema)
        else:
            batch = self._assembled(changes, images, after, before, names, self._request.schema)

        def originals(wanted: Sequence[int]) -> list[str]:
            chosen = np.zeros(count, dtype=bool)
            chosen[list(wanted)] = True
            some = changes.where(chosen)
            every = self._request.schema.names
            return as_json(self._assembled(some, changes.images, some.after, some.before, every, None), range(len(some)))

        return Block(batch, rejected=told, positions=positions, originals=originals, drifted=drifted)

    def _assembled(
        self,
        changes: Changes,
        images: pa.RecordBatch,
        after: Integers,
        before: Integers,
        names: Sequence[str],
        schema: pa.Schema | None,
    ) -> pa.RecordBatch:
        """The columns `names` of changes whose rows are those of `images`; `schema` has their types (None: as they are)."""
        columns: dict[str, pa.Array] = {}
        texts: pa.Array | None = None
        if self.inner is None and {BEFORE, AFTER} & set(names):
            texts = json_rows(images).combine_chunks() if changes.texts is None else changes.texts
        picked = _places(np.where(after >= 0, after, before))
        for name in names:
            if self._options.changes == "rows":
                if name in ROW_FIELDS.names:
                    columns[name] = _row_field(name, changes)
                elif name in images.schema.names:
                    columns[name] = images.column(name).take(picked)
                else:
                    columns[name] = pa.nulls(len(changes), pa.string())
            elif name in (BEFORE, AFTER):
                chosen = before if name == BEFORE else after
                if texts is not None:
                    columns[name] = pa.ExtensionArray.from_storage(JSON, texts.take(_places(chosen)))
                else:
                    wanted = list(schema.field(name).type) if schema is not None else list(images.schema)
                    columns[name] = _struct(images, chosen, wanted)
            elif name == SOURCE:
                columns[name] = self._source(changes)
            elif name == OP:
                columns[name] = operations(changes.ops)
            elif name == TIME:
                columns[name] = pa.array(changes.times // 1000, pa.int64())
            else:
                raise InvalidValue(f"changes have no column '{name}'", hint="take it out of the source's `schema`")
        fields = [pa.field(name, array.type) for name, array in columns.items()]
        return record_batch(list(columns.values()), pa.schema(fields), len(changes))

    def _source(self, changes: Changes) -> pa.Array:
        kind = self._request.schema.field(SOURCE).type
        there = {"ts_ms": pa.array(changes.times // 1000, pa.int64()), **changes.source}
        arrays = [there[each.name] if each.name in there else pa.nulls(len(changes), each.type) for each in kind]
        arrays = [array.cast(each.type) for array, each in zip(arrays, kind, strict=True)]
        return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _places(indices: Integers) -> pa.Array:
    missing = indices < 0
    return pa.array(indices, pa.int64(), mask=missing) if missing.any() else pa.array(indices, pa.int64())


def _struct(images: pa.RecordBatch, chosen: Integers, fields: Sequence[pa.Field]) -> pa.Array:
    places = _places(chosen)
    arrays = [
        images.column(each.name).take(places) if each.name in images.schema.names else pa.nulls(len(chosen), each.type)
        for each in fields
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(fields), mask=pa.array(chosen < 0))


def _row_field(name: str, changes: Changes) -> pa.Array:
    if name == "__op":
        return operations(changes.ops)
    if name == "__deleted":
        return pa.array(changes.ops == DELETED)
    if name == "__position":
        return pa.array(changes.positions, pa.int64())
    return pa.array(changes.times, pa.int64()).view(pa.timestamp("us")).cast(TIMESTAMPTZ)


def operations(ops: npt.NDArray[np.int8]) -> pa.Array:
    """Places in OPERATIONS as their letters."""
    return pa.DictionaryArray.from_arrays(pa.array(ops, pa.int8()), pa.array(OPERATIONS)).cast(pa.string())


def _of_changes(rejected: pa.Table, changes: Changes) -> pa.Table:
    """What was rejected of images, as rejections of the changes that they belong to."""
    owners = np.zeros(changes.images.num_rows, dtype=np.int64)
    for images in (changes.before, changes.after):
        there = images >= 0
        owners[images[there]] = np.flatnonzero(there)
    rows = owners[rejected["row"].to_numpy()]
    return rejected.set_column(0, rejected.schema.field(0), pa.array(rows, pa.int64()))


def _merged(blocks: Sequence[Block], orders: Sequence[Integers | None]) -> Block:
    """Blocks of several tables as one, in the order of their changes."""
    known = [each for each in orders if each is not None]
    rank = np.empty(sum(map(len, known)), dtype=np.int64)
    rank[np.argsort(np.concatenate(known), kind="stable")] = np.arange(len(rank))
    starts = np.cumsum([0, *map(len, known)])
    ranks = [rank[start : start + len(each)] for start, each in zip(starts, known, strict=False)]
    places = [
        own if block.positions is None else own[block.positions.to_numpy()] for block, own in zip(blocks, ranks, strict=True)
    ]
    rows = np.concatenate(places)
    order = np.argsort(rows)
    batch = pa.concat_batches([block.batch for block in blocks]).take(pa.array(order))
    refused = [
        block.rejected.set_column(0, block.rejected.schema.field(0), pa.array(own[block.rejected["row"].to_numpy()], pa.int64()))
        for block, own in zip(blocks, ranks, strict=True)
        if block.rejected is not None
    ]

    def originals(wanted: Sequence[int]) -> list[str]:
        found = []
        for row in wanted:
            number = next(n for n, own in enumerate(ranks) if row in own)
            give = blocks[number].originals
            assert give is not None
            found += give([int(np.flatnonzero(ranks[number] == row)[0])])
        return found

    whole = len(rows) == len(rank)
    return Block(
        batch,
        rejected=pa.concat_tables(refused).sort_by("row") if refused else None,
        positions=None if whole else pa.array(rows[order], pa.int64()),
        originals=originals,
        drifted=tuple(dict.fromkeys(name for block in blocks for name in block.drifted)),
    )


def one_block(blocks: list[Block]) -> Block | None:
    """Blocks one behind the other as one; None where there are none."""
    if not blocks:
        return None
    starts, positions, refused, end = list[int](), list[pa.Array](), list[pa.Table](), 0
    for block in blocks:
        starts.append(end)
        count = block.batch.num_rows
        places = pa.array(range(count), pa.int64()) if block.positions is None else block.positions
        positions.append(pc.add(places, end))
        if block.rejected is not None:
            rows = pc.add(block.rejected["row"], end)
            refused.append(block.rejected.set_column(0, block.rejected.schema.field(0), rows))
            count += block.rejected.num_rows
        end += count

    def originals(wanted: Sequence[int]) -> list[str]:
        found = []
        for row in wanted:
            number = bisect_right(starts, row) - 1
            give = blocks[number].originals
            assert give is not None
            found += give([row - starts[number]])
        return found

    batch = pa.concat_batches([block.batch for block in blocks])
    rejected = pa.concat_tables(refused) if refused else None
    drifted = tuple(dict.fromkeys(name for block in blocks for name in block.drifted))
    return Block(batch, blocks[0].origin, rejected, pa.concat_arrays(positions), originals, drifted=drifted)


def whole_table(source: Source, request: ReadRequest, table: str) -> Arrival:
    """A table as it is, at the beginning of a stream: all rows at once, so that a stream that breaks meanwhile doubles none.

    Raises InvalidValue where that are too many.
    """
    (split,) = source.splits(replace(request, limit=None, reached={}))
    found, size = list[Block](), 0
    for block in source.read(split, request):
        found.append(block)
        size += block.batch.nbytes
        if size > _MOST_BYTES:
            raise InvalidValue(
                f"the table '{table}' is too large to be read at once at the beginning of a stream",
                hint="let a first run of `type: batch` read it, under the same name; the stream goes on from there",
            )
    return Arrival(one_block(found), str(split.reached[""]), 1)
