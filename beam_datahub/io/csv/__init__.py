"""CSV and other delimited text."""

from __future__ import annotations

from beam_datahub.io.csv.options import CsvReadOptions
from beam_datahub.io.csv.sink import CsvSink, CsvWriteOptions
from beam_datahub.io.csv.source import CsvSource

__all__ = ["CsvReadOptions", "CsvSink", "CsvSource", "CsvWriteOptions"]
