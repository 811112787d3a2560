"""Blocks of JSON lines as a source yields them, and the schema that a sample of them has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.file_lines import OVERLONG_HEAD, Lines
from beam_datahub.component.files import record_batch
from beam_datahub.component.source import Block, Drift, Origin, ReadRequest
from beam_datahub.errors import SchemaDrift, UnreadableData
from beam_datahub.kernels.json_lines import JsonLines, Parsed
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.kernels.types import JSON, from_duckdb, quoted, sql_type


class JsonReader:
    """Turns the lines of one split into blocks, by the request's schema and contract. Raises SchemaDrift where it is frozen."""

    def __init__(self, path: str, request: ReadRequest, longest: int) -> None:
        self._path, self._request, self._contract, self._longest = path, request, request.contract, longest
        self._parser = JsonLines(
            request.projected,
            longest=longest,
            known=frozenset(request.schema.names),
            refuse_unknown=request.contract.columns == Drift.DISCARD_ROW,
        )
        self._looked = False
        self._some: bytes | None = None

    def look_again(self, some: bytes | None = None) -> None:
        """Look for keys that the schema does not know in the next block as well, or just in `some` of its lines."""
        self._looked, self._some = False, some

    def blocks(self, lines: Iterable[Lines], *, ranges: bool = True) -> Iterator[Block]:
        """The blocks of all lines. `ranges`: offsets and line numbers are those of the file."""
        request, looked_at = self._request, self._looked_at(lines)
        if request.threads < 2 or request.limit is not None:
            for some, searched in looked_at:
                yield self._block(some, ranges, searched)
            return
        # Each block is parsed by one thread: cut among several, its parts would have to be put together again.
        yield from read_ahead(looked_at, lambda each: self._block(each[0], ranges, each[1]), threads=request.threads)

    def _looked_at(self, lines: Iterable[Lines]) -> Iterator[tuple[Lines, bytes | None]]:
        """Blocks, and what of each to search for keys that the schema does not know: the first one and where `look_again` was
        said, or all where such keys are forbidden.
        """
        columns = self._contract.columns
        for some in lines:
            look = columns == Drift.FREEZE or (columns != Drift.DISCARD_ROW and not self._looked)
            look = look and not some.overlong
            self._looked = self._looked or look
            part, self._some = None if columns == Drift.FREEZE else self._some, None
            yield some, (part or some.data) if look else None

    def _block(self, lines: Lines, ranges: bool, searched: bytes | None) -> Block:
        origin = Origin(self._path, lines.start, lines.end) if ranges else Origin(self._path, first_row=lines.start)
        schema = self._request.projected
        if lines.overlong:
            refused = rejections([0], "malformed", f"the record is longer than {self._longest} bytes")
            head = lines.data.decode(errors="replace") + "…"
            return Block(_empty(schema), origin, refused, pa.array([], pa.int64()), lambda _: [head], lambda _: [lines.line])
        drifted = self._strangers(searched) if searched is not None else ()
        parsed = self._parser.parse(lines.data)
        columns, positions, rejected = self._judged(parsed)
        rows = len(parsed.lines) if positions is None else len(positions)
        return Block(
            record_batch(columns, schema, rows),
            origin,
            rejected=rejected if rejected.num_rows else None,
            positions=positions,
            originals=lambda wanted: _texts(parsed.lines, wanted, self._longest),
            lines=(lambda wanted: _numbers(lines, wanted)) if ranges else None,
            drifted=drifted,
        )

    def _judged(self, parsed: Parsed) -> tuple[list[pa.Array], pa.Array | None, pa.Table]:
        """The columns, positions and rejections when the contract has spoken on values that do not fit."""
        misfits = parsed.misfits
        if not misfits.num_rows or self._contract.types == Drift.DISCARD_VALUE:
            return parsed.columns, parsed.positions, parsed.rejected
        if self._contract.types == Drift.FREEZE:
            first = misfits.slice(0, 1).to_pylist()[0]
            raise SchemaDrift(
                f"'{self._path}': column '{first['column']}': {first['message']}",
                hint="change the source's schema, or loosen contract.types",
            )
        misfits = _first_of_each(misfits)
        if self._contract.types == Drift.DISCARD_ROW:
            misfits = misfits.set_column(1, misfits.schema.field(1), pa.array(["contract"] * misfits.num_rows))
        positions = parsed.positions
        if positions is None:
            positions = pa.array(range(len(parsed.lines)), pa.int64())
        fine = pc.invert(pc.is_in(positions, misfits.column("row").combine_chunks()))
        rejected = pa.concat_tables([parsed.rejected, misfits]).sort_by("row")
        return [column.filter(fine) for column in parsed.columns], positions.filter(fine), rejected

    def _strangers(self, data: bytes) -> tuple[str, ...]:
        """Keys that the schema does not know."""
        found = self._parser.strangers(data)
        if found and self._contract.columns == Drift.FREEZE:
            raise SchemaDrift(
                f"'{self._path}' has the key '{found[0]}', which the schema does not have",
                hint="add it to the source's schema, or loosen contract.columns",
            )
        return tuple(found)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return record_batch([pa.nulls(0, field.type) for field in schema], schema, 0)


def _texts(lines: pa.Array, positions: Sequence[int], longest: int) -> list[str]:
    """The records as they were read; of one that is too long, the head."""
    found = lines.take(pa.array(positions, pa.int64())).to_pylist()
    texts = [text if isinstance(text, str) else text.decode(errors="backslashreplace") for text in found]
    return [text.rstrip("\r\n") if len(text) <= longest else text[:OVERLONG_HEAD] + "…" for text in texts]


