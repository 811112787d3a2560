"""Reading fixed-width text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beam_datahub.component.arrow_blocks import Fitting
from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_lines import Lines, is_utf8, read_lines
from beam_datahub.component.files import DataFile, FileSource, byte_ranges
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, ReadRequest, Split
from beam_datahub.errors import UnreadableData
from beam_datahub.io.fixed_width.layout import Layout
from beam_datahub.io.fixed_width.options import FixedWidthReadOptions
from beam_datahub.kernels.delimited_sniff import infer
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.session import KernelSession


@register("source", "fixed_width", since="0.1.0")
class FixedWidthSource(FileSource):
    """Reads lines whose columns stand at fixed places; values mean what they do in CSV files."""

    Options: ClassVar[type[Config]] = FixedWidthReadOptions
    capabilities = SourceCapabilities(columns=True, splits="byte range")
    examples = (
        Example(
            "Three columns, one behind the other",
            {"connection": {"path": "data/accounts.txt"}, "columns": {"id": 6, "name": 20, "city": 15}},
        ),
        Example(
            "Amounts in cents, filled up with zeros, and days such as 20250131",
            {
                "connection": {"path": "data/payments.dat"},
                "columns": [
                    {"name": "account", "start": 2, "width": 10},
                    {"name": "amount", "width": 11, "pad": "0", "align": "right", "implied_decimals": 2},
                    {"name": "paid_on", "start": 31, "width": 8},
                ],
                "formats": {"paid_on": "%Y%m%d"},
                "record_start": "D",
            },
        ),
    )
    extensions: ClassVar[tuple[str, ...]] = (".fwf", ".dat", ".asc", ".prn", ".txt")

    options: FixedWidthReadOptions

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        if is_utf8(self.options.encoding):
            yield from byte_ranges(file, request)
        else:
            yield Split(file.path)

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        layout = Layout(self.options)
        texts, rows, sizes, counted = [], 0.0, 0, 0
        for file in files:
            count = size = 0
            whole = True
            for lines in self._lines(file, Split(file.path), 1 << 20):
                records = layout.records(lines)
                texts.append(layout.texts(records.clean, layout.names))
                count, size = count + len(records.all), size + len(lines.data)
                if count >= self.options.sample_rows:
                    whole = False
                    break
            counted, sizes = counted + count, sizes + size
            rows += count if whole else count * file.size / max(size, 1)
        tables = pa.concat_tables([pa.Table.from_batches([batch]) for batch in texts]) if texts else layout.empty()
        with KernelSession() as session:
            found = infer(tables, self.options.dialect, session)
        implied = {c.name: c for c in self.options.columns if c.implied_decimals}
        fields = [
            pa.field(f.name, pa.decimal128(max(18, c.width, c.implied_decimals), c.implied_decimals))
            if (c := implied.get(f.name)) is not None and f.type != pa.string()
            else f
            for f in found
        ]
        return Discovery(pa.schema(fields), round(rows))

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        layout = Layout(self.options)
        names = request.schema.names
        if names and not set(names) & set(layout.names):
            raise UnreadableData(
                f"'{file.path}' has none of the columns {', '.join(names[:10])}", hint=f"it has {', '.join(layout.names[:10])}"
            )
        drifted = tuple(name for name in layout.names if name not in names)
        fitting = Fitting(request, file.path, drifted, layout.convert)
        found = self._lines(file, split, request.batch_bytes)
        if request.threads < 2 or request.limit is not None:
            for lines in found:
                yield layout.block(lines, file.path, fitting, request, drifted)
            return
        yield from read_ahead(found, lambda lines: layout.block(lines, file.path, fitting, request, drifted), threads=1)

    def _lines(self, file: DataFile, split: Split, block_bytes: int) -> Iterator[Lines]:
        """The lines of a split behind those to skip. Raises UnreadableData for what is no text."""
        behind, first_line = self._behind_header(file)
        for lines in read_lines(file, split, self.options.encoding, block_bytes, int(self.options.max_record_bytes)):
            if not lines.start and lines.data[:8192].count(0) > 8:
                raise UnreadableData(
                    f"'{file.path}' is not text: it has zero bytes",
                    hint="is it another format, or compressed? UTF-16 needs `encoding: utf-16`",
                )
            if lines.end <= behind:
                continue
            if lines.start < behind:
                data = lines.data[behind - lines.start :]
                lines = Lines(data, behind, lines.end, None if lines.line is None else first_line, lines.overlong)
            yield lines

    def _behind_header(self, file: DataFile) -> tuple[int, int]:
        """The offset behind the lines to skip, and the number of the line there."""
        left = self.options.skip_rows
        if not left:
            return 0, 1
        for lines in read_lines(file, Split(file.path), self.options.encoding, 1 << 20, int(self.options.max_record_bytes)):
            ends = np.flatnonzero(np.frombuffer(lines.data, np.uint8) == ord("\n")) + 1
            if len(ends) >= left:
                return lines.start + int(ends[left - 1]), self.options.skip_rows + 1
            left -= max(len(ends), int(lines.overlong))
        return file.size if file.seekable else 1 << 62, self.options.skip_rows + 1
