"""CSV and other delimited text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import ByteSize, Field, field_validator, model_validator

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.files import DataFile, FileSource, byte_ranges
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Drift, Origin, ReadRequest, Split
from beam_datahub.errors import SchemaDrift, UnreadableData
from beam_datahub.kernels.delimited import Dialect, last_record_end
from beam_datahub.kernels.delimited_parse import Column, Misfits, Parsed, Parser, typed
from beam_datahub.kernels.delimited_sniff import Head, infer, read_head, repeated
from beam_datahub.kernels.delimited_stream import Piece, Read, pieces, transcoded
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.rejection import no_rejections, rejections
from beam_datahub.kernels.session import KernelSession, single_batch
from beam_datahub.kernels.types import sql_type

_HEAD_BYTES = 256 * 1024
_SHOWN = 80
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

Sign = Annotated[str, Field(pattern=r"^[\x01-\x7f]$")]


class CsvReadOptions(Config):
    """How the text is written and what its values mean."""

    delimiter: Sign | None = None
    """What stands between two fields, one character; found among `,`, `;`, tab and `|` when not given."""

    header: Literal["auto"] | bool = "auto"
    """Whether the first record names the columns. `auto`: it does when it is text above numbers, dates or truth values, or
    text all over."""

    columns: tuple[str, ...] | None = None
    """The names of the columns, in their order: instead of those in the header, or because there is none."""

    quote: Sign | None = '"'
    """What encloses a field that holds delimiters or line breaks; `null` when nothing does."""

    escape: Sign | None = None
    """What makes the next character literal, such as a backslash."""

    double_quote: bool = True
    """Whether a quote within quotes is written twice."""

    skip_rows: int = Field(default=0, ge=0)
    """How many lines to skip at the start of each file, before the header."""

    comment: Sign | None = None
    """Lines that start with this character are no records."""

    encoding: str = "utf-8"
    """How characters are written: any name that Python knows, such as `latin-1` or `cp1252`. A byte order mark wins."""

    encoding_errors: Literal["reject", "replace"] = "reject"
    """What happens to a record with bytes that are not valid in the encoding: reject it, or put U+FFFD in their place."""

    null_words: tuple[str, ...] = ("",)
    """What stands for null where it is not quoted. A quoted empty text is an empty text; in other types it is null, too."""

    true_words: tuple[str, ...] = ("true", "t", "yes", "y", "1")
    """What a boolean column calls true, in any case."""

    false_words: tuple[str, ...] = ("false", "f", "no", "n", "0")
    """What a boolean column calls false, in any case."""

    decimal_point: Literal[".", ","] = "."
    """What stands before the fraction of a number."""

    thousands: Literal[",", ".", "'", " ", "_"] | None = None
    """What may group the digits of a number by three."""

    formats: dict[str, str | tuple[str, ...]] = {}
    """How the dates and times of single columns are written, as strptime formats: `{placed_at: "%d.%m.%Y"}`."""

    date_format: str | tuple[str, ...] = ()
    """How all dates are written that `formats` does not name; ISO 8601 when not given."""

    timestamp_format: str | tuple[str, ...] = ()
    """How all timestamps are written that `formats` does not name; ISO 8601 when not given."""

    trim: bool = False
    """Whether blanks around texts and names are dropped (around other values they are anyway)."""

    ragged: Literal["reject", "pad", "fit"] = "reject"
    """What happens to a record with too few or too many fields: `reject` it; `pad` fills short ones with null and rejects
    long ones; `fit` also drops surplus fields."""

    empty_lines: Literal["skip", "keep"] = "skip"
    """Whether an empty line is nothing, or a record of nulls."""

    line_breaks_in_values: bool = True
    """Whether quoted values may hold line breaks. Without, a big file splits into byte ranges that are read in parallel."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer record is rejected: a quote that is never closed would swallow the rest of the file."""

    sample_rows: int = Field(default=20_000, gt=0)
    """How many records of each of a few files discovery looks at."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.getincrementaldecoder(value)
        except LookupError as error:
            raise ValueError(f"unknown encoding '{value}'") from error
        return value

    @model_validator(mode="after")
    def _distinct_signs(self) -> CsvReadOptions:
        signs = [sign for sign in (self.delimiter, self.quote, self.comment) if sign is not None]
        if len(set(signs)) < len(signs):
            raise ValueError("delimiter, quote and comment have to differ")
        if self.thousands == self.decimal_point:
            raise ValueError("decimal_point and thousands have to differ")
        if set(self.delimiter or "") & {"\n", "\r"}:
            raise ValueError("a line break cannot be the delimiter")
        return self

    @property
    def dialect(self) -> Dialect:
        """The options as the kernels take them."""
        return Dialect(
            delimiter=self.delimiter or ",",
            quote=self.quote,
            escape=self.escape,
            double_quote=self.double_quote,
            comment=self.comment,
            empty_lines=self.empty_lines,
            ragged=self.ragged,
            null_words=self.null_words,
            true_words=self.true_words,
            false_words=self.false_words,
            decimal_point=self.decimal_point,
            thousands=self.thousands,
            trim=self.trim,
            formats={name: _tuple(formats) for name, formats in self.formats.items()},
            date_formats=_tuple(self.date_format),
            timestamp_formats=_tuple(self.timestamp_format),
            encoding_errors=self.encoding_errors,
            max_record_bytes=int(self.max_record_bytes),
        )


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


@register("source", "csv", since="0.1.0")
class CsvSource(FileSource):
    """Records of delimited text files, with or without a header."""

    Options: ClassVar[type[Config]] = CsvReadOptions
    capabilities = SourceCapabilities(columns=True, splits="file, or byte range without line breaks in values")
    extensions = (".csv", ".tsv", ".psv", ".txt")
    examples = (
        Example("Files with a header; the delimiter is found", {"connection": {"path": "data/orders/*.csv"}}),
        Example(
            "Semicolons, decimal commas and German dates",
            {
                "connection": {"path": "data/umsatz.csv"},
                "delimiter": ";",
                "encoding": "cp1252",
                "decimal_point": ",",
                "thousands": ".",
                "formats": {"datum": "%d.%m.%Y"},
            },
        ),
    )

    options: CsvReadOptions

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        if self.options.line_breaks_in_values or codecs.lookup(self.options.encoding).name not in ("utf-8", "ascii"):
            return super().file_splits(file, request)
        return byte_ranges(file, request)

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        found: dict[str, pa.Field] = {}
        rows: float | None = 0.0
        seen = False
        with KernelSession() as session:
            for file in files:
                with _Stream(file, self.options) as stream:
                    if not stream.head_bytes:
                        continue
                    seen = True
                    schema, count = self._sample_one(file, stream, session)
                    rows = None if rows is None or count is None else rows + count
                for field in schema:
                    found[field.name] = _wider(found.get(field.name, field), field)
        if not seen:
            raise UnreadableData(
                f"'{files[0].path}' is empty: not even a header tells the columns",
                hint="declare the source's `schema` to take an empty file for no records",
            )
        return Discovery(pa.schema(list(found.values())), None if rows is None else round(rows))

    def _sample_one(self, file: DataFile, stream: _Stream, session: KernelSession) -> tuple[pa.Schema, float | None]:
        head = stream.head
        names = self._names(file, head, None)
        dialect = head.dialect
        columns = [Column(pa.field(name, pa.string()), i) for i, name in enumerate(names)]
        parser = Parser(names, columns, replace(dialect, formats={}, date_formats=(), timestamp_formats=()))
        tables, size, count = [], 0, 0
        for piece in pieces(stream.read, dialect, 1 << 20, start=head.offset):
            parsed = parser.parse(piece)
            tables.append(parsed.table)
            size, count = size + piece.end - piece.start, count + parsed.total
            if count >= self.options.sample_rows:
                break
        texts = pa.concat_tables(tables).slice(0, self.options.sample_rows) if tables else None
        if texts is None:
            return pa.schema([pa.field(name, pa.string()) for name in names]), 0
        whole = count < self.options.sample_rows
        estimate = count if whole else None if not file.seekable else count * file.size / max(size, 1)
        return infer(texts.rename_columns(list(names)), dialect, session), estimate

    def _names(self, file: DataFile, head: Head, schema: pa.Schema | None) -> tuple[str, ...]:
        """The columns of a file: given, from its header, or (without one) those of the schema by position."""
        if self.options.columns is not None:
            names = self.options.columns
        elif head.names is not None:
            names = head.names
        elif schema is not None and len(schema):
            names = tuple(schema.names)
        else:
            names = tuple(f"column{i}" for i in range(1, head.width + 1))
        twice = repeated(names)
        if twice:
            raise UnreadableData(
                f"'{file.path}' has several columns called {', '.join(repr(name) for name in twice)}",
                hint="names differ by more than case; name all columns by the option `columns`",
            )
        return names

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        with _Stream(file, self.options) as stream:
            if not stream.head_bytes:
                if not request.declared and not len(request.schema):
                    raise UnreadableData(f"'{file.path}' is empty")
                return
            head = stream.head
            names = self._names(file, head, request.schema)
            columns, drifted = self._match(file, names, request)
            parser = Parser(names, columns, head.dialect)
            read, start = stream.ranged(split.start or 0, split.end) if split.start or split.end else (stream.read, head.offset)
            first = min(request.batch_bytes, 1 << 20)
            found = pieces(read, head.dialect, request.batch_bytes, start=start, line=head.line, first=first)
            blocks = _Blocks(file, request, drifted, stream.offsets_known, not split.start)
            with KernelSession(threads=request.threads) as session:
                for parsed in read_ahead(found, parser.parse, threads=max(1, request.threads)):
                    yield blocks.block(parsed, session)

    def _match(self, file: DataFile, names: Sequence[str], request: ReadRequest) -> tuple[list[Column], tuple[str, ...]]:
        """The wanted columns by their place in the file, and the names in the file that the schema lacks."""
        places = {name: i for i, name in enumerate(names)}
        folded = {name.casefold(): i for i, name in enumerate(names)}
        schema = request.schema
        index = {name: places.get(name, folded.get(name.casefold())) for name in schema.names}
        if all(place is None for place in index.values()) and len(schema):
            raise UnreadableData(
                f"'{file.path}' has none of the columns {', '.join(schema.names[:10])}",
                hint=f"it has {', '.join(names[:10])}; is `header` or `delimiter` right?",
            )
        known = set(index.values())
        extra = tuple(name for i, name in enumerate(names) if i not in known)
        if extra and request.contract.columns is Drift.FREEZE:
            raise SchemaDrift(
                f"'{file.path}' has columns that the schema does not have: {', '.join(extra)}",
                hint="add them to the source's schema, or set `contract: {columns: evolve}`",
            )
        if request.contract.columns is Drift.DISCARD_VALUE:
            extra = ()
        return [Column(field, index[field.name]) for field in request.projected], extra


class _Stream:
    """A file's text in UTF-8 from behind its header on, with what its beginning told."""

    def __init__(self, file: DataFile, options: CsvReadOptions) -> None:
        self._file, self._options = file, options
        self._native = file.open()
        raw: Read = self._native.read
        begin = raw(4)
        mark, encoding = next(((m, e) for m, e in _BOMS if begin.startswith(m)), (b"", options.encoding))
        self.bom = len(mark)
        self.offsets_known = file.seekable and codecs.lookup(encoding).name in ("utf-8", "ascii")
        source = _after(begin[len(mark) :], raw)
        self._source = source if self.offsets_known or codecs.lookup(encoding).name == "utf-8" else transcoded(
            source, encoding, options.encoding_errors
        )
        self.head_bytes = self._read_head()
        self.read: Read = self._source
        if self.head_bytes:
            self.head = self._understand()
            self.read = _after(self.head_bytes[self.head.offset - self.bom :], self._source)

    def _read_head(self) -> bytes:
        data = b""
        self._ended = False
        while len(data) < _HEAD_BYTES and not self._ended:
            chunk = self._source(_HEAD_BYTES)
            self._ended, data = not chunk, data + chunk
        return data

    def _understand(self) -> Head:
        options = self._options
        if b"\0" in self.head_bytes[:8192] and self.head_bytes[:8192].count(b"\0") > 8:
            raise UnreadableData(
                f"'{self._file.path}' is not text: it has zero bytes",
                hint="is it another format, or compressed? UTF-16 without a byte order mark needs `encoding: utf-16-le`",
            )
        whole = self.head_bytes if self._ended else self.head_bytes[: last_record_end(self.head_bytes, options.dialect)]
        head = read_head(
            whole or self.head_bytes,
            options.dialect,
            delimiter=options.delimiter,
            header=options.header if options.columns is None or options.header != "auto" else False,
            skip_rows=options.skip_rows,
        )
        if options.columns is not None and options.header == "auto" and head.width:
            named = read_head(whole, head.dialect, delimiter=head.dialect.delimiter, header=True, skip_rows=options.skip_rows)
            if named.names == options.columns:
                head = named
        return replace(head, offset=head.offset + self.bom)

    def ranged(self, start: int, end: int | None) -> tuple[Read, int]:
        """A read of the records that begin in [start, end) of the file, and the offset of the first."""
        begin = max(_line_after(self._native, start), self.head.offset) if start else self.head.offset
        self._native.seek(begin)
        stop = None if end is None else _line_after(self._native, end)
        self._native.seek(begin)
        left = None if stop is None else max(0, stop - begin)

        def read(size: int) -> bytes:
            nonlocal left
            if left is None:
                return bytes(self._native.read(size))
            chunk = self._native.read(min(size, left))
            left -= len(chunk)
            return bytes(chunk)

        return read, begin

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._native.close()


