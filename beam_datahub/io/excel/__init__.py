"""Spreadsheets: sheets of Excel and OpenDocument workbooks as records, and records as an Excel sheet."""

from __future__ import annotations

from beam_datahub.io.excel.sink import ExcelSink
from beam_datahub.io.excel.source import ExcelSource

__all__ = ["ExcelSink", "ExcelSource"]
