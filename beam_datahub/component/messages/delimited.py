"""Values that are one CSV record each, parsed together."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from beam_datahub.component.arrow_blocks import Fitting
from beam_datahub.component.messages.decoding import Bad, Decoded, Decoder, fitted, row_of, shown
from beam_datahub.component.messages.text import as_text
from beam_datahub.component.source import ReadRequest


class CsvDecoder(Decoder):
    """CSV records without a header: their fields are the columns of the schema, in its order; an empty field is null."""

    def __init__(self, request: ReadRequest, place: str, longest: int, delimiter: str) -> None:
        super().__init__(request, place, longest)
        self._names, self._delimiter = request.schema.names, delimiter
        self._fitting = Fitting(replace(request, dictionaries=False), place)

    def decode(self, values: list[bytes | None]) -> Decoded:
        empty = self._delimiter * (len(self._names) - 1)
        texts, wrong = as_text(pa.array(values, pa.binary()))
        bad: dict[int, Bad] = dict.fromkeys(wrong, ("encoding", "the value is not valid UTF-8", None))
        lines = pc.ascii_rtrim(pc.fill_null(texts, empty), "\r\n")
        # A quote that nobody closes would take the records behind it.
        for i in pc.indices_nonzero(pc.equal(pc.bit_wise_and(pc.count_substring(lines, '"'), 1), 1)).to_pylist():
            bad.setdefault(i, ("malformed", "a quote is not closed", None))
        found = lines.to_pylist()
        for i in bad:
            found[i] = empty
        rows, ragged = self._parsed(found)
        if rows is None:
            # A record that is none, or several, moves those behind it: each by itself then.
            pieces = []
            for i, line in enumerate(found):
                one, fault = self._parsed([line])
                if one is None:
                    bad.setdefault(i, ("ragged", fault, None))
                    one, _ = self._parsed([empty])
                    assert one is not None
                pieces.append(one)
            rows = pa.concat_tables(pieces)
        assert rows is not None, ragged
        batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in rows.columns], rows.schema.names)
        kept = batch.select(list(self.request.columns)) if self.request.columns else batch

        def original(i: int) -> str:
            return shown(values[i]) if i in bad else row_of(batch, i)

        return replace(fitted(self._fitting, kept, len(values), bad, original), original=original)

    def _parsed(self, lines: list[str]) -> tuple[pa.Table | None, str]:
        """The fields of all records as text; None and why, where there is not one a line."""
        texts = dict.fromkeys(self._names, pa.string())
        try:
            found = pa_csv.read_csv(
                pa.BufferReader("\n".join(lines).encode() + b"\n"),
                read_options=pa_csv.ReadOptions(column_names=self._names, use_threads=False, block_size=1 << 30),
                parse_options=pa_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True, ignore_empty_lines=False),
                convert_options=pa_csv.ConvertOptions(
                    column_types=texts, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            return None, f"the record does not have {len(self._names)} fields"
        if found.num_rows != len(lines):
            return None, f"the value is {found.num_rows} records, not one"
        return found, ""