def _line_after(stream: pa.NativeFile, offset: int) -> int:
    """The offset behind the first line break at or after `offset` - 1; the end when there is none."""
    stream.seek(offset - 1)
    at = offset - 1
    while chunk := stream.read(1 << 16):
        found = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return at


def _after(held: bytes, read: Read) -> Read:
    """A read that gives `held` first."""
    waiting = [held] if held else []

    def both(size: int) -> bytes:
        return waiting.pop() if waiting else bytes(read(size))

    return both


class _Blocks:
    """Makes blocks of parsed pieces: types what is still text, and does with misfits what the contract says."""

    def __init__(self, file: DataFile, request: ReadRequest, drifted: tuple[str, ...], offsets: bool, from_start: bool) -> None:
        self._file, self._request, self._drifted = file, request, drifted
        self._offsets, self._from_start, self._records = offsets, from_start, 0

    def block(self, parsed: Parsed, session: KernelSession) -> Block:
        table, misfits = typed(parsed, session)
        contract = self._request.contract
        first = self._records
        self._records += parsed.total
        places = parsed.positions
        refused = {one.position: (one.reason, one.message, None) for one in parsed.refused}
        gone: set[int] = set()
        if misfits and contract.types is Drift.FREEZE:
            raise self._drift(parsed, misfits[0])
        if misfits and contract.types is not Drift.DISCARD_VALUE:
            reason = "contract" if contract.types is Drift.DISCARD_ROW else "type_mismatch"
            for misfit in misfits:
                for row, value in zip(misfit.rows.tolist(), misfit.values.to_pylist(), strict=True):
                    if row not in gone:
                        gone.add(row)
                        position = row if places is None else int(places[row])
                        refused[position] = (reason, _misfit_message(value, misfit.column), misfit.column.name)
        if self._drifted and contract.columns is Drift.DISCARD_ROW:
            message = f"the file has columns that the schema does not have: {', '.join(self._drifted)}"
            for row in range(table.num_rows):
                position = row if places is None else int(places[row])
                refused.setdefault(position, ("contract", message, self._drifted[0]))
            gone = set(range(table.num_rows))
        positions = pa.array(places) if places is not None else None
        if gone:
            import numpy as np

            keep = np.ones(table.num_rows, bool)
            keep[list(gone)] = False
            kept = np.flatnonzero(keep)
            table = table.take(pa.array(kept))
            positions = pa.array(kept if places is None else places[kept])
        return Block(
            single_batch(table.replace_schema_metadata(None)),
            self._origin(parsed.piece, first),
            _rejected(refused),
            positions,
            parsed.originals,
            parsed.lines if self._from_start else None,
            self._drifted,
        )

    def _origin(self, piece: Piece, first: int) -> Origin:
        if self._offsets:
            return Origin(self._file.path, piece.start, piece.end, 0)
        return Origin(self._file.path, None, None, first)

    def _drift(self, parsed: Parsed, misfit: Misfits) -> SchemaDrift:
        row = int(misfit.rows[0])
        position = row if parsed.positions is None else int(parsed.positions[row])
        line = f", line {parsed.lines([position])[0]}" if self._from_start else ""
        message = _misfit_message(misfit.values[0].as_py(), misfit.column)
        return SchemaDrift(
            f"'{self._file.path}'{line}, column '{misfit.column.name}': {message}",
            hint="widen the column's type in the source's schema, or set `contract: {types: evolve}` to reject such records",
        )


def _rejected(refused: dict[int, tuple[str, str, str | None]]) -> pa.Table | None:
    if not refused:
        return None
    rows = sorted(refused)
    table = no_rejections()
    reasons = [refused[row][0] for row in rows]
    base = rejections(rows, "", [refused[row][1] for row in rows], [refused[row][2] for row in rows])
    return base.set_column(1, table.schema.field("reason"), pa.array(reasons, pa.string()))


def _misfit_message(value: str, column: pa.Field) -> str:
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return f"'{shown}' is not a {sql_type(column.type)}"


def _wider(one: pa.Field, other: pa.Field) -> pa.Field:
    """The narrowest field that holds the values of both."""
    if one.type == other.type:
        return one
    kinds = {one.type, other.type}
    if kinds == {pa.int64(), pa.float64()}:
        return one.with_type(pa.float64())
    return one.with_type(pa.string())
