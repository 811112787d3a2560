"""Row groups of a local Parquet file as SQL that a query reads itself: only rows and columns that it wants are decoded.

Only where that gives what Arrow gives: types that both read alike, and pages without checksums, which the engine does not verify.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_datahub.kernels.types import literal, quoted, sql_type

# The engine takes these for patterns in names of files.
_PATTERN_SIGNS = frozenset("*?[{")
_HEAD_BYTES = 64
# A field of a Thrift struct that follows the field before it and is a 32-bit integer.
_NEXT_INTEGER = 0x15
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())


def readable(found: pq.ParquetFile, path: str, schema: pa.Schema) -> bool:
    """Whether a query over the file has the columns of `schema` just as Arrow reads them. Raises OSError."""
    metadata = found.metadata
    if _PATTERN_SIGNS.intersection(path) or not metadata.num_row_groups or not len(schema):
        return False
    given = {field.name: field.type for field in found.schema_arrow}
    columns = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    for field in schema:
        at = columns.get(field.name)
        if at is None or metadata.schema.column(at).physical_type == "INT96" or not _alike(given[field.name]):
            return False
        if given[field.name] != field.type and not _fits(metadata, at, given[field.name], field.type):
            return False
    group = metadata.row_group(0)
    with open(path, "rb") as stream:
        for chunk in (group.column(columns[name]) for name in schema.names):
            stream.seek(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)
            if _has_checksum(stream.read(_HEAD_BYTES)):
                return False
    return True


def _fits(metadata: pq.FileMetaData, column: int, given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether all integers of a column fit another type, by what the file says of its row groups: no record may be refused."""
    if not (pa.types.is_integer(given) and pa.types.is_integer(wanted)):
        return False
    least, most = (0 if wanted in _UNSIGNED else -(2 ** (wanted.bit_width - 1))), 2**wanted.bit_width - 1
    most = most if wanted in _UNSIGNED else most // 2
    for i in range(metadata.num_row_groups):
        known = metadata.row_group(i).column(column).statistics
        if known is None or not known.has_min_max or not least <= known.min <= known.max <= most:
            return False
    return True


def selection(found: pq.ParquetFile, path: str, schema: pa.Schema, groups: tuple[int, int]) -> tuple[str, int]:
    """The SQL that selects the columns of `schema` from some row groups, in the file's order, and how many rows these have."""
    sizes = [found.metadata.row_group(i).num_rows for i in range(groups[1])]
    start, end = sum(sizes[: groups[0]]), sum(sizes)
    group = found.metadata.row_group(groups[0])
    trusted = {group.column(i).path_in_schema for i in range(group.num_columns) if group.column(i).is_stats_set}
    columns = []
    for field in schema:
        name = quoted(field.name)
        # Statistics that Arrow does not trust, as those of old writers, must not leave out row groups: `TRY` has none.
        column = name if field.name in trusted else f"TRY({name})"
        if found.schema_arrow.field(field.name).type != field.type:
            column = f"CAST({column} AS {sql_type(field.type)})"
        columns.append(f"{column} AS {name}")
    options = "file_row_number=true, hive_partitioning=false, can_have_nan=true"
    sql = (
        f"SELECT {', '.join(columns)} FROM read_parquet({literal(path)}, {options}) "
        f"WHERE file_row_number >= {start} AND file_row_number < {end}"
    )
    return sql, end - start


def portions(sizes: Sequence[int], first: int, budget: int) -> Iterator[tuple[int, int]]:
    """Row groups from `first` on, of these sizes in bytes, in portions of about `budget`."""
    start, held = 0, 0
    for i, size in enumerate(sizes):
        held += size
        if held >= budget or i == len(sizes) - 1:
            yield first + start, first + i + 1
            start, held = i + 1, 0


def _alike(data_type: pa.DataType) -> bool:
    """Whether DuckDB and Arrow read a type in the same way."""
    t = pa.types
    plain = t.is_boolean(data_type) or t.is_integer(data_type) or t.is_date32(data_type) or t.is_decimal128(data_type)
    return bool(plain or data_type in (pa.float32(), pa.float64(), pa.string(), pa.timestamp("us"), pa.timestamp("us", "UTC")))


def _has_checksum(head: bytes) -> bool:
    """Whether a page has a checksum, by its header: right behind its kind and two sizes, all integers of seven bits a byte."""
    at = 0
    for _ in range(3):
        if head[at] != _NEXT_INTEGER:
            return True
        at += 1
        while head[at] & 0x80:
            at += 1
        at += 1
    return head[at] == _NEXT_INTEGER
