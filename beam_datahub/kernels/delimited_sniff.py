"""What the beginning of delimited text tells: the delimiter, whether there is a header, the names and types of the columns.

Types are inferred with the very conversions that reading uses, so that what was inferred reads; neither pyarrow's nor
DuckDB's own sniffer shares their meaning (007 stays text, an integer too big for bigint does not become a float).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from beam_datahub.kernels.delimited import Dialect, count_lines, last_record_end, records_of
from beam_datahub.kernels.delimited_values import Wanted, conversion
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ

Header = Literal["auto"] | bool

_DELIMITERS = (",", ";", "\t", "|")
# What a query costs to plan grows faster than its columns; a table may have thousands of them.
_TESTED_TOGETHER = 8
# Texts without a digit that are values of a type all the same.
_VALUE_WORDS = ("", "true", "false", "nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "epoch")
_SAMPLE_RECORDS = 100
_SAMPLE_BYTES = 64 * 1024
# So many records may stand before a header.
_MOST_BEFORE = 10
# A field that no one would call a column: a number, a date, a time or a truth value.
_VALUE = re.compile(
    r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|\d{4}-\d{2}-\d{2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{1,2}:\d{2}(:\d{2}.*)?"
    r"|(?i:true|false)"
)


@dataclass(frozen=True)
class Head:
    """How a file begins: its dialect with the delimiter found, its columns, and the offset and line where its records begin.

    `before` counts the lines that seem to stand before the header, such as a title or a count.
    """

    dialect: Dialect
    names: tuple[str, ...] | None
    width: int
    offset: int
    line: int
    before: int = 0


def read_head(data: bytes, dialect: Dialect, *, delimiter: str | None, header: Header, skip_rows: int) -> Head:
    """The head of a file that begins with `data`, which ends at a record's end; `names` is None when there is no header."""
    skipped = _skip_lines(data, skip_rows)
    rest = data[skipped:]
    if len(rest) > _SAMPLE_BYTES:
        rest = rest[: last_record_end(rest[:_SAMPLE_BYTES], dialect)] or rest
    dialect = replace(dialect, delimiter=delimiter or detect_delimiter(rest, dialect))
    records = records_of(rest, dialect)
    if not len(records):
        return Head(dialect, None, 0, len(data), count_lines(data))
    first = fields_of(records.raw(0), dialect)
    before = 0
    if header is not False:
        rows = [_fields_quickly(records.raw(i), dialect) for i in range(min(len(records), _SAMPLE_RECORDS))]
        if not skip_rows and (odd := _rows_before_header(rows, dialect)):
            before = count_lines(rest[: int(records.nexts[odd - 1])])
        header = header is True or _is_header(first, rows[1:], dialect.null_words)
    if not header:
        return Head(dialect, None, len(first), skipped, count_lines(data[:skipped]), before)
    names = tuple(name if name.strip() else f"column{i}" for i, name in enumerate(first))
    if dialect.trim:
        names = tuple(name.strip() for name in names)
    offset = skipped + int(records.nexts[0])
    return Head(dialect, names, len(first), offset, count_lines(data[:offset]), before)


def _rows_before_header(rows: list[list[str]], dialect: Dialect) -> int:
    """How many rows with few fields stand before one that looks like a header of those that follow; 0: there is no such."""
    width = Counter(map(len, rows[1:])).most_common(1)[0][0] if len(rows) > 2 else 0
    odd = next((i for i, row in enumerate(rows) if len(row) == width), 0)
    if not 0 < odd <= _MOST_BEFORE or width < 2 or any(len(row) > max(1, width - 2) for row in rows[:odd]):
        return 0
    names, below = rows[odd], rows[odd + 1 :]
    if sum(len(row) == width for row in below) * 5 < len(below) * 4 or not below:
        return 0
    texts = all(name.strip() and not _VALUE.fullmatch(name.strip()) for name in names)
    return odd if texts and not repeated(names) and _is_header(names, below, dialect.null_words) else 0


def fields_of(record: bytes, dialect: Dialect) -> list[str]:
    """The fields of one record as text."""
    if not record:
        return [""]
    try:
        table = _one_row(record, dialect)
    except pa.ArrowInvalid:
        # A quote that is never closed: nothing in it can be told apart.
        return [record.decode("utf-8", "replace")]
    return [column[0].as_py().decode("utf-8", "replace") for column in table.columns]


def _one_row(record: bytes, dialect: Dialect) -> pa.Table:
    return arrow_csv.read_csv(
        pa.BufferReader(record + b"\n"),
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(record) + 2, autogenerate_column_names=True),
        parse_options=arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            double_quote=dialect.doubles,
            escape_char=dialect.escapes.decode() if dialect.escapes else False,
            newlines_in_values=True,
            ignore_empty_lines=False,
        ),
        convert_options=arrow_csv.ConvertOptions(default_column_type=pa.binary(), check_utf8=False),
    )


def _skip_lines(data: bytes, count: int) -> int:
    offset = 0
    for line in data.splitlines(keepends=True)[:count]:
        offset += len(line)
    return offset


