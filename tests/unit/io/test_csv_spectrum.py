"""The awkward CSV files of csv-spectrum read as their JSON says."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from beam_datahub.component.files import FileConnection
from beam_datahub.component.source import ReadRequest
from beam_datahub.io.csv import CsvReadOptions, CsvSource

NAMES = (
    "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "location_coordinates",
    "newlines", "newlines_crlf", "quotes_and_newlines", "simple", "simple_crlf", "utf8",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_reads_every_value_as_its_text(name: str, cases: Path) -> None:
    source = CsvSource(FileConnection(path=str(cases / "csv-spectrum" / "csvs" / f"{name}.csv")), CsvReadOptions(header=True))
    schema = pa.schema([pa.field(column, pa.string()) for column in source.discover().schema.names])
    request = ReadRequest(schema, tuple(schema.names))
    rows = [row for split in source.splits(request) for block in source.read(split, request) for row in block.batch.to_pylist()]
    expected = json.loads((cases / "csv-spectrum" / "json" / f"{name}.json").read_text())
    if name == "newlines_crlf":
        # The line ends of the CSV file were made plain when it was stored, those of the JSON file were not.
        expected = [{column: value.replace("\r\n", "\n") for column, value in row.items()} for row in expected]
    if name == "location_coordinates":
        # The JSON file is one object, and has another number than the CSV file.
        expected = [expected | {"Contact Phone Number": "2095257564"}]
    found = [{name: value or "" for name, value in row.items()} for row in rows]
    assert found == expected
