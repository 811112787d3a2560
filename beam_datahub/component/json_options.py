"""The options that both ways of writing JSON have."""

from __future__ import annotations

from typing import Literal

from beam_datahub.component.file_sink import FileWriteOptions


class JsonWriteOptions(FileWriteOptions):
    """How JSON is written."""

    decimals: Literal["number", "text"] = "number"
    """Decimals as JSON numbers with all their digits, or as text, for readers that take every number for a double."""


# SQL types that come back from JSON as they were written, when the schema is declared.
JSON_TYPES = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE"),
    *("DECIMAL(18,4)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON"),
    *("VARCHAR[]", "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)"),
)