def _numbers(lines: Lines, positions: Sequence[int]) -> list[int | None]:
    """The line numbers of records; blank lines are no records."""
    if lines.line is None:
        return [None] * len(positions)
    filled = [i for i, text in enumerate(lines.data.split(b"\n")) if text.strip()]
    return [lines.line + filled[position] for position in positions]


def _first_of_each(misfits: pa.Table) -> pa.Table:
    """One misfit for each record."""
    rows, seen = [], set()
    for i, row in enumerate(misfits.column("row").to_pylist()):
        if row not in seen:
            seen.add(row)
            rows.append(i)
    return misfits.take(pa.array(rows, pa.int64())).combine_chunks()


def discovered(path: str, samples: Iterable[bytes], longest: int) -> tuple[pa.Schema, float]:
    """The schema of JSON lines, and how many bytes a record has on average (0.0: there is none). Raises UnreadableData."""
    parser = JsonLines(pa.schema([]), longest=longest, known=frozenset(), refuse_unknown=False)
    size = records = 0
    with tempfile.TemporaryDirectory(prefix=scratch_prefix("json")) as folder, duckdb.connect(":memory:") as connection:
        sample = os.path.join(folder, "sample.jsonl")
        with open(sample, "wb") as stream:
            for data in samples:
                size += len(data.strip())
                lines = parser.objects(data)
                records += len(lines)
                stream.writelines(line.rstrip("\n").encode() + b"\n" for line in lines.to_pylist())
        if size and not records:
            raise UnreadableData(f"'{path}' does not hold JSON objects", hint="each line of a jsonl file is one JSON object")
        if not records:
            return pa.schema([]), 0.0
        connection.execute("SET TimeZone='UTC'")
        reader = f"read_ndjson('{sample}', sample_size=-1, records=true, maximum_object_size={2 * longest})"
        try:
            found = connection.sql(f"FROM {reader}")
            _refuse_clash(connection, sample, path, found.columns)
            kinds = dict(zip(found.columns, found.types, strict=True))
            types = {name: _column_type(kind) for name, kind in kinds.items()}
            for name in [name for name, kind in kinds.items() if "HUGEINT" in str(kind)]:
                if _vast(connection, reader, name, types[name]):
                    types[name] = _column_type(kinds[name], vast=True)
        except duckdb.Error:
            # Nested deeper than the engine goes: the keys are known, their values stay JSON.
            lines = connection.sql(f"SELECT DISTINCT unnest(json_keys(json)) FROM read_ndjson_objects('{sample}')").fetchall()
            types = {name: JSON for (name,) in sorted(lines)}
    return pa.schema(list(types.items())), size / records


def keys_seen(data: bytes, longest: int, *, whole: bool) -> ColumnsSeen | None:
    """The keys of JSON lines; None where there are none. `whole`: there are no lines but these."""
    parser = JsonLines(pa.schema([]), longest=longest, known=frozenset(), refuse_unknown=False)
    names = parser.strangers(data)
    return ColumnsSeen(tuple(names), whole) if names else None


def _refuse_clash(connection: duckdb.DuckDBPyConnection, sample: str, path: str, names: Sequence[str]) -> None:
    """Raise UnreadableData for keys that differ only in case: the engine numbers the second, and would find nothing there."""
    folded = {name.casefold() for name in names}
    numbered = [name for name in names if name.rpartition("_")[2].isdigit() and _stem(name) in folded]
    if not numbered:
        return
    found = connection.sql(f"SELECT DISTINCT unnest(json_keys(json)) FROM read_ndjson_objects('{sample}')").fetchall()
    keys = {key for (key,) in found}
    clash = sorted(key for key in keys for name in numbered if name not in keys and _stem(name) == key.casefold())
    if clash:
        raise UnreadableData(
            f"'{path}' has keys that differ only in case: {', '.join(repr(key) for key in clash)}",
            hint="declare the source's `schema` with the one that you need, or have the file written with other names",
        )


def _stem(name: str) -> str:
    return name.rpartition("_")[0].casefold()


def _vast(connection: duckdb.DuckDBPyConnection, reader: str, name: str, data_type: pa.DataType) -> bool:
    """Whether a column with integers has some that a BIGINT does not hold."""
    beyond = f"bool_or({quoted(name)} IS NOT NULL AND TRY(CAST({quoted(name)} AS {sql_type(data_type)})) IS NULL)"
    sql = f"SELECT coalesce({beyond}, false) FROM {reader}"
    return bool(connection.sql(sql).fetchall()[0][0])


def _column_type(kind: Any, *, inside: bool = False, vast: bool = False) -> pa.DataType:
    """The type of a column for a type that was found: what is too mixed for one, or has keys as a map has, becomes JSON.

    What is null in all of the sample becomes text, which takes any value; inside other values, where text would not, JSON.
    `vast`: it has integers that a BIGINT does not hold.
    """
    if str(kind) == "HUGEINT" and not vast:
        # Signed next to unsigned integers; they are hardly ever that large.
        return pa.int64()
    if kind.id == "null":
        return JSON if inside else pa.string()
    if kind.id == "map" or (kind.id == "struct" and not kind.children):
        return JSON
    if kind.id == "list":
        return pa.list_(pa.field("item", _column_type(dict(kind.children)["child"], inside=True, vast=vast)))
    if kind.id == "struct":
        return pa.struct([pa.field(name, _column_type(child, inside=True, vast=vast)) for name, child in kind.children])
    return from_duckdb(kind)
