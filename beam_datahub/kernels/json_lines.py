"""Lines of JSON objects as typed batches: all at once when all is well, column by column where some record is not.

The fast way is a strict typed parser over the whole block. When it refuses the block, top-level values are taken out as
text and converted one column at a time, so that only the records at fault are rejected. The slow way accepts whatever
the fast way does, with equal results, and a little more: quoted numbers, numbers in text columns, `1.0` for an integer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from beam_datahub.kernels.byte_places import places_of
from beam_datahub.kernels.json_text import DEEPEST, LENIENT, extracted, fault, holds_json, holds_time, is_nested, too_deep, whole
from beam_datahub.kernels.rejection import REJECTION, no_rejections, rejections
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.types import JSON, literal, sql_type
from beam_datahub.kernels.workbench import over

_ROW = re.compile(r" in row (\d+)$")
_COLUMN = re.compile(r"Column\(/([^/)]+)")
_WORDED = 20
_LINE_BREAK = ord("\n")

# A reason code, what the dead letter says, and the column at fault.
Fact = tuple[str, str, str | None]


@dataclass(frozen=True)
class Parsed:
    """What became of a block of `lines`, the blank ones left out.

    `positions` are the lines that `columns` hold (None: all), `rejected` tells of the others. `misfits` tells of lines that
    `columns` hold although a value did not fit its type: it is null there.
    """

    columns: list[pa.Array]
    lines: pa.Array
    rejected: pa.Table
    misfits: pa.Table
    positions: pa.Array | None = None


class JsonLines:
    """Parses blocks of JSON lines to the columns of `schema`; remembers whether the last block had defects.

    `longest`: bytes that a record may have. `known`: the top-level keys that records may have; `refuse_unknown` rejects
    records with others.
    """

    def __init__(self, schema: pa.Schema, *, longest: int, known: frozenset[str], refuse_unknown: bool) -> None:
        self._schema, self._longest, self._known, self._refuse_unknown = schema, longest, known, refuse_unknown
        self._loose = [field for field in schema if field.type == JSON or (is_nested(field.type) and _is_loose(field.type))]
        self._typed = [field for field in schema if field not in self._loose]
        self._shape = pa.schema([pa.field(field.name, _shape(field.type)) for field in self._typed])
        self._defects = False

    def parse(self, data: bytes) -> Parsed:
        """The records of whole lines; blank lines are none."""
        lines = lines_of(data)
        if not self._defects and not self._refuse_unknown:
            found = self._fast(data, lines)
            if found is not None:
                return found
        found = self._slow(lines.filter(_filled(lines)))
        self._defects = bool(found.rejected.num_rows or found.misfits.num_rows)
        return found

    def _fast(self, data: bytes, lines: pa.Array) -> Parsed | None:
        if isinstance(lines, pa.BinaryArray) or _long(lines, self._longest) or _deep(lines):
            return None
        # The parser takes a bare null for a record, and crashes on a block of just that.
        if not pc.all(pc.starts_with(lines, "{")).as_py():
            return None
        try:
            table = _read(pa.py_buffer(data), self._shape)
            if table.num_rows != len(lines):
                return None
            columns = {field.name: _strict(whole(table.column(field.name)), field.type) for field in self._typed}
        except (pa.ArrowException, duckdb.Error):
            return None
        if self._loose:
            arrays, masks, _ = extracted(lines, self._loose)
            if any(pc.any(mask).as_py() for mask in masks):
                return None
            columns.update({field.name: array for field, array in zip(self._loose, arrays, strict=True)})
        return Parsed([columns[name] for name in self._schema.names], lines, no_rejections(), no_rejections())

    def _slow(self, lines: pa.Array) -> Parsed:
        kept, texts, rejected = self._sound(lines)
        strict = [field for field in self._typed if is_nested(field.type)]
        others = [field for field in self._schema if field not in strict]
        arrays, masks, shown = extracted(texts, others)
        columns = {field.name: array for field, array in zip(others, arrays, strict=True)}
        misfits = [
            _misfits(field, mask, whole(shown.column(i))) for i, (field, mask) in enumerate(zip(others, masks, strict=True))
        ]
        # The typed parser also sees what is wrong with keys that nobody asked for.
        nested, faults = _read_each(texts, pa.schema([pa.field(f.name, _shape(f.type)) for f in strict]))
        for field in strict:
            columns[field.name], mask = _lenient(nested[field.name], field.type)
            misfits.append(_misfits(field, mask, nested[field.name]))
        found = [columns[name] for name in self._schema.names]
        misfits.append(_told({row: fact for row, fact in faults.items() if fact[0] == "type_mismatch"}))
        broken = _told({row: fact for row, fact in faults.items() if fact[0] != "type_mismatch"})
        misfit = _at(pa.concat_tables(misfits), kept)
        if broken.num_rows:
            stay = pc.invert(pc.is_in(pa.array(range(len(kept)), pa.int64()), whole(broken.column("row"))))
            rejected = pa.concat_tables([rejected, _at(broken, kept)])
            found, kept = [array.filter(stay) for array in found], kept.filter(stay)
            misfit = misfit.filter(pc.is_in(misfit.column("row"), kept))
        return Parsed(found, lines, rejected, misfit, kept)

    def _sound(self, lines: pa.Array) -> tuple[pa.Array, pa.Array, pa.Table]:
        """Which lines are JSON objects, their text, and why the others are not."""
        faults: dict[int, Fact] = {}
        texts = lines
        if isinstance(lines, pa.BinaryArray):
            faults = dict.fromkeys(_undecodable(lines), ("encoding", "the record is not valid UTF-8", None))
            texts = pc.if_else(_among(faults, len(lines)), b"{}", lines).cast(pa.string())
        for i in pc.indices_nonzero(pc.greater(pc.binary_length(texts), self._longest)).to_pylist():
            faults[i] = ("malformed", f"the record is longer than {self._longest} bytes", None)
        for i in pc.indices_nonzero(pc.greater(_brackets(texts), DEEPEST)).to_pylist():
            if too_deep(texts[i].as_py()):
                faults.setdefault(i, ("malformed", f"the record is nested deeper than {DEEPEST} levels", None))
        if faults:
            texts = pc.if_else(_among(faults, len(lines)), "{}", texts)
        sql = f"SELECT json_valid(l) AS v, TRY(json_type(l)) AS k, regexp_matches(l, {literal(LENIENT)}) AS s FROM t"
        seen = over(pa.table({"l": texts}), sql)
        valid, kinds, suspect = (whole(seen.column(i)) for i in range(3))
        worded = 0
        for i in pc.indices_nonzero(pc.or_(pc.invert(valid), suspect)).to_pylist():
            # Finding the words takes a parser of its own; the first few tell enough.
            if valid[i].as_py() or worded < _WORDED:
                worded += 1
                words = fault(texts[i].as_py(), constants=True)
                if words is not None:
                    faults.setdefault(i, ("malformed", f"not JSON: {words}", None))
            if not valid[i].as_py():
                faults.setdefault(i, ("malformed", "not JSON", None))
        for i in pc.indices_nonzero(pc.and_(valid, pc.not_equal(kinds, "OBJECT"))).to_pylist():
            faults.setdefault(i, ("malformed", f"the record is {_KINDS.get(kinds[i].as_py(), 'a number')}, not an object", None))
        if self._refuse_unknown:
            for i, name in self._strangers(texts):
                faults.setdefault(i, ("contract", f"the record has the key '{name}', which the schema does not have", name))
        kept = pc.indices_nonzero(pc.invert(_among(faults, len(lines)))).cast(pa.int64())
        return kept, texts.take(kept), _told(faults)

    def _strangers(self, texts: pa.Array) -> Iterator[tuple[int, str]]:
        names = "[" + ", ".join(literal(name) for name in sorted(self._known)) + "]::VARCHAR[]"
        sql = f"SELECT list_filter(TRY(json_keys(l)), lambda k: NOT list_contains({names}, k))[1] AS k FROM t"
        keys = whole(over(pa.table({"l": texts}), sql).column("k"))
        for i in pc.indices_nonzero(pc.is_valid(keys)).to_pylist():
            yield i, keys[i].as_py()

    def objects(self, data: bytes) -> pa.Array:
        """Just the lines of a block that are JSON objects."""
        lines = lines_of(data)
        return self._sound(lines.filter(_filled(lines)))[1]

    def strangers(self, data: bytes) -> list[str]:
        """The top-level names in a block that the schema does not know, sorted."""
        lines = lines_of(data)
        if isinstance(lines, pa.BinaryArray) or _deep(lines):
            return []
        found = over(pa.table({"l": lines}), "SELECT DISTINCT unnest(TRY(json_keys(l))) AS k FROM t WHERE json_valid(l)")
        return sorted(set(found.column("k").to_pylist()) - self._known)


_KINDS = {"ARRAY": "an array", "VARCHAR": "text", "BOOLEAN": "a truth value", "NULL": "null"}


def _is_loose(data_type: pa.DataType) -> bool:
    """Whether a nested type holds what the typed parser does not make: JSON, maps, times of day."""
    return holds_json(data_type) or holds_time(data_type)


def lines_of(data: bytes) -> pa.Array:
    """The lines of a block without their line breaks, sharing its memory; binary where they are not valid UTF-8."""
    ends = places_of(np.frombuffer(data, np.uint8), _LINE_BREAK).astype(np.int32) + 1
    edges = np.concatenate([[0], ends, [] if data.endswith(b"\n") else [len(data)]]).astype(np.int32)
    kind = pa.string() if _is_utf8(data) else pa.binary()
    return pa.Array.from_buffers(kind, len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)])


def _filled(lines: pa.Array) -> pa.Array:
    if isinstance(lines, pa.BinaryArray):
        return pa.array([bool(line.strip()) for line in lines.to_pylist()], pa.bool_())
    return pc.not_equal(pc.binary_length(pc.ascii_trim_whitespace(lines)), 0)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    sizes = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, sizes, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _undecodable(lines: pa.Array) -> list[int]:
    bad = []
    for i, line in enumerate(lines.to_pylist()):
        try:
            line.decode()
        except UnicodeDecodeError:
            bad.append(i)
    return bad


def _long(lines: pa.Array, longest: int) -> bool:
    return bool(len(lines)) and bool(pc.max(pc.binary_length(lines)).as_py() > longest)


def _deep(lines: pa.Array) -> bool:
    """Whether a line may be nested too deeply; only a long one can be."""
    lengths = pc.binary_length(lines)
    # Most blocks have none. To compare with a number, Arrow would load pandas, where that is, to look whether it is a series.
    if not len(lines) or pc.max(lengths).as_py() <= 2 * DEEPEST:
        return False
    some = lines.filter(pc.greater(lengths, 2 * DEEPEST))
    return any(too_deep(text) for text in some.filter(pc.greater(_brackets(some), DEEPEST)).to_pylist())


def _brackets(lines: pa.Array) -> pa.Array:
    return pc.add(pc.count_substring(lines, "["), pc.count_substring(lines, "{"))


def _among(rows: Iterable[int], count: int) -> pa.Array:
    found = np.zeros(count, dtype=bool)
    found[list(rows)] = True
    return pa.array(found)


def _told(faults: Mapping[int, Fact]) -> pa.Table:
    """Rejections from facts by row."""
    rows = sorted(faults)
    reasons, messages, columns = ([faults[row][i] for row in rows] for i in range(3))
    arrays = [pa.array(rows, pa.int64()), *(pa.array(values, pa.string()) for values in (reasons, messages, columns))]
    return pa.Table.from_arrays(arrays, schema=REJECTION)


def _at(rejected: pa.Table, positions: pa.Array) -> pa.Table:
    return rejected.set_column(0, REJECTION.field(0), positions.take(whole(rejected.column("row"))))


def _misfits(field: pa.Field, mask: pa.Array, values: pa.Array) -> pa.Table:
    rows = pc.indices_nonzero(mask).cast(pa.int64())
    if not len(rows):
        return no_rejections()
    messages = [f"{_shown(str(value))} is not of type {sql_type(field.type)}" for value in values.take(rows).to_pylist()]
    return rejections(rows, "malformed" if field.type == JSON else "type_mismatch", messages, field.name)


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _read(data: pa.Buffer, shape: pa.Schema) -> pa.Table:
    # Only without threads does the parser's message tell the row at fault.
    return pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        # Without a column the parser would infer all; this one is in no data.
        parse_options=pj.ParseOptions(
            explicit_schema=shape if len(shape) else pa.schema([("\x00", pa.null())]), unexpected_field_behavior="ignore"
        ),
    )


def _read_each(lines: pa.Array, shape: pa.Schema) -> tuple[dict[str, pa.Array], dict[int, Fact]]:
    """The typed columns of all lines (null where a line is refused), and why the parser refuses lines."""
    bad: dict[int, Fact] = {}
    pieces: list[pa.Table] = [shape.empty_table()]
    waiting = [(0, len(lines))]
    while waiting:
        start, end = waiting.pop()
        if start >= end:
            continue
        data = pa.py_buffer("\n".join(lines.slice(start, end - start).to_pylist()).encode())
        try:
            table = _read(data, shape)
            if table.num_rows != end - start:
                raise pa.ArrowInvalid("not one record in a line")
            pieces.append(table)
        except pa.ArrowException as error:
            if end - start == 1:
                bad[start] = _fact(str(error))
                pieces.append(pa.Table.from_arrays([pa.nulls(1, f.type) for f in shape], schema=shape))
                continue
            row = _ROW.search(str(error))
            middle = start + int(row.group(1)) if row else (start + end) // 2
            parts = [(start, middle), (middle, middle + 1), (middle + 1, end)] if row else [(start, middle), (middle, end)]
            waiting += reversed(parts)
    return {f.name: whole(pa.chunked_array([c for t in pieces for c in t[f.name].chunks], f.type)) for f in shape}, bad


def _fact(words: str) -> Fact:
    text = _shown(_ROW.sub("", words).strip().removeprefix("JSON parse error: "))
    column = _COLUMN.search(words)
    misfit = "changed from" in words or "convert" in words
    return "type_mismatch" if misfit else "malformed", text, column.group(1) if column else None


def _shape(data_type: pa.DataType) -> pa.DataType:
    """The type that the parser is asked for: what it reads from numbers or from text in the same way."""
    t = pa.types
    if t.is_struct(data_type):
        return pa.struct([pa.field(f.name, _shape(f.type)) for f in data_type])
    if t.is_list(data_type):
        return pa.list_(_shape(data_type.value_type))
    if t.is_floating(data_type):
        return pa.float64()
    if t.is_date(data_type) or t.is_time(data_type) or data_type in (pa.binary(), pa.month_day_nano_interval()):
        return pa.string()
    return data_type


def _strict(array: pa.Array, target: pa.DataType) -> pa.Array:
    """A parsed column in its final type. Raises pa.ArrowInvalid or duckdb.Error where a value does not fit."""
    if not _finite(array):
        raise pa.ArrowInvalid("NaN and Infinity are not JSON")
    if array.type == target:
        return array
    if target in (pa.binary(), pa.month_day_nano_interval()):
        text = "from_base64(c)" if target == pa.binary() else "c::INTERVAL"
        return whole(conform(over(pa.table({"c": array}), f"SELECT {text} AS c FROM t"), pa.schema([("c", target)])).column(0))
    return array.cast(target, safe=not pa.types.is_floating(target))


def _lenient(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """A parsed nested column in its final type, and the mask of what does not fit (null there)."""
    try:
        return _strict(array, target), pa.array(np.zeros(len(array), dtype=bool))
    except (pa.ArrowException, duckdb.Error):
        fits = pa.array([_fits(array.slice(i, 1), target) for i in range(len(array))], pa.bool_())
        return _strict(pc.if_else(fits, array, pa.nulls(len(array), array.type)), target), pc.invert(fits)


def _fits(one: pa.Array, target: pa.DataType) -> bool:
    try:
        _strict(one, target)
    except (pa.ArrowException, duckdb.Error):
        return False
    return True


def _finite(array: pa.Array) -> bool:
    """Whether no floating-point value inside is NaN or infinite."""
    if pa.types.is_floating(array.type):
        return pc.all(pc.is_finite(array)).as_py() is not False
    if pa.types.is_list(array.type):
        return _finite(array.flatten())
    if pa.types.is_struct(array.type):
        return all(_finite(child) for child in array.flatten())
    return True
