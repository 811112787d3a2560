"""Reading CSV and other delimited text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen, Doubt
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_store import reading
from beam_datahub.component.files import DataFile, FileSource, byte_ranges, refuse_missing
from beam_datahub.component.originals import Part
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Drift, ReadRequest, Split
from beam_datahub.errors import SchemaDrift, UnreadableData
from beam_datahub.io.csv.blocks import Blocks
from beam_datahub.io.csv.options import CsvReadOptions
from beam_datahub.io.csv.originals import csv_parts
from beam_datahub.io.csv.stream import TextStream
from beam_datahub.kernels.delimited_parse import Column, Parser
from beam_datahub.kernels.delimited_sniff import Head, infer, repeated
from beam_datahub.kernels.delimited_stream import Piece, pieces
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.session import KernelSession


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
        doubts: list[Doubt] = []
        with KernelSession() as session:
            for file in files:
                with reading(file.path), TextStream(file, self.options) as stream:
                    if not stream.head_bytes:
                        continue
                    seen = True
                    schema, count = self._sample_one(file, stream, session)
                    if stream.head.before and not doubts:
                        doubts.append(_doubt(file, stream.head.before))
                    rows = None if rows is None or count is None else rows + count
                for field in schema:
                    found[field.name] = _wider(found.get(field.name, field), field)
        if not seen:
            raise UnreadableData(
                f"'{files[0].path}' is empty: not even a header tells the columns",
                hint="declare the source's `schema` to take an empty file for no records",
            )
        return Discovery(pa.schema(list(found.values())), None if rows is None else round(rows), doubts=tuple(doubts))

    def _sample_one(self, file: DataFile, stream: TextStream, session: KernelSession) -> tuple[pa.Schema, float | None]:
        head = stream.head
        names = self._names(file, head, None)
        dialect = head.dialect
        columns = [Column(pa.field(name, pa.string()), i) for i, name in enumerate(names)]
        parser = Parser(names, columns, replace(dialect, formats={}, date_formats=(), timestamp_formats=()))
        tables, size, count = [], 0, 0
        for piece in pieces(stream.read, dialect, 1 << 20, start=head.offset):
            parsed = parser.parse(piece)
            # Nobody asks for lines here, and data that is not settled is held.
            piece.breaks.settle(0)
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

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        with TextStream(file, self.options) as stream:
            if stream.head_bytes and stream.head.before:
                return ColumnsSeen((), doubts=(_doubt(file, stream.head.before),))
            if not stream.head_bytes or (self.options.columns is None and stream.head.names is None):
                return None
            return ColumnsSeen(self._names(file, stream.head, None), folds=True)

    def _names(self, file: DataFile, head: Head, schema: pa.Schema | None) -> tuple[str, ...]:
        """The columns of a file: given, from its header, or (without one) those of the schema by position."""
        if self.options.columns is not None:
            names = self.options.columns
        elif head.names is not None:
            names = head.names
        elif schema is not None and len(schema):
            names = tuple(schema.names)
        else:
            names = tuple(f"column{i}" for i in range(head.width))
        twice = repeated(names)
        if twice:
            raise UnreadableData(
                f"'{file.path}' has several columns called {', '.join(repr(name) for name in twice)}",
                hint="names differ by more than case; name all columns by the option `columns`",
            )
        if any("\0" in name for name in names):
            raise UnreadableData(
                f"the header of '{file.path}' has a NUL character, so that it hardly is a CSV file",
                hint="if it is one, name its columns by the option `columns`, and look at `encoding`",
            )
        return names

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        with TextStream(file, self.options) as stream:
            if not stream.head_bytes:
                if not request.declared and not len(request.schema):
                    raise UnreadableData(f"'{file.path}' is empty")
                return
            head = stream.head
            names = self._names(file, head, request.schema)
            columns, drifted = self._match(file, names, request, head.before)
            parser = Parser(names, columns, head.dialect)
            read, start = stream.ranged(split.start or 0, split.end) if split.start or split.end else (stream.read, head.offset)
            first = min(request.batch_bytes, 1 << 20)
            found = pieces(read, head.dialect, request.batch_bytes, start=start, line=head.line, first=first)
            blocks = Blocks(file, request, drifted, stream.offsets_known, not split.start)

            def work(piece: Piece) -> tuple[int, Block]:
                parsed = parser.parse(piece)
                return parsed.total, blocks.block(parsed)

            first = 0
            for count, block in read_ahead(found, work, threads=max(1, request.threads)):
                yield block if stream.offsets_known else replace(block, origin=replace(block.origin, first_row=first))
                first += count

    def parts_of(self, file: str | None, originals: Sequence[str], schema: pa.Schema, folder: str) -> Sequence[Part]:
        return list(csv_parts(self, file, originals, schema, folder))

    def _match(
        self, file: DataFile, names: Sequence[str], request: ReadRequest, before: int
    ) -> tuple[list[Column], tuple[str, ...]]:
        """The wanted columns by their place in the file, and the names in the file that the schema lacks."""
        places = {name: i for i, name in enumerate(names)}
        folded = {name.casefold(): i for i, name in enumerate(names)}
        schema = request.schema
        index = {name: places.get(name, folded.get(name.casefold())) for name in schema.names}
        if all(place is None for place in index.values()) and len(schema):
            raise UnreadableData(
                f"'{file.path}' has none of the columns {', '.join(schema.names[:10])}",
                hint=f"set `skip_rows: {before}`: {_doubt(file, before).reason}"
                if before
                else f"it has {', '.join(names[:10])}; is `header` or `delimiter` right?",
            )
        refuse_missing(file.path, ColumnsSeen(tuple(names), folds=True), request)
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


def _doubt(file: DataFile, before: int) -> Doubt:
    lines = "line looks" if before == 1 else f"{before} lines look"
    stand = "stands" if before == 1 else "stand"
    return Doubt(f"the first {lines} like what {stand} before the header of '{file.path}'", "skip_rows", before)


def _wider(one: pa.Field, other: pa.Field) -> pa.Field:
    """The narrowest field that holds the values of both."""
    if one.type == other.type:
        return one
    kinds = {one.type, other.type}
    if kinds == {pa.int64(), pa.float64()}:
        return one.with_type(pa.float64())
    return one.with_type(pa.string())