def detect_delimiter(data: bytes, dialect: Dialect) -> str:
    """The sign that divides the first records into the same number of fields, and into the most; a comma when none does."""
    best, chosen = (0.0, 0), ","
    for delimiter in _DELIMITERS:
        if delimiter in (dialect.quote, dialect.escape):
            continue
        with_it = replace(dialect, delimiter=delimiter)
        records = records_of(data, with_it)
        texts = [records.raw(i) for i in range(min(len(records), _SAMPLE_RECORDS))]
        widths = Counter(len(_fields_quickly(text, with_it)) for text in texts)
        width, times = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        if width < 2:
            continue
        score = (times / len(texts), width)
        if score > best:
            best, chosen = score, delimiter
    return chosen


def _fields_quickly(record: bytes, dialect: Dialect) -> list[str]:
    """The fields of one record, as Python reads them: near enough to guess by."""
    reader = csv.reader(
        io.StringIO(record.decode("utf-8", "replace"), newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escapes.decode() if dialect.escapes else None,
        doublequote=dialect.doubles,
    )
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _is_header(first: Sequence[str], sample: Sequence[Sequence[str]], null_words: Sequence[str]) -> bool:
    """Whether the first record names the columns: where it is text above values, or is text all over."""
    if not any(name.strip() for name in first):
        return False
    kinds = [bool(_VALUE.fullmatch(name.strip())) for name in first]
    for i, is_value in enumerate(kinds):
        below = [record[i].strip() for record in sample if len(record) > i and record[i] not in null_words]
        if not is_value and first[i].strip() and below and all(_VALUE.fullmatch(text) for text in below):
            return True
    return not any(kinds)


def repeated(names: Sequence[str]) -> list[str]:
    """The names that stand for more than one column; names differ by more than case."""
    counts = Counter(name.casefold() for name in names)
    return [name for name in dict.fromkeys(names) if counts[name.casefold()] > 1]


@dataclass(frozen=True)
class _Candidate:
    """A type to try, what each value must look like beyond being convertible, and what at least one value must."""

    data_type: pa.DataType
    each: str = "true"
    some: str = "true"


_ZONED = "'(Z|UTC|GMT|:[0-9.]+ ?[+-][0-9:]+)$'"
# In the order in which they are tried; `{t}` is the text.
_CANDIDATES: tuple[_Candidate, ...] = (
    _Candidate(pa.int64(), "regexp_full_match({t}, '-?(0|[1-9][0-9.,'' _]*)')"),
    # A leading zero carries meaning; an integer of 16 digits would lose some as a float.
    _Candidate(pa.float64(), "NOT regexp_matches({t}, '^[+-]?(0[0-9]|0[xX]|[0-9]{{16,}}$)')", "regexp_matches({t}, '[0-9]')"),
    _Candidate(pa.bool_(), "lower({t}) IN ('true', 'false')"),
    _Candidate(pa.date32()),
    _Candidate(TIMESTAMP, f"NOT regexp_matches({{t}}, {_ZONED})"),
    _Candidate(TIMESTAMPTZ, some=f"regexp_matches({{t}}, {_ZONED})"),
)


def infer(texts: pa.Table, dialect: Dialect, session: KernelSession) -> pa.Schema:
    """The narrowest type of each text column that all of its values have; text when there is none or no value."""
    names = texts.column_names
    found = {name: _type_of_formats(dialect.formats[name]) for name in names if name in dialect.formats}
    wordy = {name: _has_words(texts[name], dialect) for name in names}
    session.put("sample", texts)
    for candidate in _CANDIDATES:
        left = [name for name in names if name not in found]
        if not texts.num_rows:
            break
        left = [name for name in left if dialect.formats_of(name, candidate.data_type) or not wordy[name]]
        for some in (left[i : i + _TESTED_TOGETHER] for i in range(0, len(left), _TESTED_TOGETHER)):
            wanted = [Wanted(name, candidate.data_type, dialect.formats_of(name, candidate.data_type)) for name in some]
            tests = ", ".join(_test(candidate, i, bool(one.formats)) for i, one in enumerate(wanted))
            row = session.query(f"SELECT {tests} FROM ({conversion('sample', wanted, dialect)})").to_pylist()[0]
            found.update({name: candidate.data_type for i, name in enumerate(some) if row[f"f{i}"]})
    session.drop("sample")
    return pa.schema([pa.field(name, found.get(name, pa.string())) for name in names])


def _has_words(texts: pa.ChunkedArray, dialect: Dialect) -> bool:
    """Whether a column has a text that can be no value of any type, which is told sooner than by trying them all."""
    bare = pc.utf8_lower(pc.utf8_trim(texts, " \t"))
    values = pa.array([*_VALUE_WORDS, *(word.strip(" \t").lower() for word in dialect.null_words)], pa.string())
    plain = pc.or_(pc.match_substring_regex(bare, "[0-9]"), pc.is_in(bare, values))
    return bool(pc.any(pc.invert(plain)).as_py())


def _test(candidate: _Candidate, i: int, formatted: bool) -> str:
    each, some = ("true", "true") if formatted else (form.format(t=f"t{i}") for form in (candidate.each, candidate.some))
    there = f"(v{i} IS NOT NULL OR m{i})"
    return (
        f"coalesce(bool_and(NOT m{i} AND {each}) FILTER (WHERE {there}), false)"
        f" AND coalesce(bool_or({some}) FILTER (WHERE {there}), false) AS f{i}"
    )


def _type_of_formats(formats: Sequence[str]) -> pa.DataType:
    joined = "".join(formats)
    if "%z" in joined or "%Z" in joined:
        return TIMESTAMPTZ
    return TIMESTAMP if re.search("%-?[HIMSXcfp]", joined) else pa.date32()
